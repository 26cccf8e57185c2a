"""Every compiled decoder against the scikit-learn estimator that it equals."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import Lasso, Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.model_selection import KFold, LeaveOneGroupOut, ShuffleSplit, StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC

from decoder_cases import CASES, EVERY_CASE, PLAIN, numbers_of_classes, tolerance_of
from fastsl._kernels.block import Block
from fastsl._runtime.launch import kernel_threads
from fastsl.analysis import plan_analysis
from fastsl.decoders import REGISTRY, find_decoder
from fastsl.folds import draw_folds
from fastsl.search import search_light

N_SAMPLES = 48
GROUPS = np.arange(N_SAMPLES) // 8
#: Voxels: fewer and more than samples.
SMALL, LARGE = 10, 80
FORMS = ("gram", "features")
both_forms = pytest.mark.parametrize("form", FORMS)
both_sizes = pytest.mark.parametrize("n_voxels", [SMALL, LARGE])

TAKE_THREE_CLASSES = [one for one in PLAIN if is_classifier(one) and numbers_of_classes(one, (3,))]
PLAIN_CLASSIFIERS = [estimator for estimator in PLAIN if is_classifier(estimator)]


def with_classes(estimators):
    """Each estimator with two classes, and each classifier with three as well."""
    return pytest.mark.parametrize(
        ("estimator", "n_classes"),
        [
            (estimator, n)
            for estimator in estimators
            for n in (numbers_of_classes(estimator, (2, 3)) if is_classifier(estimator) else (2,))
        ],
        ids=repr,
    )


def test_every_registered_type_has_cases_and_a_plain_one():
    assert set(CASES) == set(REGISTRY)
    assert {type(estimator) for estimator in PLAIN} == set(REGISTRY)
    for kind, estimators in CASES.items():
        assert {type(estimator) for estimator in estimators} == {kind}


def make_data(n_voxels, n_classes=2, *, balanced=True, seed=0):
    """Standardised float32 data with overlapping classes, the labels, and a continuous target."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N_SAMPLES) % n_classes
    if not balanced:
        labels[rng.random(N_SAMPLES) < 0.4] = 0
    X = rng.standard_normal((N_SAMPLES, n_voxels)) + 0.5 * rng.standard_normal((n_classes, n_voxels))[labels]
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    values = X[:, :3].sum(axis=1) + 10.0 + rng.standard_normal(N_SAMPLES)
    return X, labels, values


def decode(estimator, X, y, folds, form):
    """Held-out predictions of one sphere with all voxels, fold by fold."""
    make_plan, reason = find_decoder(estimator, folds)
    assert make_plan is not None, reason
    plan = make_plan(estimator, y, folds)
    p = X.shape[1]
    block = Block(
        np.ascontiguousarray(X.T),
        np.zeros(p),
        np.array([0, p]),
        np.arange(p, dtype=np.int32),
        plan.intercept,
        p + 1 if form == "features" and plan.features_below else 0,
        1,
    )
    out, status = np.empty((1, plan.n_out)), np.empty(1, np.int8)
    with kernel_threads(1):
        plan.run(block, out, status)
    assert status[0] == 0
    return list(plan.held_out(out))


def assert_parity(estimator, X, labels, values, cv, form, groups=None):
    """Every fold equals scikit-learn's."""
    y = labels if is_classifier(estimator) else values
    folds = draw_folds(cv, y, groups, classifier=is_classifier(estimator))
    for (train, test), held_out in zip(folds, decode(estimator, X, y, folds, form), strict=True):
        fitted = fit(estimator, X[train].astype(float), y[train])
        assert_fold(held_out, fitted, X[test].astype(float), tolerance_of(estimator))


def fit(estimator, X, y):
    with warnings.catch_warnings():
        # Discriminant analysis of a class with one sample, which adds nothing to the covariance.
        warnings.filterwarnings("ignore", "Only one sample available")
        return clone(estimator).fit(X, y)


