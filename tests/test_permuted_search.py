"""Scores under permuted labels: those of searches with each permuted y, whichever way and wherever they are decoded."""

import errno
import os
import re
import tracemalloc
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.model_selection import KFold, LeaveOneGroupOut
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from fastsl import CorrelationClassifier, compiled, search, search_light, sphere_neighbours
from fastsl._runtime.launch import max_threads
from fastsl.analysis import Permutations, make_engine, plan_analysis
from fastsl.checkpoints.blocks import gaps
from fastsl.checkpoints.recorder import Recorder
from fastsl.decoders import REGISTRY
from fastsl.kept import Keep
from fastsl.neighbours import Neighbours
from fastsl.permutation import nullmaps
from fastsl.permutation.nullmaps import NullMaps
from fastsl.progress import Progress
from fastsl.search import run_search

N, N_RUNS, N_PERMUTATIONS = 30, 5, 11
RUNS = np.arange(N) // (N // N_RUNS)
BY_RUN, MAPS = LeaveOneGroupOut(), Keep(null_maps=True)
rng = np.random.default_rng(0)
#: Two and three classes, each in every run, and values.
Y = {2: np.arange(N) % 2, 3: np.arange(N) % 3, None: rng.standard_normal(N) + np.arange(N) % 2}

#: Spheres of 4 to 19 voxels; with 24 training samples, those below 12 take the features path.
MASK = np.ones((4, 3, 4), bool)
SPHERES = sphere_neighbours(MASK, np.eye(4), radius=1.5)
N_VOXELS = SPHERES.n_voxels
STANDARD = rng.standard_normal((N_VOXELS, N)) + 0.5 * rng.standard_normal((N_VOXELS, 1)) * (2.0 * Y[2] - 1.0)
DATA = {
    "standardised": STANDARD.astype(np.float32),
    "raw": (1e4 * (1 + 0.1 * rng.standard_normal((N_VOXELS, 1))) + 1e2 * STANDARD).astype(np.float32),
}

#: Name: estimator and number of classes. Permutations share a sphere's factorisation.
SHARED = {
    "LinearSVC": (LinearSVC(), 2),
    "LinearSVC of three classes": (LinearSVC(C=0.1, intercept_scaling=2.0), 3),
    "Ridge": (Ridge(), None),
    "RidgeClassifier": (RidgeClassifier(), 2),
    "RidgeClassifier of three classes": (RidgeClassifier(fit_intercept=False), 3),
    "RidgeCV": (RidgeCV((0.1, 1.0, 10.0, 100.0)), None),
    "RidgeClassifierCV": (RidgeClassifierCV(), 2),
    "RidgeClassifierCV of three classes": (RidgeClassifierCV((1.0, 30.0)), 3),
    "LDA": (LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1), 2),
    "LDA of three classes": (LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.5), 3),
    "NearestCentroid": (NearestCentroid(), 2),
    "NearestCentroid of three classes": (NearestCentroid(priors="empirical"), 3),
}
#: Compiled, one permutation after the other.
LOOPED = {
    "LinearSVC, weights": (LinearSVC(class_weight="balanced"), 2),
    "LinearSVC, hinge": (LinearSVC(loss="hinge", C=1e-2), 2),
    "RidgeClassifier, weights": (RidgeClassifier(class_weight={0: 1.0, 1: 2.0}), 2),
    "SVC": (SVC(), 2),
    "SVC of three classes": (SVC(kernel="linear", C=0.1), 3),
    "SVR": (SVR(kernel="linear", C=1e-2), None),
    "LinearSVR": (LinearSVR(C=1e-2), None),
    "LogisticRegression": (LogisticRegression(), 3),
    "LogisticRegressionCV": (LogisticRegressionCV(solver="liblinear", scoring="accuracy", cv=2, Cs=3), 2),
    "GaussianNB": (GaussianNB(), 3),
    "NearestCentroid with priors": (NearestCentroid(priors=[0.4, 0.6]), 2),
    "correlation": (CorrelationClassifier(), 3),
    "LDA, automatic shrinkage": (LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), 2),
    "LDA with priors": (LinearDiscriminantAnalysis(priors=[0.4, 0.6]), 2),
    "DummyClassifier": (DummyClassifier(strategy="stratified", random_state=3), 2),
    "DummyRegressor": (DummyRegressor(), None),
    "scaled RidgeClassifier": (make_pipeline(StandardScaler(), RidgeClassifier()), 2),
    "scaled GaussianNB": (make_pipeline(StandardScaler(), GaussianNB()), 2),
}
#: Not compiled.
ONE_FAILS = LinearSVC(penalty="l1", dual=False)  # cannot be trained on one class
GENERAL = {
    "LinearSVC, l1": (ONE_FAILS, 2),
    "KNeighborsClassifier": (KNeighborsClassifier(3), 2),
    "KNeighborsRegressor": (KNeighborsRegressor(3), None),
    "LDA of two components": (LinearDiscriminantAnalysis(n_components=1, solver="lsqr"), 2),
}
ESTIMATORS = {**SHARED, **LOOPED, **GENERAL}
every_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def test_every_registered_type_is_tried():
    assert {type(estimator) for estimator, _ in {**SHARED, **LOOPED}.values()} >= set(REGISTRY)


