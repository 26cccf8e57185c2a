"""The promise of the project: a sphere's scores do not depend on what else is computed, where or in which order.

Accuracies would hide differences in the last bits. So the score here is a weighted sum of the decision values
themselves, with weights that no reordering leaves alone, and it is compared bit by bit.
"""

from dataclasses import replace

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
from sklearn.model_selection import KFold, LeaveOneGroupOut, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from fastsl import CorrelationClassifier, compiled, search, sphere_neighbours
from fastsl._runtime.launch import max_threads
from fastsl.analysis import plan_analysis
from fastsl.block_metric import BlockMetric
from fastsl.decoders import REGISTRY
from fastsl.outcome import mean_over_folds
from fastsl.predictions import LogRatios
from fastsl.progress import Progress
from fastsl.search import run_search

SHAPE = (6, 7, 5)
N_SAMPLES = 30
LABELS = np.arange(N_SAMPLES) % 2
GROUPS = np.arange(N_SAMPLES) // 6

ESTIMATORS = {
    "LinearSVC": LinearSVC(),
    "LinearSVC of three classes": LinearSVC(class_weight="balanced"),
    "LinearSVC, hinge": LinearSVC(loss="hinge", C=1e-2),
    "Ridge": Ridge(),
    "RidgeClassifier": RidgeClassifier(),
    "RidgeClassifier, weights": RidgeClassifier(class_weight="balanced"),
    "RidgeCV": RidgeCV(),
    "RidgeClassifierCV": RidgeClassifierCV(),
    "SVC": SVC(),
    "SVC, linear, of three classes": SVC(kernel="linear", C=1e-2),
    "SVR": SVR(kernel="linear", C=1e-2),
    "LinearSVR": LinearSVR(loss="squared_epsilon_insensitive", C=1e-2),
    "LogisticRegression": LogisticRegression(),
    "LogisticRegression of three classes": LogisticRegression(C=0.1),
    "LogisticRegressionCV": LogisticRegressionCV(solver="liblinear", cv=2, Cs=3),
    "GaussianNB": GaussianNB(),
    "NearestCentroid": NearestCentroid(),
    "scaled GaussianNB": make_pipeline(StandardScaler(), GaussianNB()),
    "scaled NearestCentroid": make_pipeline(StandardScaler(), NearestCentroid()),
    "correlation": CorrelationClassifier(),
    "LDA, fixed shrinkage": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
    "LDA, svd": LinearDiscriminantAnalysis(),
    "LDA, automatic shrinkage": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
}
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)
both_scales = pytest.mark.parametrize("scale", ["standardised", "raw"])


#: Their scores do not depend on the data.
DUMMIES = {DummyClassifier, DummyRegressor}


def test_every_registered_type_is_held_to_the_promise():
    alone = [estimator for estimator in ESTIMATORS.values() if not isinstance(estimator, Pipeline)]
    assert {type(estimator) for estimator in alone} == set(REGISTRY) - DUMMIES


@BlockMetric
def weighted_sum(held_out):
    """Weigh the values by position: any change of any bit that matters, and any reordering, shows."""
    values = held_out.values.reshape(len(held_out.values), -1)
    return (values * np.cos(np.arange(1, values.shape[1] + 1))).sum(axis=1)


@pytest.fixture(scope="module")
def neighbours():
    """Spheres of 14 to 81 voxels around 210 centres: with 24 training samples, most take the Gram path, some not."""
    mask = np.ones(SHAPE, bool)
    mask[4:, 4:, 3:] = False
    found = sphere_neighbours(mask, np.eye(4), radius=2.5, centres=np.ones(SHAPE, bool))
    assert found.levels.any(), "spheres that share no sum would hide what sharing does"
    assert found.sizes.min() < 0.6 * 24 <= found.sizes.max()
    return found


