"""What a package that extends fastsl relies on. docs/extending.md itself runs with the README."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import BernoulliNB
from sklearn.svm import LinearSVC

from fastsl import search_light
from fastsl.analysis import plan_analysis
from fastsl.decoders import REGISTRY
from fastsl.extend import BlockMetric, LogLikelihoods, Plan, lay_out, register_decoder
from fastsl.predictions import LogRatios

rng = np.random.default_rng(0)
Y = np.arange(30) % 2
X = rng.standard_normal((30, 4)) + 0.4 * Y[:, None]
A = sparse.csr_array(np.eye(4))
CV = StratifiedKFold(3)


@BlockMetric
def mean_margin(held_out):
    """Mean of what speaks for the true class."""
    evidence = held_out.decision if held_out.decision is not None else held_out.probability[:, :, 1] - 0.5
    return (evidence * np.where(held_out.y_true == held_out.classes[1], 1, -1)).mean(axis=1)


@pytest.mark.parametrize(
    ("estimator", "path"),
    [
        (LinearSVC(dual=True, tol=1e-10, max_iter=10**6, random_state=0), "compiled"),
        (LinearSVC(penalty="l1", dual=False, tol=1e-8, random_state=0), "general"),
        (BernoulliNB(), "general"),
    ],
    ids=["compiled", "general", "probabilities"],
)
def test_a_block_metric_scores_on_both_paths(estimator, path):
    engine = plan_analysis(Y, len(Y), estimator, scoring=mean_margin, cv=CV).engine
    assert engine.path == path
    found = search_light(X, Y, estimator, A, scoring={"margin": mean_margin}, cv=CV, n_jobs=1)["margin"]
    for voxel in range(4):
        folds = []
        for train, test in CV.split(X, Y):
            fitted = estimator.fit(X[train][:, [voxel]].astype(np.float32), Y[train])
            sphere = X[test][:, [voxel]].astype(np.float32)
            if hasattr(fitted, "decision_function"):
                evidence = fitted.decision_function(sphere)
            else:
                evidence = fitted.predict_proba(sphere)[:, 1] - 0.5
            folds.append((evidence * np.where(Y[test] == 1, 1, -1)).mean())
        assert found[voxel] == pytest.approx(np.mean(folds), abs=1e-6)


def test_a_block_metric_must_give_one_score_a_sphere():
    whole = BlockMetric(lambda held_out: held_out.values.mean())
    with pytest.raises(ValueError, match=r"gave shape \(\) for 1 spheres; it must give \(1,\)"):
        search_light(X, Y, "ridge_classifier", A, scoring=whole, cv=CV, n_jobs=1)


def test_a_score_that_is_not_a_number_for_equal_decisions_is_no_reason_to_stop():
    ratio = BlockMetric(lambda held_out: held_out.decision.mean(axis=1) / held_out.decision.std(axis=1))
    assert np.isfinite(search_light(X, Y, "ridge_classifier", A, scoring=ratio, cv=CV, n_jobs=1)).all()


@pytest.fixture
def registered():
    """A decoder that says 1 of everything, or refuses."""

    class Constant(DummyClassifier):
        pass

    def plan(estimator, y, folds):
        def run(block, out, status):
            out[:], status[:] = 1.0, 0

        outputs = lay_out(folds, [1] * len(folds), tuple(np.unique(y[train]) for train in folds.train))
        return Plan("Constant", run, outputs, y, folds)

    register_decoder(Constant, plan, lambda estimator: None if estimator.strategy == "prior" else "not constant")
    yield Constant
    del REGISTRY[Constant]


@pytest.mark.filterwarnings("ignore:Use a custom estimator")
def test_a_registered_decoder_runs_compiled(registered):
    assert plan_analysis(Y, 30, registered()).engine.path == "compiled"
    np.testing.assert_array_equal(search_light(X, Y, registered(), A, cv=CV, n_jobs=1), 0.5)
    engine = plan_analysis(Y, 30, registered(strategy="uniform")).engine
    assert (engine.path, engine.reason) == ("general", "Constant is compiled, but not constant")


def test_registration_is_checked(registered):
    with pytest.raises(ValueError, match="Constant has a compiled decoder already"):
        register_decoder(registered, lambda *_: None)
    with pytest.raises(TypeError, match="must be a scikit-learn estimator class"):
        register_decoder(registered(), lambda *_: None)


@pytest.mark.parametrize("n_classes", [1, 2, 4])
def test_log_likelihoods_and_their_ratios_say_the_same(n_classes):
    joint = np.random.default_rng(0).standard_normal((3, 5, n_classes)) - 40.0
    ratios = np.concatenate([joint[:, :, :1], joint[:, :, 1:] - joint[:, :, :1]], axis=2)
    y, classes = np.zeros(5, int), np.arange(n_classes)
    for held_out in (LogLikelihoods(y, joint, classes), LogRatios(y, ratios, classes)):
        np.testing.assert_array_equal(held_out.predicted, joint.argmax(axis=2))
        np.testing.assert_allclose(held_out.probability, softmax(joint, axis=2), rtol=1e-12)
        assert held_out.decision is None