def chosen(centres):
    """Some of the spheres, in that order."""
    members = [SPHERES[int(centre)] for centre in centres]
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in members])]).astype(np.int64)
    return Neighbours(indptr, np.concatenate(members), SPHERES.centres[centres], N_VOXELS)


FEW = chosen(np.arange(3, 48, 9))


def source_of(analysis):
    """What is slow gets by with few spheres."""
    return SPHERES if analysis.compiled else FEW


def plan(estimator, y, *, n=N_PERMUTATIONS, scheme="within_groups", cv=BY_RUN, groups=RUNS, **options):
    return plan_analysis(y, N, estimator, groups=groups, cv=cv, permutations=Permutations(n, scheme), **options)


def plan_of(name, **options):
    estimator, n_classes = ESTIMATORS[name]
    return plan(estimator, Y[n_classes], **{"n": 4 if name in GENERAL else N_PERMUTATIONS, **options})


def why_one_by_one(analysis):
    return make_engine(DATA["standardised"].copy(), analysis, keep=False).one_by_one


def run(analysis, X=DATA["standardised"], source=None, *, n_jobs=1, keep=MAPS):
    """The result of a search; permutations that are not shared warn of the time, and nothing else warns."""
    source = source_of(analysis) if source is None else source
    warned = nullcontext()
    if why_one_by_one(analysis):
        warned = pytest.warns(UserWarning, match="decoded one after the other")
    with warned as caught:
        result = run_search(X.copy(), source, analysis, n_jobs, Progress(0, "test"), keep)
    assert caught is None or [w.category for w in caught] == [UserWarning]
    return result