@pytest.fixture(scope="module")
def data(neighbours):
    """Smooth data (n_voxels, n_samples), standardised and raw."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((N_SAMPLES, neighbours.n_voxels))
    smooth = noise + np.roll(noise, 1, axis=1) + np.roll(noise, -1, axis=1)
    smooth += 0.5 * rng.standard_normal(neighbours.n_voxels) * LABELS[:, None]
    standardised = (smooth - smooth.mean(axis=0)) / smooth.std(axis=0)
    raw = 1e4 * (1 + 0.1 * rng.standard_normal(neighbours.n_voxels)) + 1e2 * standardised
    return {"standardised": standardised.T.astype(np.float32), "raw": raw.T.astype(np.float32)}


@BlockMetric
def weighted_contrasts(held_out):
    """The same, without the first class's log-likelihoods, which mean nothing and have float32's digits only."""
    if isinstance(held_out, LogRatios):
        held_out = replace(held_out, values=held_out.values * (np.arange(held_out.values.shape[2]) > 0))
    return weighted_sum.of_block(held_out)


def fold_scores(X, source, estimator, *, n_jobs=1, scoring=weighted_sum):
    name, model = estimator, ESTIMATORS[estimator]
    y = np.arange(N_SAMPLES) % 3 if "three" in name else LABELS
    analysis = plan_analysis(y, N_SAMPLES, model, groups=GROUPS, cv=LeaveOneGroupOut(), scoring=scoring)
    assert analysis.compiled
    return run_search(X.copy(), source, analysis, n_jobs, Progress(0, "test")).fold_scores[0]


@pytest.fixture(scope="module")
def whole(data, neighbours):
    """Fold scores of all spheres in one go, one thread; computed once for each estimator and scale."""
    known = {}

    def get(estimator, scale):
        if (estimator, scale) not in known:
            scores = fold_scores(data[scale], neighbours, estimator)
            assert not np.isnan(scores).any()
            assert np.unique(scores).size == scores.size, "scores that repeat would hide a wrong order"
            known[estimator, scale] = scores
        return known[estimator, scale]

    return get


def chosen(neighbours, centres):
    """The neighbourhoods ``centres``, in that order."""
    return neighbours.take(centres)


@every_estimator
@both_scales
def test_two_threads_score_as_one(data, neighbours, whole, estimator, scale):
    if max_threads() < 2:
        pytest.skip("one processor")
    np.testing.assert_array_equal(fold_scores(data[scale], neighbours, estimator, n_jobs=2), whole(estimator, scale))


@every_estimator
@both_scales
def test_a_repeated_run_scores_the_same(data, neighbours, whole, estimator, scale):
    np.testing.assert_array_equal(fold_scores(data[scale], neighbours, estimator), whole(estimator, scale))


@every_estimator
@both_scales
def test_spheres_in_any_order_score_the_same(data, neighbours, whole, estimator, scale):
    order = np.random.default_rng(1).permutation(len(neighbours))
    found = fold_scores(data[scale], chosen(neighbours, order), estimator)
    np.testing.assert_array_equal(found, whole(estimator, scale)[:, order])


def slabs(n):
    """Slices of the volume, along the first axis."""
    return np.split(np.arange(n), SHAPE[0])


SPLITS = {
    "halves": lambda n: [np.arange(n // 2), np.arange(n // 2, n)],
    "every third": lambda n: [np.arange(first, n, 3) for first in range(3)],
    "slices": slabs,
    "some voxels alone": lambda n: [np.array([centre]) for centre in range(0, n, 17)],
}


@every_estimator
@both_scales
@pytest.mark.parametrize("split", SPLITS)
def test_any_split_of_the_centres_scores_as_the_whole(data, neighbours, whole, estimator, scale, split):
    for centres in SPLITS[split](len(neighbours)):
        found = fold_scores(data[scale], chosen(neighbours, centres), estimator)
        np.testing.assert_array_equal(found, whole(estimator, scale)[:, centres])


@every_estimator
@pytest.mark.parametrize(
    ("first", "largest", "seconds"), [(1, 1, 0.25), (7, 8192, 1e-9), (13, 29, 10.0), (10_000, 10_000, 0.25)]
)
def test_any_block_size_scores_the_same(data, neighbours, whole, monkeypatch, estimator, first, largest, seconds):
    monkeypatch.setattr(compiled, "FIRST_BLOCK", first)
    monkeypatch.setattr(search, "LARGEST_BLOCK", largest)
    monkeypatch.setattr(compiled, "SECONDS_A_BLOCK", seconds)
    np.testing.assert_array_equal(fold_scores(data["raw"], neighbours, estimator), whole(estimator, "raw"))


def test_the_mean_over_folds_does_not_depend_on_the_number_of_centres():
    scores = np.random.default_rng(5).random((2, 12, 40))
    whole = mean_over_folds(scores)
    np.testing.assert_allclose(whole, scores.mean(axis=1), rtol=1e-15)
    for c in range(40):
        one = np.ascontiguousarray(scores[:, :, c : c + 1])
        np.testing.assert_array_equal(mean_over_folds(one)[:, 0], whole[:, c])


@pytest.mark.parametrize("estimator", ["RidgeClassifier", "SVR"])
def test_means_over_many_folds_do_not_depend_on_how_many_centres_there_are(data, neighbours, estimator):
    """numpy sums more than seven numbers in another order where they follow each other in memory."""

    def scores(source):
        analysis = plan_analysis(LABELS, N_SAMPLES, ESTIMATORS[estimator], cv=KFold(10), scoring=weighted_sum)
        return run_search(data["standardised"].copy(), source, analysis, 1, Progress(0, "test")).scores[0]

    centres = np.arange(0, len(neighbours), 9)
    alone = [scores(chosen(neighbours, np.array([centre])))[0] for centre in centres]
    np.testing.assert_array_equal(alone, scores(neighbours)[centres])


def test_block_sizes_are_what_the_test_above_says(monkeypatch):
    monkeypatch.setattr(search, "LARGEST_BLOCK", 1)
    assert [stop - start for start, stop in search.blocks([(0, 3)], 1, 0.25)] == [1, 1, 1]
    assert list(search.blocks([(0, 210)], 10_000, 0.25)) == [(0, 210)]


# A voxel's place in the matrix, and its mean, are no information


#: liblinear's penalised intercept depends on where zero is, and so does gamma="scale", the variance over all voxels.
#: Scaled voxels are rounded to float32, as scikit-learn's scaler does.
SHIFT_INVARIANT = [
    name
    for name, estimator in ESTIMATORS.items()
    if name not in ("SVC", "LogisticRegressionCV") and not isinstance(estimator, LinearSVC | LinearSVR | Pipeline)
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_order_of_the_voxels_matters_at_rounding_level_only(data, neighbours, estimator):
    order = np.random.default_rng(2).permutation(neighbours.n_voxels)
    place = np.argsort(order).astype(np.int32)
    shuffled = replace(neighbours, indices=place[neighbours.indices])
    found = fold_scores(data["standardised"][order], shuffled, estimator, scoring=weighted_contrasts)
    expected = fold_scores(data["standardised"], neighbours, estimator, scoring=weighted_contrasts)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("estimator", SHIFT_INVARIANT)
def test_a_constant_added_to_a_voxel_matters_at_rounding_level_only(data, neighbours, estimator):
    # Powers of two, so that float32 holds the sum exactly and only the method can make a difference.
    X = np.round(data["standardised"] * 2**10) / 2**10
    constants = 2.0 ** np.random.default_rng(3).integers(3, 10, (neighbours.n_voxels, 1))
    moved = (X + constants).astype(np.float32)
    np.testing.assert_array_equal(moved - constants, X)
    found = fold_scores(moved, neighbours, estimator, scoring=weighted_contrasts)
    expected = fold_scores(X, neighbours, estimator, scoring=weighted_contrasts)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_raw_data_are_decoded_in_every_sphere(data, neighbours, whole, estimator):
    assert np.isfinite(whole(estimator, "raw")).all()


@pytest.mark.parametrize("C", [1e-6, 1e-4, 1e-2])
def test_the_hinge_loss_comes_to_an_end_on_raw_data(data, neighbours, C):
    analysis = plan_analysis(LABELS, N_SAMPLES, LinearSVC(loss="hinge", C=C), cv=StratifiedKFold(3))
    result = run_search(data["raw"].copy(), neighbours, analysis, 1, Progress(0, "test"))
    assert not np.isnan(result.fold_scores).any()