def assert_fold(held_out, fitted, X_test, tolerance):
    """Decisions, probabilities and predictions equal those of the fitted estimator, and so does every clear label."""
    if not is_classifier(fitted):
        np.testing.assert_allclose(held_out.values[0, :, 0], fitted.predict(X_test), rtol=0, atol=tolerance)
        return
    np.testing.assert_array_equal(held_out.classes, fitted.classes_)
    assert (held_out.decision is None) == (not hasattr(fitted, "decision_function"))
    assert (held_out.probability is None) == (not hasattr(fitted, "predict_proba"))
    if held_out.probability is not None:
        np.testing.assert_allclose(held_out.probability[0], fitted.predict_proba(X_test), rtol=0, atol=tolerance)
    predicted = held_out.classes[held_out.predicted[0]]
    if isinstance(fitted, DummyClassifier):
        np.testing.assert_array_equal(predicted, fitted.predict(X_test))
        return
    if held_out.decision is not None:
        expected = fitted.decision_function(X_test)
        # A factor, since decision values grow with C: nothing else about the tolerance depends on the case.
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(held_out.decision[0], expected, rtol=0, atol=tolerance * scale)
    else:
        expected = np.log(np.maximum(fitted.predict_proba(X_test), 1e-300))
    two_columns = np.column_stack([-expected, expected]) if expected.ndim == 1 else expected
    ordered = np.sort(two_columns, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-4
    np.testing.assert_array_equal(predicted[clear], fitted.predict(X_test)[clear])
    assert clear.mean() > 0.9


@both_forms
@both_sizes
@with_classes(EVERY_CASE)
def test_every_parameter_set_equals_scikit_learn(estimator, n_classes, n_voxels, form):
    X, labels, values = make_data(n_voxels, n_classes, balanced=False)
    if n_classes > 2 and isinstance(getattr(estimator, "class_weight", None), dict):
        estimator = clone(estimator).set_params(class_weight={**estimator.class_weight, 2: 1.5})
    cv = StratifiedKFold(3) if is_classifier(estimator) else KFold(3)
    assert_parity(estimator, X, labels, values, cv, form)


@both_forms
@both_sizes
@pytest.mark.parametrize("balanced", [True, False], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize(
    ("estimator", "n_classes"),
    [(estimator, n) for estimator in PLAIN_CLASSIFIERS for n in numbers_of_classes(estimator, (2, 3, 4, 5))],
    ids=repr,
)
def test_any_number_of_classes_equals_scikit_learn(estimator, n_classes, balanced, n_voxels, form):
    X, labels, values = make_data(n_voxels, n_classes, balanced=balanced, seed=1)
    assert_parity(estimator, X, labels, values, StratifiedKFold(2), form)


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_ has at least 1 zero")  # NearestCentroid, rightly
@both_forms
@both_sizes
@pytest.mark.parametrize("scaler", [StandardScaler(), StandardScaler(with_mean=False)], ids=repr)
@with_classes(PLAIN)
def test_scaling_in_each_fold_equals_a_pipeline(estimator, n_classes, scaler, n_voxels, form):
    X, labels, values = make_data(n_voxels, n_classes, balanced=False, seed=7)
    X = ((X + 2.0) * np.logspace(-1, 1, n_voxels)).astype(np.float32)  # more, and liblinear and libsvm do not converge
    X[:, 2] = 3.0  # a constant voxel
    y = labels if is_classifier(estimator) else values
    folds = draw_folds(StratifiedKFold(3) if is_classifier(estimator) else KFold(3), y)
    found = decode(make_pipeline(scaler, estimator), X, y, folds, form)
    for (train, test), held_out in zip(folds, found, strict=True):
        # Scaled data are float32 in both; some of scikit-learn's estimators would go on in float32.
        scaled = clone(scaler).fit(X[train]).transform(X).astype(float)
        fitted = fit(estimator, scaled[train], y[train])
        assert_fold(held_out, fitted, scaled[test], tolerance_of(estimator))


EVERY_SAMPLE = np.arange(N_SAMPLES)
SPLITS = {
    "leave one group out": LeaveOneGroupOut(),
    "train smaller than test": ShuffleSplit(3, train_size=0.35, test_size=0.6, random_state=0),
    "trained samples are tested": [(EVERY_SAMPLE[:40], EVERY_SAMPLE[30:]), (EVERY_SAMPLE[8:], EVERY_SAMPLE)],
    "some samples in neither": [(np.r_[0:13, 20:33], np.r_[14:19, 40:44]), (EVERY_SAMPLE[5:25], EVERY_SAMPLE[40:44])],
    "tested in any order, twice": [(EVERY_SAMPLE[20:], np.array([7, 3, 3, 11]))],
    "trained in any order": [(EVERY_SAMPLE[:19:-1], EVERY_SAMPLE[:20])],
}


@both_forms
@both_sizes
@pytest.mark.parametrize("splits", SPLITS)
@with_classes(PLAIN)
def test_any_split_equals_scikit_learn(estimator, splits, n_classes, n_voxels, form):
    X, labels, values = make_data(n_voxels, n_classes, balanced=False, seed=2)
    groups = GROUPS if splits == "leave one group out" else None
    assert_parity(estimator, X, labels, values, SPLITS[splits], form, groups)


@both_forms
@pytest.mark.parametrize("estimator", TAKE_THREE_CLASSES, ids=repr)
def test_a_fold_that_lacks_a_class_is_trained_on_the_others(estimator, form):
    X, labels, values = make_data(SMALL, 3, seed=3)
    known = np.flatnonzero(labels < 2)
    pairs = [(EVERY_SAMPLE[:36], EVERY_SAMPLE[36:]), (known, EVERY_SAMPLE[::2]), (EVERY_SAMPLE[12:], known[:9])]
    assert_parity(estimator, X, labels, values, pairs, form)


@both_forms
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("estimator", PLAIN_CLASSIFIERS, ids=repr)
def test_a_fold_with_one_class_leaves_the_others_as_they_are(estimator, position, form):
    X, labels, _ = make_data(SMALL, 2, seed=4)
    pairs = [(EVERY_SAMPLE[:30], EVERY_SAMPLE[30:]), (EVERY_SAMPLE[14:], EVERY_SAMPLE[:14])]
    expected = decode(estimator, X, labels, draw_folds(pairs, labels), form)
    pairs.insert(position, (np.flatnonzero(labels == 1), EVERY_SAMPLE[:5]))
    found = decode(estimator, X, labels, draw_folds(pairs, labels), form)
    alone = found.pop(position)
    if isinstance(estimator, GaussianNB | DummyClassifier):  # scikit-learn's answers with the only class it knows
        np.testing.assert_array_equal(alone.classes[alone.predicted[0]], 1)
    else:
        assert alone is None
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


@both_forms
@pytest.mark.parametrize("estimator", PLAIN, ids=repr)
def test_string_labels_and_whole_numbers_are_targets_too(estimator, form):
    X, labels, values = make_data(SMALL, max(numbers_of_classes(estimator, (2, 3))), seed=5)
    names = np.array(["house", "face", "cat"])[labels]
    assert_parity(estimator, X, names, np.rint(values).astype(np.int16), KFold(3), form)


# What is not compiled, says why, and runs all the same


class OwnSVC(LinearSVC):
    """A subclass may do anything: only the very type is known."""


SAME_TWICE = [(np.r_[0:30, 0:30], np.arange(30, 48)), (np.arange(18, 48), np.arange(18))]
REFUSED = {
    "penalty": (LinearSVC(penalty="l1", dual=False, random_state=0), "penalty='l1' is not a ridge penalty"),
    "multi_class": (
        LinearSVC(multi_class="crammer_singer", random_state=0),
        "multi_class='crammer_singer' is one joint problem",
    ),
    "zero class weight": (RidgeClassifier(class_weight={0: 0.0, 1: 1.0}), "leaves a class out"),
    "positive": (Ridge(positive=True), "positive=True constrains the weights"),
    "Ridge solver": (Ridge(solver="lsqr"), "solver='lsqr' stops at a tolerance"),
    "classifier solver": (RidgeClassifier(solver="sparse_cg"), "solver='sparse_cg' stops at a tolerance"),
    "no penalty": (Ridge(alpha=0.0), "is not positive: without a penalty the solution is not unique"),
    "inner cv": (RidgeCV(cv=3), "cv inside the estimator is not leave-one-out"),
    "inner classifier cv": (RidgeClassifierCV(cv=3), "cv inside the estimator is not leave-one-out"),
    "inner scoring": (RidgeCV(scoring="neg_mean_absolute_error"), "scoring='neg_mean_absolute_error' inside"),
    "alpha per target": (RidgeCV(alpha_per_target=True), "alpha_per_target=True"),
    "covariance estimator": (
        LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=LedoitWolf()),
        "covariance_estimator may be anything",
    ),
    "no shrinkage": (LinearDiscriminantAnalysis(solver="lsqr"), "shrinkage=None leaves the covariance matrix singular"),
    "shrinkage of zero": (
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.0),
        "shrinkage=0.0 leaves the covariance matrix singular",
    ),
    "another type": (KNeighborsClassifier(), "KNeighborsClassifier has no compiled decoder"),
    "a regressor": (Lasso(0.1), "Lasso has no compiled decoder"),
    "a pipeline": (make_pipeline(MinMaxScaler(), LinearSVC(random_state=0)), "Pipeline has no compiled decoder"),
    "a scaled one": (make_pipeline(StandardScaler(), Lasso(0.1)), "Lasso has no compiled decoder, on voxels scaled"),
}