def run_quietly(analysis):
    """The result of a search, without what is said of the time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* decoded one after the other")
        return run_search(DATA["standardised"].copy(), source_of(analysis), analysis, 1, Progress(0, "test"), MAPS)


def searched(analysis, X=DATA["standardised"], cv=BY_RUN, scoring=None):
    """The maps of searches with each permuted y."""
    maps = [
        search_light(X.T, y, analysis.estimator, source_of(analysis), RUNS, scoring, cv, n_jobs=1)
        for y in analysis.permuted
    ]
    return np.array(maps).astype(np.float32)


# The same scores as searches with each permuted y


@every_estimator
def test_permuted_scores_are_those_of_searches_with_permuted_labels(name):
    analysis = plan_of(name)
    found, expected = run(analysis).null.maps[0], searched(analysis)
    assert found.dtype == np.float32
    if "Dummy" not in name:
        assert np.ptp(expected, axis=0).min() > 0, "permutations that score alike would hide a wrong order"
        assert np.ptp(expected, axis=1).min() > 0, "spheres that score alike would hide a wrong order"
    if name in ("Ridge", "RidgeCV"):
        # Another order of the same sums: beyond float32's 6e-8 of 1 only where it rounds to the other side.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", SHARED)
def test_permutations_share_a_factorisation_on_raw_data_too(name):
    analysis = plan_of(name)
    found, expected = run(analysis, DATA["raw"]).null.maps[0], searched(analysis, DATA["raw"])
    if ESTIMATORS[name][1] is None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7)
    else:
        np.testing.assert_array_equal(found, expected)


SCORINGS = [
    ("RidgeClassifier", ["accuracy", "balanced_accuracy", "roc_auc"]),
    ("LinearSVC", ["roc_auc", "accuracy"]),
    ("RidgeClassifier of three classes", ["balanced_accuracy", "accuracy"]),
    ("Ridge", ["neg_mean_absolute_error", "r2", "neg_mean_squared_error"]),
    ("RidgeClassifier", ["f1", "accuracy"]),
    ("GaussianNB", ["accuracy", "neg_log_loss"]),
    ("SVR", ["r2", "explained_variance"]),
    ("KNeighborsClassifier", ["roc_auc", "accuracy"]),
]


@pytest.mark.parametrize(("name", "scoring"), SCORINGS)
def test_several_scores_are_those_of_searches_with_one(name, scoring):
    analysis = plan_of(name, scoring=scoring)
    result = run(analysis)
    assert result.null.maps.shape == (len(scoring), len(analysis.permuted), len(source_of(analysis)))
    for i, one in enumerate(scoring):
        expected = searched(analysis, scoring=one)
        np.testing.assert_allclose(result.null.maps[i], expected, rtol=2e-7, atol=2e-7)
        alone = run(plan_of(name, scoring=one)).null
        np.testing.assert_array_equal(result.null.maps[i], alone.maps[0])
        np.testing.assert_array_equal(result.null.reached[i], alone.reached[0])


@pytest.mark.parametrize("labels", [np.array(["house", "face"]), np.array(["b", "a"], object), np.array([7.0, -1.0])])
@pytest.mark.parametrize("name", ["RidgeClassifier", "GaussianNB of words", "KNeighborsClassifier"])
def test_labels_of_any_kind_permute(name, labels):
    estimator = GaussianNB() if "words" in name else ESTIMATORS[name][0]
    result = run(plan(estimator, labels[Y[2]], n=4))
    expected = run(plan(estimator, 1 - Y[2], n=4)).null
    np.testing.assert_array_equal(result.null.maps, expected.maps)
    np.testing.assert_array_equal(result.null.reached, expected.reached)


@pytest.mark.parametrize("name", ["RidgeClassifier", "SVC", "Ridge"])
@pytest.mark.parametrize("cv", [KFold(3, shuffle=True, random_state=0), [(np.arange(12), np.arange(20, 28))]], ids=str)
def test_folds_stay_as_they_are(name, cv):
    analysis = plan_of(name, cv=cv)
    np.testing.assert_allclose(run(analysis).null.maps[0], searched(analysis, cv=list(analysis.folds)), atol=2e-7)


# What is said of it


@pytest.mark.parametrize("name", SHARED)
def test_shared_permutations_say_nothing(name):
    assert why_one_by_one(plan_of(name)) == ""


WHY = {
    "with these parameters and scores its factorisation depends on the labels": [
        "LinearSVC, weights",
        "LinearSVC, hinge",
        "RidgeClassifier, weights",
        "LDA, automatic shrinkage",
        "LDA with priors",
        "NearestCentroid with priors",
    ],
    "through scikit-learn": list(GENERAL),
}


@pytest.mark.parametrize(("why", "name"), [(why, name) for why, names in WHY.items() for name in names])
def test_permutations_one_by_one_say_why(why, name):
    assert why_one_by_one(plan_of(name)) == why


@pytest.mark.parametrize("name", LOOPED)
def test_compiled_permutations_one_by_one_have_a_reason(name):
    assert why_one_by_one(plan_of(name))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"scoring": "f1"}, "its score is not computed inside kernels"),
        ({"scoring": ["accuracy", "f1_macro"]}, "the score 'f1_macro' is not computed inside kernels"),
        ({"cv": [(np.arange(20), np.arange(15, 30))]}, "a fold tests on samples that it trains on"),
    ],
)
def test_scores_and_folds_can_keep_permutations_from_sharing(options, why):
    assert why_one_by_one(plan_of("RidgeClassifier", **options)) == why


@pytest.mark.parametrize("scoring", ["roc_auc", ["accuracy", "roc_auc"]])
def test_ranks_by_nearest_centroids_are_in_units_that_depend_on_the_labels(scoring):
    analysis = plan_of("NearestCentroid", scoring=scoring)
    assert why_one_by_one(analysis) == "with these parameters and scores its factorisation depends on the labels"
    auc = run(analysis).null.maps[-1]
    np.testing.assert_allclose(auc, searched(analysis, scoring="roc_auc"), rtol=2e-7)


@pytest.mark.parametrize("name", ["GaussianNB", "KNeighborsClassifier"])
def test_a_warning_says_how_long_permutations_one_by_one_will_take(name):
    analysis = plan_of(name)
    who = re.escape(f"{len(analysis.permuted)} permutations of {analysis.estimator!r}")
    text = rf"^{who} are decoded one after the other \(.+\): about [\d.]+ (seconds|minutes) for 5 spheres\. Ridge, "
    with pytest.warns(UserWarning, match=text):
        run_search(DATA["standardised"].copy(), FEW, analysis, 1, Progress(0, "test"))


@pytest.mark.parametrize("cv", [KFold(3), [(np.arange(12), np.arange(12, 24))]], ids=["splitter", "pairs"])
def test_labels_that_are_exchanged_across_runs_unasked_are_warned_of(cv):
    with pytest.warns(UserWarning, match=r"without groups exchanges labels among all samples.* Give groups=runs"):
        plan(RidgeClassifier(), Y[2], groups=None, cv=cv)


@pytest.mark.parametrize("cv", [None, 3, np.int64(3), KFold(3)], ids=repr)
@pytest.mark.parametrize("scheme", ["within_groups", "free", np.argsort(rng.random((N_PERMUTATIONS, N)))], ids=type)
def test_labels_that_are_exchanged_across_runs_on_purpose_are_not(cv, scheme):
    """Folds of samples speak of no runs; and other schemes say what they do."""
    groups = RUNS if isinstance(cv, KFold) and isinstance(scheme, str) and scheme == "within_groups" else None
    plan(RidgeClassifier(), Y[2], groups=groups, cv=cv, scheme=scheme)


class Remembered(Recorder):
    """Has some of the blocks of a search already."""

    def __init__(self, known=()):
        self.known, self.blocks = list(known), []

    def replay(self):
        yield from self.known

    def left(self, n_centres):
        return gaps([(block.start, block.stop) for block in self.known], 0, n_centres)

    def put(self, block):
        self.blocks.append(block)


def test_the_time_is_that_of_what_is_left(monkeypatch):
    monkeypatch.setattr(compiled, "FIRST_BLOCK", 12)
    monkeypatch.setattr(search, "LARGEST_BLOCK", 12)
    analysis, recorder = plan_of("GaussianNB"), Remembered()

    def again(recorder):
        run_search(DATA["standardised"].copy(), SPHERES, analysis, 1, Progress(0, "test"), recorder=recorder)

    with pytest.warns(UserWarning, match="for 48 spheres"):
        again(recorder)
    with pytest.warns(UserWarning, match="for 12 spheres"):
        again(Remembered(recorder.blocks[:3]))
    again(Remembered(recorder.blocks))  # says nothing


@pytest.mark.parametrize("is_long", [True, False])
def test_permutations_that_are_shared_and_take_long_say_so_once(monkeypatch, is_long):
    monkeypatch.setattr(compiled, "FIRST_BLOCK", 12)
    monkeypatch.setattr(search, "LARGEST_BLOCK", 12)
    monkeypatch.setattr(search, "SECONDS_TO_TELL", 0.0)
    monkeypatch.setattr(search, "LONG", 0.0 if is_long else 3600.0)
    text = r"^11 permutations of RidgeClassifier\(\) will take about [\d.]+ seconds for the 24 spheres that are left"
    with pytest.warns(UserWarning, match=text) if is_long else nullcontext() as caught:
        run_search(DATA["standardised"].copy(), SPHERES, plan_of("RidgeClassifier"), 1, Progress(0, "test"))
    assert caught is None or len(caught) == 1


# p values and moments, by their definitions


@pytest.mark.parametrize("name", ["RidgeClassifier", "Ridge", "SVC", "KNeighborsClassifier"])
def test_counts_maxima_and_moments_by_their_definitions(name):
    result = run(plan_of(name))
    null, maps = result.null, result.null.maps[0]
    observed = result.scores[0].astype(np.float32)
    np.testing.assert_array_equal(null.reached[0], (maps >= observed).sum(axis=0))
    np.testing.assert_array_equal(null.largest[0], maps.max(axis=1))
    every = np.vstack([maps, observed]).astype(float)
    np.testing.assert_allclose(null.mean[0], every.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(null.sd[0], every.std(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(null.p[0], (null.reached[0] + 1) / (len(maps) + 1))
    expected = [(1 + (maps.max(axis=1) >= score).sum()) / (len(maps) + 1) for score in observed]
    np.testing.assert_array_equal(null.p_fwe(result.scores)[0], expected)
    z = (observed - every.mean(axis=0)) / every.std(axis=0, ddof=1)
    np.testing.assert_allclose(null.z(result.scores)[0], z, rtol=1e-5, atol=1e-5)  # scores there are float64


def test_a_search_without_permutations_has_no_null():
    analysis = plan_analysis(Y[2], N, RidgeClassifier(), groups=RUNS, cv=LeaveOneGroupOut())
    assert run_search(DATA["standardised"].copy(), SPHERES, analysis, 1, Progress(0, "test")).null is None


def test_maps_are_kept_where_they_are_asked_for_only():
    result = run(plan_of("RidgeClassifier"), keep=Keep())
    assert result.null.maps is None
    np.testing.assert_array_equal(result.null.reached, run(plan_of("RidgeClassifier")).null.reached)


@pytest.mark.parametrize(
    "name", ["RidgeClassifier", "LinearSVC", "RidgeClassifierCV", "Ridge", "RidgeCV", "SVC", "SVR", "NearestCentroid"]
)
@pytest.mark.parametrize("data", DATA)
def test_the_identity_among_the_permutations_ties(name, data):
    order = np.random.default_rng(4).permutation(N)
    result = run(plan_of(name, n=2, scheme=np.array([np.arange(N), order])), DATA[data])
    others = result.null.maps[0, 1] >= result.scores[0].astype(np.float32)
    np.testing.assert_array_equal(result.null.reached[0], 1.0 + others)
    assert (result.null.p >= 2 / 3).all()


@pytest.mark.parametrize(
    "name", ["RidgeClassifier", "LinearSVC", "RidgeClassifierCV", "NearestCentroid", "GaussianNB of two"]
)
def test_exchanged_classes_decode_as_well(name):
    estimator = GaussianNB() if "of two" in name else ESTIMATORS[name][0]
    mirror = np.arange(N) ^ 1  # neighbours change places, and with them the labels 0, 1, 0, 1, ...
    np.testing.assert_array_equal(Y[2][mirror], 1 - Y[2])
    result = run(plan(estimator, Y[2], n=2, scheme=np.array([mirror, mirror])))
    np.testing.assert_array_equal(result.null.maps[0], np.tile(result.scores[0].astype(np.float32), (2, 1)))
    assert (result.null.p == 1.0).all()


@pytest.mark.parametrize("name", SHARED)
def test_the_first_permutations_of_many_are_those_of_few(name):
    few, many = run(plan_of(name, n=10)).null.maps, run(plan_of(name, n=20)).null.maps
    if ESTIMATORS[name][1] is None:
        np.testing.assert_allclose(many[:, :10], few, rtol=0, atol=2e-7)
    else:
        np.testing.assert_array_equal(many[:, :10], few)


# What is not defined


def swapped(*places):
    """The order of the samples with pairs of them exchanged."""
    order = np.arange(N)
    for a, b in places:
        order[[a, b]] = order[[b, a]]
    return order


#: Class 1 three times, in the first three runs; the second order moves all three to the first run.
RARE = (np.isin(np.arange(N), [0, 6, 12])).astype(int)
TOGETHER = swapped((6, 1), (12, 2))


NOT_DEFINED = (
    r"^(\d+) scores under permuted labels are not defined, in \1 of \1 spheres and {} of {} permutations. Each counts "
    "as reaching the observed score, uncorrected and family-wise"
)
ONE_CLASS = np.array([swapped((6, 7)), TOGETHER, swapped((0, 1))])


@pytest.mark.parametrize(
    "estimator", [RidgeClassifier(), SVC(), LinearDiscriminantAnalysis(priors=[0.5, 0.5]), ONE_FAILS], ids=repr
)
def test_a_fold_of_one_class_under_permutation_counts_as_reached(estimator):
    analysis = plan(estimator, RARE, n=3, scheme=ONE_CLASS)
    with pytest.warns(RuntimeWarning, match=NOT_DEFINED.format(1, 3)) as caught:
        result = run_quietly(analysis)
    assert len(caught) == 1
    maps, observed = result.null.maps[0], result.scores[0].astype(np.float32)
    np.testing.assert_array_equal(np.isnan(maps), np.tile([[False], [True], [False]], len(observed)))
    np.testing.assert_array_equal(result.null.reached[0], 1 + (maps[[0, 2]] >= observed).sum(axis=0))
    np.testing.assert_array_equal(np.isposinf(result.null.largest[0]), [False, True, False])
    assert (result.null.p_fwe(result.scores) >= 2 / 4).all()


@pytest.mark.parametrize("estimator", [GaussianNB(), KNeighborsClassifier(3)], ids=repr)
def test_estimators_that_train_on_one_class_do_so_under_permutation(estimator):
    analysis = plan(estimator, RARE, n=3, scheme=ONE_CLASS)
    np.testing.assert_array_equal(run(analysis).null.maps[0], searched(analysis))


def test_a_fold_that_lacks_one_of_three_classes_is_scored_as_a_search_would():
    y = np.where(RARE == 1, 2, Y[2])
    analysis = plan(RidgeClassifier(), y, n=2, scheme=np.array([swapped((6, 7)), TOGETHER]))
    assert why_one_by_one(analysis) == "a fold of some permutation is not trained on every class"
    np.testing.assert_array_equal(run(analysis).null.maps[0], searched(analysis))


@pytest.mark.parametrize("estimator", [RidgeClassifier(), LinearSVC(), GaussianNB()], ids=repr)
def test_a_score_that_is_not_defined_under_permutation_counts_as_reached(estimator):
    """The area under the curve of a run that is left with one class."""
    y = np.tile([0, 0, 1, 0, 1, 1], N_RUNS)
    lonely = swapped((2, 6), (4, 7), (5, 9))  # the first run has the first class only
    analysis = plan(estimator, y, n=2, scheme=np.array([lonely, swapped((0, 2))]), scoring="roc_auc")
    with pytest.warns(RuntimeWarning, match=NOT_DEFINED.format(1, 2)) as caught:
        result = run_quietly(analysis)
    assert len(caught) == 1
    assert np.isnan(result.null.maps[0, 0]).all()
    assert np.isposinf(result.null.largest[0, 0])
    others = result.null.maps[0, 1] >= result.scores[0].astype(np.float32)
    np.testing.assert_array_equal(result.null.reached[0], 1.0 + others)
    assert (result.null.p_fwe(result.scores) >= 2 / 3).all(), "a map without a maximum counts against"
    assert (result.null.z(result.scores) == 0).all()


@pytest.mark.parametrize("name", ["RidgeClassifier", "LinearSVC", "GaussianNB", "KNeighborsClassifier"])
def test_spheres_that_are_not_decoded_have_no_p_value(name):
    analysis = plan_of(name, min_voxels=12)
    small = source_of(analysis).sizes < 12
    assert 0 < small.sum() < len(small)
    with pytest.warns(
        RuntimeWarning, match=f"{small.sum()} of {len(small)} spheres have fewer than min_voxels=12"
    ) as caught:
        result = run_quietly(analysis)
    assert len(caught) == 1
    for values in (result.null.p[0], result.null.mean[0], result.null.z(result.scores)[0]):
        np.testing.assert_array_equal(np.isnan(values), small)
    np.testing.assert_array_equal(np.isnan(result.null.maps[0]), np.tile(small, (len(analysis.permuted), 1)))
    np.testing.assert_array_equal(result.null.largest[0], result.null.maps[0][:, ~small].max(axis=1))


# Bit by bit the same wherever and in whatever order it is decoded

#: Scores that show the last bits, but for those that the kernels share.
BITS = {
    "Ridge": {"scoring": ["neg_mean_squared_error", "r2"]},
    "RidgeCV": {},
    "RidgeClassifierCV": {"scoring": ["roc_auc", "accuracy"]},
    "LinearSVC of three classes": {},
    "NearestCentroid": {"scoring": ["balanced_accuracy", "accuracy"]},
    "SVR": {"scoring": "neg_mean_absolute_error"},
    "GaussianNB": {"scoring": "neg_log_loss"},
    "LogisticRegression": {"scoring": ["neg_log_loss", "accuracy"]},
}
every_kind = pytest.mark.parametrize("name", BITS)


@pytest.fixture(scope="module")
def whole():
    """Results of all spheres in one go, one thread."""
    known = {}

    def get(name):
        if name not in known:
            known[name] = run(plan_of(name, **BITS[name]))
        return known[name]

    return get


def assert_same(found, expected, centres=slice(None)):
    np.testing.assert_array_equal(found.scores, expected.scores[:, centres])
    for one in ("reached", "mean", "sd", "p"):
        np.testing.assert_array_equal(getattr(found.null, one), getattr(expected.null, one)[:, centres], err_msg=one)
    np.testing.assert_array_equal(found.null.maps, expected.null.maps[:, :, centres])


@every_kind
def test_two_threads_permute_as_one(whole, name):
    if max_threads() < 2:
        pytest.skip("one processor")
    found = run(plan_of(name, **BITS[name]), n_jobs=2)
    assert_same(found, whole(name))
    np.testing.assert_array_equal(found.null.largest, whole(name).null.largest)


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERAL)
def test_workers_permute_as_one_process_does(name):
    one, two = (run(plan_of(name, n=3), n_jobs=n_jobs) for n_jobs in (1, 2))
    assert_same(two, one)
    np.testing.assert_array_equal(two.null.largest, one.null.largest)


SPLITS = {
    "halves": np.array_split(np.arange(len(SPHERES)), 2),
    "every third": [np.arange(first, len(SPHERES), 3) for first in range(3)],
    "some voxels alone": [np.array([centre]) for centre in range(0, len(SPHERES), 7)],
    "shuffled": [np.random.default_rng(1).permutation(len(SPHERES))],
}


@every_kind
@pytest.mark.parametrize("split", SPLITS)
def test_any_split_of_the_centres_permutes_as_the_whole(whole, name, split):
    parts = [run(plan_of(name, **BITS[name]), source=chosen(centres)) for centres in SPLITS[split]]
    for part, centres in zip(parts, SPLITS[split], strict=True):
        assert_same(part, whole(name), centres)
    if sum(map(len, SPLITS[split])) == len(SPHERES):
        largest = np.max([part.null.largest for part in parts], axis=0)
        np.testing.assert_array_equal(largest, whole(name).null.largest)


@every_kind
@pytest.mark.parametrize(("first", "largest"), [(1, 1), (7, 8192), (13, 29), (10_000, 10_000)])
def test_any_block_size_permutes_the_same(whole, monkeypatch, name, first, largest):
    monkeypatch.setattr(compiled, "FIRST_BLOCK", first)
    monkeypatch.setattr(search, "LARGEST_BLOCK", largest)
    found = run(plan_of(name, **BITS[name]))
    assert_same(found, whole(name))
    np.testing.assert_array_equal(found.null.largest, whole(name).null.largest)


@pytest.mark.parametrize(("values", "largest"), [(10**6, 48), (7 * 2 * N_PERMUTATIONS, 7), (1, 1)])
def test_a_block_has_no_more_than_so_many_permuted_scores(monkeypatch, values, largest):
    sizes = []

    def watched(self, neighbours, decode=compiled.CompiledEngine.__call__):
        sizes.append(len(neighbours))
        return decode(self, neighbours)

    monkeypatch.setattr(compiled.CompiledEngine, "__call__", watched)
    monkeypatch.setattr(compiled, "FIRST_BLOCK", 48)
    monkeypatch.setattr(search, "LARGEST_NULL", values)
    run(plan_of("RidgeClassifier", scoring=["accuracy", "roc_auc"]))
    assert max(sizes) == largest
    assert sum(sizes) == 48


def test_a_block_of_permuted_scores_takes_as_much_memory_as_is_said():
    draw = np.random.default_rng(0)
    observed, null = draw.random((1, 400)), draw.random((1, 1000, 400)).astype(np.float32)
    maps = NullMaps(1, 1000, 400)
    tracemalloc.start()
    maps.put(0, observed, null)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 4 + peak / null.size < search.BYTES_OF_NULL, "4 are those of the block itself"


# Where the maps are


def put_all(maps, observed, null, order, size):
    """Put blocks of ``size`` centres in some order."""
    starts = np.arange(0, observed.shape[1], size)
    for start in starts[order(len(starts))]:
        maps.put(int(start), observed[:, start : start + size], null[:, :, start : start + size])
    return maps.finish()


@pytest.mark.parametrize("size", [1, 4, 23])
def test_blocks_come_in_any_order(size):
    draw = np.random.default_rng(2)
    observed = np.round(draw.random((2, 23)), 1)
    null = np.round(draw.random((2, 9, 23)), 1).astype(np.float32)
    expected = put_all(NullMaps(2, 9, 23, maps=True), observed, null, np.arange, 23)
    np.testing.assert_array_equal(expected.maps, null)
    np.testing.assert_array_equal(expected.reached, (null >= observed.astype(np.float32)[:, None]).sum(axis=1))
    found = put_all(NullMaps(2, 9, 23, maps=True), observed, null, draw.permutation, size)
    for one in ("reached", "largest", "mean", "sd", "maps"):
        np.testing.assert_array_equal(getattr(found, one), getattr(expected, one), err_msg=one)


@pytest.mark.parametrize("size", [1, 5])
def test_one_score_that_is_not_defined_counts_against_every_centre(size):
    observed = np.array([[0.5, 0.9, np.nan, 0.7, 0.6]])
    null = np.full((1, 4, 5), 0.4, np.float32)
    null[0, 1, 3] = np.nan  # a solver that did not come to an end
    null[0, :, 2] = 2.0, np.nan, np.nan, 2.0  # a centre that has no score, and competes with none
    with pytest.warns(RuntimeWarning, match=r"^1 scores .* in 1 of 5 spheres and 1 of 4 perm.*; z is 0.*standardise"):
        found = put_all(NullMaps(1, 4, 5), observed, null, np.arange, size)
    np.testing.assert_array_equal(found.largest[0], np.array([0.4, np.inf, 0.4, 0.4], np.float32))
    np.testing.assert_array_equal(found.reached[0], [0, 0, np.nan, 1, 0])
    np.testing.assert_array_equal(found.p_fwe(observed)[0], [2 / 5, 2 / 5, np.nan, 2 / 5, 2 / 5])


def test_a_null_that_does_not_vary_has_an_sd_of_0():
    for value in (0.1, 1 / 3, 1e6):
        null = np.full((1, 37, 2), value, np.float32)
        result = put_all(NullMaps(1, 37, 2), np.full((1, 2), value), null, np.arange, 2)
        np.testing.assert_array_equal(result.sd, 0.0)
        np.testing.assert_array_equal(result.mean, np.float64(np.float32(value)))


def test_maps_in_a_folder_and_in_memory_are_the_same(tmp_path, monkeypatch):
    analysis = plan_of("RidgeClassifier", scoring=["accuracy", "roc_auc"])
    memory = run(analysis).null
    folder = run(analysis, keep=Keep(null_folder=tmp_path / "new" / "folder")).null
    monkeypatch.setattr(nullmaps, "_IN_MEMORY", 0)
    unnamed = run(analysis).null
    stored = np.load(tmp_path / "new" / "folder" / "null.npy")
    assert stored.dtype == np.float32
    assert isinstance(folder.maps, np.memmap)
    assert isinstance(unnamed.maps, np.memmap)
    for maps in (folder.maps, stored, unnamed.maps):
        np.testing.assert_array_equal(maps, memory.maps)


needs_fallocate = pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no room is set aside here")


@pytest.fixture
def full_disk(monkeypatch):
    def no_room(file, offset, n_bytes):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)


@needs_fallocate
@pytest.mark.parametrize("where", ["in a folder", "unnamed"])
def test_files_of_maps_have_their_room_on_the_disk_from_the_start(tmp_path, monkeypatch, where):
    reserved = []
    monkeypatch.setattr(nullmaps, "_IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", lambda file, offset, n_bytes: reserved.append((offset, n_bytes)))
    NullMaps(1, 10, 1000, maps=True, folder=tmp_path if where == "in a folder" else None)
    ((offset, n_bytes),) = reserved
    assert offset == 0
    assert 40_000 <= n_bytes <= 40_000 + 256  # and the header of the file


@needs_fallocate
def test_a_full_disk_is_an_error_that_names_the_folder(tmp_path, monkeypatch, full_disk):
    monkeypatch.setattr(nullmaps, "_IN_MEMORY", 0)
    where = re.escape(str(tmp_path))
    with pytest.raises(OSError, match=f"^{where} has no room for 40,128 bytes .*: they are the permuted .* keep_null"):
        NullMaps(1, 10, 1000, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OSError, match=f"^{where} has no room for 40,000 bytes .* set TMPDIR to a folder that has"):
        NullMaps(1, 10, 1000, maps=True)


@needs_fallocate
def test_a_disk_that_cannot_set_room_aside_is_used_as_it_is(tmp_path, monkeypatch):
    def cannot(file, offset, n_bytes):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    NullMaps(1, 10, 1000, folder=tmp_path)
    assert np.load(tmp_path / "null.npy").shape == (1, 10, 1000)


def test_data_are_left_as_they_were():
    X = DATA["raw"].copy()
    for name in ("RidgeClassifier", "KNeighborsClassifier"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* decoded one after the other")
            run_search(X, FEW, plan_of(name, n=2), 1, Progress(0, "test"))
        np.testing.assert_array_equal(X, DATA["raw"])


def test_fewer_relabellings_than_asked_for_are_all_used():
    halves = np.arange(N) // (N // 2)
    y = np.where(np.arange(N) % (N // 2) == 3, 1, 0)  # one sample of class 1 in each half: 15 * 15 - 1 others
    with pytest.warns(UserWarning, match="fewer than n_permutations=500"):
        analysis = plan(RidgeClassifier(), y, n=500, groups=halves, cv=LeaveOneGroupOut())
    assert run(analysis).null.n_permutations == 224
