"""Held-out predictions, confusion matrices, several scores at once, and decoders on new samples."""

import errno
import os
import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import accuracy_score, confusion_matrix, make_scorer
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold, cross_val_predict, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from fastsl import kept
from fastsl.analysis import plan_analysis
from fastsl.folds import Folds, draw_folds
from fastsl.kept import Keep, confusion_counts
from fastsl.neighbours import Neighbours
from fastsl.progress import Progress
from fastsl.search import run_search, search_light

N_SAMPLES, N_VOXELS = 30, 12
rng = np.random.default_rng(0)
Y = np.arange(N_SAMPLES) % 3
NAMES = np.array(["cat", "face", "house"])[Y]
X = (rng.standard_normal((N_SAMPLES, N_VOXELS)) + 0.8 * rng.standard_normal((3, N_VOXELS))[Y]).astype(np.float32)
MEMBERS = [np.arange(12), np.array([1, 4, 7]), np.array([], int), np.array([0, 2, 3, 5, 9])]
A = sparse.csr_array(np.array([np.isin(np.arange(N_VOXELS), members) for members in MEMBERS]))
CV = StratifiedKFold(5)

#: One of each path, and of each kind of evidence: decisions, probabilities, neither.
CLASSIFIERS = {
    "compiled": LinearSVC(dual=True, tol=1e-10, max_iter=10**6, random_state=0),
    "compiled ridge": RidgeClassifier(2.0),
    "general": LinearSVC(penalty="l1", dual=False, tol=1e-8, random_state=0),
    "probabilities only": KNeighborsClassifier(3),
}