@pytest.mark.parametrize(("estimator", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_compiled_says_why_and_scores_as_scikit_learn(estimator, reason):
    X, labels, values = make_data(6, 2, seed=6)
    y = labels if is_classifier(estimator) else values
    engine = plan_analysis(y, len(y), estimator, cv=KFold(3)).engine
    assert engine.path == "general"
    assert reason in engine.reason
    A = sparse.csr_array(np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 1]], bool))
    found = search_light(X, y, estimator, A, cv=KFold(3), n_jobs=1)
    expected = [
        cross_val_score(estimator, X[:, members], y, cv=KFold(3)).mean() for members in ([0, 1, 2, 3, 4, 5], [2, 3, 5])
    ]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:Line search of Newton solver")  # a tolerance near rounding, see decoder_cases.py
@pytest.mark.parametrize("estimator", PLAIN, ids=repr)
def test_a_fold_that_trains_on_a_sample_twice_is_not_compiled(estimator):
    X, labels, values = make_data(6, 2, seed=6)
    X = X.astype(float)  # newton-cholesky of scikit-learn 1.6 fails on float32
    y = labels if is_classifier(estimator) else values
    engine = plan_analysis(y, len(y), estimator, cv=SAME_TWICE).engine
    assert (engine.path, "trains on the same sample twice" in engine.reason) == ("general", True)
    found = search_light(X, y, estimator, sparse.csr_array(np.ones((1, 6), bool)), cv=SAME_TWICE, n_jobs=1)
    np.testing.assert_array_equal(found, cross_val_score(estimator, X, y, cv=SAME_TWICE).mean())


def test_a_subclass_is_not_taken_for_its_parent():
    _, labels, _ = make_data(6)
    with pytest.warns(UserWarning, match="Use a custom estimator at your own risk"):
        engine = plan_analysis(labels, N_SAMPLES, OwnSVC(), cv=KFold(3)).engine
    assert (engine.path, engine.reason) == ("general", "OwnSVC has no compiled decoder")


INVALID = {
    "unknown loss": LinearSVC(loss="l2"),
    "negative C": LinearSVC(C=-1.0),
    "no intercept scale": LinearSVC(intercept_scaling=0),
    "intercept": RidgeClassifier(fit_intercept="no"),
    "class weight": RidgeClassifier(class_weight="even"),
    "solver": Ridge(solver="newton"),
}


@pytest.mark.parametrize("estimator", INVALID.values(), ids=INVALID)
def test_parameters_that_scikit_learn_refuses_are_refused_before_any_work(estimator):
    X, labels, values = make_data(6)
    y = labels if is_classifier(estimator) else values
    with pytest.raises(ValueError, match=f"parameter of {type(estimator).__name__} must be"):
        search_light(X, y, estimator, sparse.csr_array(np.ones((1, 6), bool)), cv=KFold(3), n_jobs=1)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"shrinkage": 0.5}, "solver='svd' takes no shrinkage"),
        ({"tol": 0.0}, "tol=0.0 keeps directions that hold rounding only, or none"),
        ({"tol": 1.0}, "tol=1.0 keeps directions that hold rounding only, or none"),
        ({"n_components": 2}, "n_components=2 is an error in spheres with fewer voxels"),
    ],
)
def test_what_discriminant_analysis_by_svd_refuses(parameters, reason):
    decoder, why = find_decoder(LinearDiscriminantAnalysis(**parameters), draw_folds(2, np.arange(6) % 2))
    assert decoder is None
    assert reason in why


@pytest.mark.parametrize("priors", [[0.0, 1.0], [-0.5, 1.5], [[0.5, 0.5]]])
def test_priors_that_are_not_one_positive_number_a_class_are_not_compiled(priors):
    estimator = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5, priors=priors)
    decoder, reason = find_decoder(estimator, draw_folds(2, np.arange(6) % 2))
    assert decoder is None
    assert f"priors={np.asarray(priors, float).tolist()} are not one positive number a class" in reason


def test_what_discriminant_analysis_cannot_train_is_an_error_before_any_work():
    X, labels, _ = make_data(6, 3)
    sphere = sparse.csr_array(np.ones((1, 6), bool))
    two_priors = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5, priors=[0.5, 0.5])
    with pytest.raises(ValueError, match="there are 2 priors, but the training samples of fold 0 have 3 classes"):
        search_light(X, labels, two_priors, sphere, n_jobs=1)
    pairs = [(np.arange(9), np.arange(9, 18)), (np.arange(3), np.arange(9))]
    with pytest.raises(ValueError, match="fold 1 trains on one sample of each class"):
        search_light(X, labels, LinearDiscriminantAnalysis(), sphere, cv=pairs, n_jobs=1)


@pytest.mark.parametrize("shrinkage", [0.2, "auto", None])
@pytest.mark.parametrize("priors", [[0.2, 0.5, 0.3], (2.0, 5.0, 3.0)], ids=["sum to one", "do not"])
@both_forms
def test_priors_equal_scikit_learn(priors, shrinkage, form):
    X, labels, values = make_data(LARGE, 3, balanced=False, seed=9)
    solver = "lsqr" if shrinkage else "svd"
    given = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage, priors=np.array(priors))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The priors do not sum to 1. Renormalizing")
        assert_parity(given, X, labels, values, StratifiedKFold(3), form)


def test_base_estimator_is_not_a_decoder():
    assert find_decoder(BaseEstimator(), draw_folds(2, np.arange(6) % 2)) == (
        None,
        "BaseEstimator has no compiled decoder",
    )