def search(y, estimator, keep, *, folds=CV, scoring=None, groups=None):
    analysis = plan_analysis(y, len(X), estimator, cv=folds, scoring=scoring, groups=groups, keep=keep)
    matrix = np.ascontiguousarray(X.T)
    return run_search(matrix, Neighbours.from_sparse(A), analysis, 1, Progress(0, "test"), keep)


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
@pytest.mark.parametrize("y", [Y, NAMES, (Y > 0).astype(int)], ids=["numbers", "names", "two classes"])
@pytest.mark.parametrize("case", CLASSIFIERS)
def test_predictions_and_decisions_are_those_of_cross_val_predict(case, y):
    estimator = CLASSIFIERS[case]
    found = search(y, estimator, Keep(predictions=True, confusion=True)).kept
    classes = np.unique(y)
    method = "decision_function" if hasattr(estimator, "decision_function") else "predict_proba"
    assert found.predicted.shape == (N_SAMPLES, len(MEMBERS))
    for centre, members in enumerate(MEMBERS):
        if len(members) == 0:
            assert (found.predicted[:, centre] == -1).all()
            assert np.isnan(found.decision[:, centre]).all()
            assert found.confusion[centre].sum() == 0
            continue
        sphere = X[:, members].astype(float)
        labels = cross_val_predict(estimator, sphere, y, cv=CV)
        evidence = cross_val_predict(estimator, sphere, y, cv=CV, method=method)
        if len(classes) == 2 and evidence.ndim == 2:
            evidence = evidence[:, 1]
        np.testing.assert_array_equal(classes[found.predicted[:, centre]], labels)
        np.testing.assert_allclose(found.decision[:, centre], evidence, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(found.confusion[centre], confusion_matrix(y, labels))


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
@pytest.mark.parametrize("estimator", [Ridge(2.0), Ridge(2.0, positive=True)], ids=["compiled", "general"])
def test_a_regressor_keeps_its_predictions(estimator):
    y = X[:, 1] + 0.1 * np.arange(N_SAMPLES)
    found = search(y, estimator, Keep(predictions=True), folds=KFold(4)).kept
    assert found.decision is None
    for centre, members in enumerate(MEMBERS):
        if len(members) == 0:
            assert np.isnan(found.predicted[:, centre]).all()
            continue
        expected = cross_val_predict(estimator, X[:, members].astype(float), y, cv=KFold(4))
        np.testing.assert_allclose(found.predicted[:, centre], expected, rtol=1e-5, atol=1e-5)


def test_rows_are_in_the_order_of_samples_then_of_folds():
    folds = draw_folds([([0, 1, 2], [5, 3, 4]), ([3, 4, 5], [0, 4])], np.array([0, 1, 0, 1, 0, 1]))
    rows = folds.test_rows()
    np.testing.assert_array_equal(rows.samples, [0, 3, 4, 4, 5])
    np.testing.assert_array_equal(rows.folds, [1, 0, 0, 1, 0])
    np.testing.assert_array_equal(rows.of_fold[0], [4, 1, 2])
    np.testing.assert_array_equal(rows.of_fold[1], [0, 3])


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
@pytest.mark.parametrize(
    "estimator", [RidgeClassifier(), DecisionTreeClassifier(random_state=0)], ids=["compiled", "general"]
)
def test_a_sample_that_is_tested_twice_has_two_rows(estimator):
    splitter = ShuffleSplit(3, test_size=0.4, random_state=0)
    found = search(Y, estimator, Keep(predictions=True), folds=splitter).kept
    rows = draw_folds(splitter, Y).test_rows()
    assert found.predicted.shape == (3 * 12, len(MEMBERS))
    for fold, (train, test) in enumerate(splitter.split(X)):
        expected = clone(estimator).fit(X[train].astype(float), Y[train]).predict(X[test].astype(float))
        np.testing.assert_array_equal(found.predicted[rows.of_fold[fold], 0], expected)


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
@pytest.mark.parametrize("estimator", [RidgeClassifier(), LogisticRegression(tol=1e-8)], ids=repr)
def test_a_fold_that_lacks_a_class_leaves_its_column_empty(estimator):
    known = np.flatnonzero(Y < 2)
    pairs = [(known, np.arange(30)), (np.arange(3, 30), np.arange(3))]
    found = search(Y, estimator, Keep(predictions=True), folds=pairs).kept
    first = draw_folds(pairs, Y).test_rows().of_fold[0]
    fitted = clone(estimator).fit(X[known].astype(float), Y[known])
    decision = fitted.decision_function(X.astype(float))
    np.testing.assert_array_equal(found.predicted[first, 0], fitted.predict(X.astype(float)))
    np.testing.assert_allclose(found.decision[first, 0, 0], -decision, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.decision[first, 0, 1], decision, rtol=1e-3, atol=1e-3)
    assert np.isnan(found.decision[first, 0, 2]).all()


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
def test_a_classifier_without_any_evidence_keeps_predictions_only():
    estimator = SVC(decision_function_shape="ovo", break_ties=False, kernel="linear", tol=1e-8)
    y = np.arange(N_SAMPLES) % 4
    found = search(y, estimator, Keep(predictions=True)).kept
    assert found.decision.shape == (N_SAMPLES, len(MEMBERS), 6), "one column a pair"


def test_what_scores_itself_keeps_nothing_and_has_one_score():
    class Own(RidgeClassifier):
        nilearn_searchlight_uses_cv = False

        def fit(self, X, y, groups=None):
            return super().fit(X, y)

        def score(self, X, y, groups=None):
            return 0.5

    with pytest.warns(UserWarning, match="custom estimator"), pytest.raises(ValueError, match="nothing can be kept"):
        search(Y, Own(), Keep(predictions=True))
    with pytest.warns(UserWarning, match="custom estimator"), pytest.raises(ValueError, match="scores itself"):
        search(Y, Own(), None, scoring=["accuracy"])


def test_a_regressor_has_no_confusion():
    with pytest.raises(ValueError, match="keep_confusion counts classes, but Ridge is no classifier"):
        plan_analysis(X[:, 0], N_SAMPLES, Ridge(), keep=Keep(confusion=True))


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
@pytest.mark.parametrize("case", ["compiled", "general"])
def test_files_hold_what_memory_would(tmp_path, case):
    everything = Keep(predictions=True, confusion=True)
    in_memory = search(Y, CLASSIFIERS[case], everything).kept
    on_disk = search(Y, CLASSIFIERS[case], Keep(True, True, tmp_path / "new")).kept
    assert isinstance(on_disk.predicted, np.memmap)
    for name, expected in {
        "predictions": in_memory.predicted,
        "decisions": in_memory.decision,
        "confusion": in_memory.confusion,
    }.items():
        np.testing.assert_array_equal(np.load(tmp_path / "new" / f"{name}.npy"), expected)


def test_what_does_not_fit_in_memory_goes_to_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "available_bytes", lambda: 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.warns(RuntimeWarning) as caught:
        found = search(Y, "ridge_classifier", Keep(predictions=True)).kept
    assert any("more than half of the free memory" in str(warning.message) for warning in caught)
    assert isinstance(found.predicted, np.memmap)
    assert str(tmp_path) in found.predicted.filename


def test_confusion_counts_by_hand():
    predicted = np.array([[0, 1], [1, -1], [1, 1]], np.int16)
    counts = confusion_counts(predicted, np.array([0, 0, 1]), 2)
    np.testing.assert_array_equal(counts, [[[1, 1], [0, 1]], [[0, 1], [0, 1]]])


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no room is set aside here")
def test_a_full_disk_is_an_error_that_names_the_folder(tmp_path, monkeypatch):
    def no_room(file, offset, n_bytes):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    where = re.escape(str(tmp_path))
    with pytest.raises(OSError, match=rf"^{where} has no room for \d+ bytes .*: they are predictions; .* keep_pred"):
        search(Y, CLASSIFIERS["compiled"], Keep(predictions=True, folder=tmp_path))
    assert not list(tmp_path.iterdir())


SCORINGS = {
    "list": ["accuracy", "balanced_accuracy", "f1_macro"],
    "tuple": ("f1_macro", "accuracy"),
    "dict of names": {"right": "accuracy", "default": None},
    "dict with a scorer": {"right": make_scorer(accuracy_score), "f1": "f1_macro"},
    "dict with a function": {"right": lambda estimator, X, y: estimator.score(X, y), "f1": "f1_macro"},
}


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
@pytest.mark.parametrize("case", ["compiled", "general"])
@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
def test_several_scores_are_those_of_cross_validate(scoring, case):
    estimator = CLASSIFIERS[case]
    found = search(Y, estimator, None, scoring=scoring)
    assert found.names == tuple(scoring)
    plain = {"accuracy" if one is None else one for one in scoring} if not isinstance(scoring, dict) else scoring
    spec = {name: plain[name] or "accuracy" for name in plain} if isinstance(plain, dict) else list(plain)
    for centre, members in enumerate(MEMBERS):
        if len(members):
            expected = cross_validate(estimator, X[:, members].astype(float), Y, cv=CV, scoring=spec)
            for name, scores in zip(found.names, found.fold_scores, strict=True):
                np.testing.assert_allclose(scores[:, centre], expected[f"test_{name}"], rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
def test_search_light_gives_a_dict_for_several_scores():
    several = search_light(X, Y, "ridge_classifier", A, scoring=["accuracy", "f1_macro"], cv=CV, n_jobs=1)
    assert list(several) == ["accuracy", "f1_macro"]
    single = search_light(X, Y, "ridge_classifier", A, scoring="f1_macro", cv=CV, n_jobs=1)
    np.testing.assert_array_equal(several["f1_macro"], single)


# Decoders that are trained on everything, on new samples

NEW = (rng.standard_normal((17, N_VOXELS)) + 0.3).astype(np.float32)


def transfer(y, estimator, n_jobs=1):
    analysis = plan_analysis(y, N_SAMPLES, estimator, cv=KFold(3)).transfer(len(NEW), None)
    matrix = np.ascontiguousarray(np.concatenate([X, NEW]).T)
    return run_search(
        matrix, Neighbours.from_sparse(A), analysis, n_jobs, Progress(0, "test"), Keep(predictions=True)
    ).kept


@pytest.mark.filterwarnings("ignore:1 of 4 spheres have fewer")
@pytest.mark.parametrize("estimator", [*CLASSIFIERS.values(), Ridge(2.0), Ridge(positive=True)], ids=repr)
def test_new_samples_are_decoded_as_by_one_fit(estimator):
    y = NAMES if is_classifier(estimator) else X[:, 0] + 1.0
    found = transfer(y, estimator)
    for centre, members in enumerate(MEMBERS):
        if len(members):
            fitted = clone(estimator).fit(X[:, members].astype(float), y)
            expected = fitted.predict(NEW[:, members].astype(float))
            if is_classifier(estimator):
                np.testing.assert_array_equal(np.unique(y)[found.predicted[:, centre]], expected)
            else:
                np.testing.assert_allclose(found.predicted[:, centre], expected, rtol=1e-5, atol=1e-5)


def test_transfer_is_one_fold():
    analysis = plan_analysis(Y, N_SAMPLES, "svc").transfer(4, np.array([0, 1, 1, 2]))
    assert isinstance(analysis.folds, Folds)
    assert len(analysis.folds) == 1
    np.testing.assert_array_equal(analysis.folds.train[0], np.arange(N_SAMPLES))
    np.testing.assert_array_equal(analysis.y[analysis.folds.test[0]], [0, 1, 1, 2])
