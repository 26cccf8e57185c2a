"""Kernels that decode many labellings of a sphere, against scikit-learn on one labelling after the other.

Also run as plain Python (NUMBA_DISABLE_JIT=1), hence the small sizes.
"""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.neighbors import NearestCentroid
from sklearn.svm import LinearSVC

import naive
from fastsl import metrics
from fastsl._kernels import centroid_null, lda_null, over_spheres, ridge_null, scores, svm_null
from fastsl._kernels.block import Block
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders import REGISTRY
from fastsl.decoders.labellings import pack_labellings
from fastsl.folds import Folds
from fastsl.permutation.nulls import CODES
from fastsl.predictions import HeldOut

N, P, N_LABELLINGS = 14, 18, 7
#: The first has more voxels than samples, the last too few.
SPHERES = [np.arange(P), np.array([2, 5, 11]), np.array([7]), np.array([], int)]
#: Tests of 3, 5 and 4 samples; 12 and 13 are tested nowhere, and the second fold does not even train on them.
TESTS = (np.array([0, 1, 2]), np.array([3, 4, 5, 6, 7]), np.array([11, 8, 10, 9]))
FOLDS = Folds(
    N,
    (np.setdiff1d(np.arange(N), TESTS[0]), np.setdiff1d(np.arange(12), TESTS[1]), np.setdiff1d(np.arange(N), TESTS[2])),
    TESTS,
)
OF_VALUES = (metrics.r2, metrics.neg_mean_squared_error, metrics.neg_mean_absolute_error)

rng = np.random.default_rng(0)
Y = {2: np.arange(N) % 2, 3: np.arange(N) % 3}
STANDARD = rng.standard_normal((N, P)) + 0.7 * rng.standard_normal((3, P))[Y[3]]
#: Data (n_samples, n_voxels) without the voxels' means, and these: what kernels get.
DATA = {
    "standardised": (STANDARD.astype(np.float32), np.zeros(P)),
    "raw": ((20.0 * STANDARD).astype(np.float32), np.rint(1000.0 * (1 + 0.1 * rng.standard_normal(P)))),
}
#: Spheres with fewer voxels take the features path.
both_forms = pytest.mark.parametrize("features_below", [0, 4], ids=["all by Gram", "small ones by features"])
both_data = pytest.mark.parametrize("data", DATA)


def labellings_of(n_classes):
    """Labels or values (n_labellings, n_samples), every class in every training set."""
    if n_classes is None:
        return rng.permuted(np.tile(STANDARD[:, :2].sum(axis=1) + rng.standard_normal(N), (N_LABELLINGS, 1)), axis=1)
    drawn = [Y[n_classes]]
    while len(drawn) < N_LABELLINGS:
        y = rng.permutation(Y[n_classes])
        if all(len(np.unique(y[train])) == n_classes for train in FOLDS.train):
            drawn.append(y)
    return np.array(drawn)


LABELLINGS = {n_classes: labellings_of(n_classes) for n_classes in (2, 3, None)}


def whole(data):
    """Data as scikit-learn gets them."""
    shifted, means = DATA[data]
    return shifted + means


def block_of(data, intercept, *, features_below=0, min_voxels=1):
    shifted, means = DATA[data]
    return Block(
        np.ascontiguousarray(shifted.T),
        means,
        np.concatenate([[0], np.cumsum([len(members) for members in SPHERES])]),
        np.concatenate(SPHERES).astype(np.int32),
        intercept,
        features_below,
        min_voxels,
    )


def scores_by_kernel(estimator, data, targets, of_metrics, **options):
    """What the decoder's kernel makes of a block of all spheres: (n_centres, n_scores, n_labellings), and status."""
    codes = [CODES[metric] for metric in of_metrics]
    labellings, _ = pack_labellings(targets, FOLDS, codes, classifier=targets.dtype.kind == "i")
    plan = REGISTRY[type(estimator)].null_plan(estimator, labellings)
    null = np.full((len(SPHERES), len(codes), len(targets)), 99.0)
    status = np.full(len(SPHERES), 99, np.int8)
    with kernel_threads(1):
        plan.run(block_of(data, plan.intercept, **options), null, status)
    return null, status


def held_out(estimator, A, y, train, test):
    """What scikit-learn's estimator says of the test samples of one fold."""
    fitted = clone(estimator).fit(A[train], y[train])
    if not is_classifier(estimator):
        return HeldOut(y[test], fitted.predict(A[test]).reshape(1, len(test), 1))
    return HeldOut(y[test], fitted.decision_function(A[test]).reshape(1, len(test), -1), fitted.classes_)


def scores_one_by_one(estimator, data, targets, of_metrics):
    """The same by scikit-learn, one sphere, labelling and fold after the other."""
    null = np.full((len(SPHERES), len(of_metrics), len(targets)), np.nan)
    for c, members in enumerate(SPHERES):
        for labelling, y in enumerate(targets if len(members) else ()):
            folds = [held_out(estimator, whole(data)[:, members], y, *fold) for fold in FOLDS]
            null[c, :, labelling] = [np.mean([metric(one) for one in folds]) for metric in of_metrics]
    return null


def of_metrics(n_classes):
    if n_classes is None:
        return OF_VALUES
    # Of decision values, the squared error of the first column: it changes with every bit of them.
    ranks = (metrics.roc_auc,) if n_classes == 2 else ()
    return (metrics.accuracy, metrics.balanced_accuracy, *ranks, metrics.neg_mean_squared_error)


def compare(estimator, data, n_classes, *, rtol, **options):
    targets, chosen = LABELLINGS[n_classes], of_metrics(n_classes)
    found, status = scores_by_kernel(estimator, data, targets, chosen, **options)
    np.testing.assert_array_equal(status, [0, 0, 0, -1])
    expected = scores_one_by_one(estimator, data, targets, chosen)
    assert np.ptp(expected[:3, -1], axis=1).min() > 0, "labellings that score alike would hide a wrong order"
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


ALPHAS = (0.1, 3.0, 50.0, 1e3)
RIDGES = [
    (Ridge(2.0), None),
    (Ridge(0.3, fit_intercept=False), None),
    (RidgeCV(ALPHAS), None),
    (RidgeClassifier(), 2),
    (RidgeClassifier(5.0), 3),
    (RidgeClassifierCV(ALPHAS), 2),
    (RidgeClassifierCV(ALPHAS, fit_intercept=False), 2),
    (RidgeClassifierCV(ALPHAS), 3),
]
every_ridge = pytest.mark.parametrize(("estimator", "n_classes"), RIDGES, ids=repr)


@every_ridge
@both_data
@both_forms
def test_ridge_of_many_labellings_equals_scikit_learn(estimator, n_classes, data, features_below):
    compare(estimator, data, n_classes, rtol=1e-9, features_below=features_below)


@pytest.mark.parametrize("alpha", [1e-7, 1e-20])
def test_penalties_that_are_small_against_the_data(alpha):
    """The Gram matrix of few voxels is singular: 1e-20 does not help it, and 1e-7 leaves it few digits."""
    targets, chosen = LABELLINGS[2], of_metrics(2)
    estimator = RidgeClassifier(alpha, solver="svd")
    found, status = scores_by_kernel(estimator, "raw", targets, chosen, features_below=4)
    np.testing.assert_array_equal(status[1:], [0, 0, -1])
    expected = scores_one_by_one(estimator, "raw", targets, chosen)
    np.testing.assert_allclose(found[1:3], expected[1:3], rtol=1e-9)


def test_penalties_that_the_gram_matrix_does_not_see_are_a_failure():
    _, status = scores_by_kernel(RidgeClassifier(1e-20), "raw", LABELLINGS[2], of_metrics(2))
    np.testing.assert_array_equal(status[1:], [1, 1, -1])


@both_forms
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("parameters", [{}, {"C": 0.01}, {"fit_intercept": False}, {"intercept_scaling": 3.0}], ids=str)
def test_the_squared_hinge_of_many_labellings_equals_scikit_learn(parameters, n_classes, features_below):
    estimator = LinearSVC(**parameters, dual=True, tol=1e-10, max_iter=10**6, random_state=0)
    compare(estimator, "standardised", n_classes, rtol=1e-8, features_below=features_below)


@both_forms
def test_the_squared_hinge_of_many_labellings_on_raw_data(features_below):
    # liblinear does not converge on these: the twin proves its own optimum.
    targets, chosen = LABELLINGS[2], of_metrics(2)
    found, status = scores_by_kernel(LinearSVC(C=0.1), "raw", targets, chosen, features_below=features_below)
    np.testing.assert_array_equal(status, [0, 0, 0, -1])
    for c, members in enumerate(SPHERES[:3]):
        X = whole("raw")[:, members]
        for labelling, y in enumerate(targets):
            folds = []
            for train, test in FOLDS:
                signs = 2.0 * y[train] - 1.0
                f = naive.squared_hinge(X[train], signs, X[test], C=np.full(len(train), 0.1), s2=1.0)
                folds.append(HeldOut(y[test], f.reshape(1, -1, 1), np.arange(2)))
            expected = [np.mean([metric(one) for one in folds]) for metric in chosen]
            np.testing.assert_allclose(found[c, :, labelling], expected, rtol=1e-7)


@pytest.mark.filterwarnings("ignore:Only one sample available")  # of a class, in a fold of some labelling
@both_data
@both_forms
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("parameters", [{"shrinkage": 0.1}, {"shrinkage": 0.9, "solver": "eigen"}], ids=str)
def test_discriminant_analysis_of_many_labellings_equals_scikit_learn(parameters, n_classes, data, features_below):
    estimator = LinearDiscriminantAnalysis(**{"solver": "lsqr", **parameters})
    targets = LABELLINGS[n_classes]
    # Scores of three classes share a term that depends on the sample alone: only what it leaves alone compares.
    chosen = of_metrics(n_classes) if n_classes == 2 else of_metrics(n_classes)[:2]
    found, status = scores_by_kernel(estimator, data, targets, chosen, features_below=features_below)
    np.testing.assert_array_equal(status, [0, 0, 0, -1])
    expected = scores_one_by_one(estimator, data, targets, chosen)
    assert np.ptp(expected[:3, 0], axis=1).min() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_discriminant_analysis_in_several_chunks_of_labellings():
    targets, chosen = LABELLINGS[3], of_metrics(3)[:2]
    order = np.random.default_rng(3).integers(0, N_LABELLINGS, 2 * (lda_null._TOGETHER // 3) + 5)
    estimator = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
    few = scores_by_kernel(estimator, "raw", targets, chosen)[0]
    np.testing.assert_array_equal(scores_by_kernel(estimator, "raw", targets[order], chosen)[0], few[:, :, order])


def test_spheres_without_scatter_within_classes_fail():
    """Each sample is its class's mean: nothing is left to divide by."""
    labellings, _ = pack_labellings(LABELLINGS[2], FOLDS, [CODES[metrics.accuracy]], classifier=True)
    flat = block_of("standardised", np.inf)._replace(X=np.ones((P, N), np.float32))
    null, status = np.zeros((len(SPHERES), 1, N_LABELLINGS)), np.zeros(len(SPHERES), np.int8)
    with kernel_threads(1):
        lda_null.lda_null(flat, labellings, 2, 0.1, null, status)
    np.testing.assert_array_equal(status, [1, 1, 1, -1])
    assert np.isnan(null).all()


BY_CLASS = (metrics.accuracy, metrics.balanced_accuracy)


def nearest_by_twin(X, labels, folds):
    """Accuracy of each labelling of samples X, mean over folds; ties go to the first class."""
    found = [
        [np.mean(naive.nearer_than_first(X[a], y[a], X[b]).argmax(axis=1) == y[b]) for a, b in folds] for y in labels
    ]
    return np.mean(found, axis=1)


def nearest_by_kernel(X, labels, folds):
    """The same by the kernel, all voxels one sphere."""
    p, codes = X.shape[1], [CODES[metrics.accuracy]]
    labellings, _ = pack_labellings(labels, folds, codes, classifier=True)
    plan = REGISTRY[NearestCentroid].null_plan(NearestCentroid(), labellings)
    voxels = np.ascontiguousarray(X.T, np.float32)
    block = Block(voxels, np.zeros(p), np.array([0, p]), np.arange(p, dtype=np.int32), plan.intercept, 99, 1)
    null, status = np.empty((1, 1, len(labels))), np.empty(1, np.int8)
    with kernel_threads(1):
        plan.run(block, null, status)
    assert np.isnan(null).all() == (status[0] != 0)
    return null[0, 0]


@both_data
@both_forms
@pytest.mark.parametrize("n_classes", [2, 3])
def test_nearest_centroids_of_many_labellings_equal_scikit_learn(n_classes, data, features_below):
    targets = LABELLINGS[n_classes]
    found, status = scores_by_kernel(NearestCentroid(), data, targets, BY_CLASS, features_below=features_below)
    np.testing.assert_array_equal(status, [0, 0, 0, -1])
    assert np.isnan(found[3]).all()
    assert np.ptp(found[:3, 0], axis=1).min() > 0
    for c, members in enumerate(SPHERES[:3]):
        A = whole(data)[:, members]
        for labelling, y in enumerate(targets):
            folds = []
            for train, test in FOLDS:
                fitted = NearestCentroid().fit(A[train], y[train])
                columns = np.eye(n_classes)[fitted.predict(A[test])]
                folds.append(HeldOut(y[test], columns[None], fitted.classes_))
            expected = [np.mean([metric(one) for one in folds]) for metric in BY_CLASS]
            np.testing.assert_array_equal(found[c, :, labelling], expected)


@both_data
@pytest.mark.parametrize("n_classes", [2, 3])
def test_distances_to_centroids_are_those_of_the_voxels(n_classes, data):
    """By the squared error of the first column: of two classes d_0 - d_1, else |x|^2 - d_0."""
    targets = LABELLINGS[n_classes]
    labellings, _ = pack_labellings(targets, FOLDS, [CODES[metrics.neg_mean_squared_error]], classifier=True)
    null, status = np.empty((len(SPHERES), 1, N_LABELLINGS)), np.empty(len(SPHERES), np.int8)
    with kernel_threads(1):
        centroid_null.nearest_centroid_null(block_of(data, np.inf), labellings, null, status)
    for c, members in enumerate(SPHERES[:3]):
        A = DATA[data][0][:, members].astype(np.float64)
        for labelling, y in enumerate(targets):
            errors = []
            for train, test in FOLDS:
                f = naive.nearer_than_first(A[train], y[train], A[test])[:, 1]
                if n_classes > 2:
                    mean = A[train][y[train] == 0].mean(axis=0)
                    f = (A[test] ** 2).sum(axis=1) - ((A[test] - mean) ** 2).sum(axis=1)
                errors.append(-np.mean((y[test] - f) ** 2))
            np.testing.assert_allclose(null[c, 0, labelling], np.mean(errors), rtol=1e-9)


def tuples(size):
    """Folds that each test on one group of so many neighbours."""
    tests = np.arange(12).reshape(-1, size)
    return Folds(12, tuple(np.setdiff1d(np.arange(12), test) for test in tests), tuple(tests))


@pytest.mark.parametrize("scale", [1e-20, 0.3, 1e3])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_with_the_same_mean_tie(n_classes, scale):
    """Each sample once in every class: whatever the rounding, the first class is predicted."""
    X = scale * np.repeat(STANDARD[: 12 // n_classes], n_classes, axis=0).astype(np.float32)
    draw = np.random.default_rng(1)
    labels = np.array([draw.permuted(np.tile(np.arange(n_classes), (12 // n_classes, 1)), axis=1) for _ in range(5)])
    found = nearest_by_kernel(X, labels.reshape(5, 12), tuples(n_classes))
    np.testing.assert_array_equal(found, np.full(5, np.mean(np.full(12 // n_classes, 1 / n_classes))))


def test_samples_halfway_between_the_means_tie():
    X = np.array([1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])[:, None] * np.ones(3)
    folds = Folds(12, (np.arange(6),), (np.arange(6, 12),))
    labels = np.array([[0, 1] * 3 + [0, 0, 1, 1, 1, 1], [1, 0] * 3 + [0, 0, 0, 1, 1, 0]])
    np.testing.assert_array_equal(nearest_by_kernel(X, labels, folds), [2 / 6, 4 / 6])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loud", [1e3, 1e6, 1e9, 1e14])
@pytest.mark.parametrize("places", [[4], [0, 4, 7], list(range(12))], ids=["one sample", "a few", "all"])
def test_quiet_voxels_count_beside_one_that_is_loud(n_classes, loud, places):
    """Which tells nothing where it is the same in all training samples."""
    draw = np.random.default_rng(2)
    X = draw.standard_normal((12, 5)).astype(np.float32)
    X[places, 2] = loud
    labels = np.array([draw.permutation(np.arange(12) % n_classes) for _ in range(30)])
    folds = tuples(2)
    labels = labels[[all(len(set(y[train])) == n_classes for train in folds.train) for y in labels]]
    expected = nearest_by_twin(X, labels, folds)
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(nearest_by_kernel(X, labels, folds), expected)


def test_spheres_whose_training_samples_are_all_alike_fail():
    X = np.ones((12, 3))
    labels = np.tile(np.arange(12) % 2, (3, 1))
    assert np.isnan(nearest_by_kernel(X, labels, tuples(2))).all()
    X[3] = 2.0  # in a test of one fold, whose training samples are left without any variation
    assert np.isnan(nearest_by_kernel(X, labels, tuples(2))).all()
    X[5] = 3.0
    assert not np.isnan(nearest_by_kernel(X, labels, tuples(2))).any()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_nearest_centroids_in_several_chunks_of_labellings(n_classes):
    targets = LABELLINGS[n_classes]
    order = np.random.default_rng(3).integers(0, N_LABELLINGS, 2 * centroid_null._TOGETHER + 5)
    few = scores_by_kernel(NearestCentroid(), "raw", targets, BY_CLASS)[0]
    np.testing.assert_array_equal(
        scores_by_kernel(NearestCentroid(), "raw", targets[order], BY_CLASS)[0], few[..., order]
    )


@pytest.mark.parametrize(
    ("estimator", "metric", "is_shared"),
    [
        (NearestCentroid(), metrics.accuracy, True),
        (NearestCentroid(), metrics.roc_auc, False),
        (NearestCentroid(priors=[0.5, 0.5]), metrics.balanced_accuracy, True),
        (NearestCentroid(priors=[0.4, 0.6]), metrics.accuracy, False),
        (NearestCentroid(priors=[0.2, 0.3, 0.5]), metrics.accuracy, False),
        (NearestCentroid(priors="empirical"), metrics.accuracy, True),
    ],
    ids=repr,
)
def test_nearest_centroids_are_shared_where_plain_distance_predicts(estimator, metric, is_shared):
    balanced = np.tile(np.arange(12) % 2, (2, 1))
    null_plan = REGISTRY[NearestCentroid].null_plan
    labellings, _ = pack_labellings(balanced, tuples(2), [CODES[metric]], classifier=True)
    assert (null_plan(estimator, labellings) is not None) == is_shared
    balanced[1, 0] = 1
    labellings, _ = pack_labellings(balanced, tuples(2), [CODES[metric]], classifier=True)
    is_empirical = isinstance(estimator.priors, str) and estimator.priors == "empirical"
    assert (null_plan(estimator, labellings) is not None) == (is_shared and not is_empirical)


@every_ridge
def test_more_labellings_than_go_together_score_the_same(estimator, n_classes):
    n_columns = 3 if n_classes == 3 else 1
    n = 2 * (ridge_null._TOGETHER // n_columns) + 3
    chosen, order = of_metrics(n_classes), np.random.default_rng(3).integers(0, N_LABELLINGS, n)
    few = scores_by_kernel(estimator, "raw", LABELLINGS[n_classes], chosen)[0]
    many = scores_by_kernel(estimator, "raw", LABELLINGS[n_classes][order], chosen)[0]
    np.testing.assert_allclose(many, few[:, :, order], rtol=1e-9, atol=1e-12)


def test_labellings_choose_penalties_of_their_own():
    targets, chosen = LABELLINGS[None], of_metrics(None)
    one_penalty = [scores_by_kernel(Ridge(alpha), "standardised", targets, chosen)[0] for alpha in ALPHAS]
    free = scores_by_kernel(RidgeCV(ALPHAS), "standardised", targets, chosen)[0]
    assert not any(np.isclose(free[0], fixed[0]).all() for fixed in one_penalty)


every_kernel = pytest.mark.parametrize(
    ("estimator", "n_classes"),
    [(Ridge(), None), (RidgeClassifierCV(ALPHAS), 3), (LinearSVC(), 2), (NearestCentroid(), 3)],
    ids=repr,
)


@every_kernel
def test_small_spheres_are_left_out(estimator, n_classes):
    chosen = of_metrics(n_classes)[:1]
    found, status = scores_by_kernel(estimator, "standardised", LABELLINGS[n_classes], chosen, min_voxels=3)
    np.testing.assert_array_equal(status, [0, 0, -1, -1])
    np.testing.assert_array_equal(np.isnan(found).all(axis=(1, 2)), status != 0)


def test_systems_that_are_not_positive_definite_have_a_status():
    labellings, _ = pack_labellings(LABELLINGS[2], FOLDS, [CODES[metrics.accuracy]], classifier=True)
    for kernel, penalty in (
        (ridge_null.ridge_null, np.array([1.0, -1e3])),
        (svm_null.svc_squared_hinge_null, -1e3),
    ):
        null, status = np.zeros((len(SPHERES), 1, N_LABELLINGS)), np.zeros(len(SPHERES), np.int8)
        with kernel_threads(1):
            kernel(block_of("standardised", 1.0), labellings, penalty, null, status)
        np.testing.assert_array_equal(status, [1, 1, 1, -1])
        assert np.isnan(null).all()


def test_packing_says_why_labellings_cannot_be_shared():
    codes = [CODES[metrics.accuracy]]
    overlapping = Folds(N, (np.arange(N),), (np.arange(3),))
    assert pack_labellings(LABELLINGS[2], overlapping, codes, classifier=True) == (
        None,
        "a fold tests on samples that it trains on",
    )
    lacking = LABELLINGS[3].copy()
    lacking[4] = np.sort(lacking[4])  # samples 0 to 4 are all of the first class
    ordered = Folds(N, (np.arange(5, N),), (np.arange(5),))
    assert pack_labellings(LABELLINGS[3], ordered, codes, classifier=True)[0] is not None
    packed, why = pack_labellings(lacking, ordered, codes, classifier=True)
    assert packed is None
    assert why == "a fold of some permutation is not trained on every class"
    assert pack_labellings(lacking.astype(float), ordered, codes, classifier=False)[0] is not None


def test_labels_of_any_kind_pack_alike():
    codes = [CODES[metrics.accuracy]]
    expected, _ = pack_labellings(LABELLINGS[3], FOLDS, codes, classifier=True)
    for words in (np.array(["a", "b", "c"]), np.array(["a", "b", "c"], object), np.array([-5.0, 0.0, 7.5])):
        found, _ = pack_labellings(words[LABELLINGS[3]], FOLDS, codes, classifier=True)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", [Ridge(), RidgeClassifier(), RidgeClassifierCV(ALPHAS)], ids=repr)
@pytest.mark.parametrize("scale", [0.0, 1e-13])
def test_labels_that_are_held_out_tell_nothing_where_voxels_tell_nothing(kind, scale):
    """Held-out values far below 1 must not hold the rounding of the targets."""
    n_classes = 3 if is_classifier(kind) else None
    targets = LABELLINGS[n_classes]
    chosen = (metrics.accuracy,) if n_classes else (metrics.r2,)
    codes = [CODES[metric] for metric in chosen]
    labellings, _ = pack_labellings(targets, FOLDS, codes, classifier=bool(n_classes))
    plan = REGISTRY[type(kind)].null_plan(kind, labellings)
    block = block_of("standardised", plan.intercept)
    block = block._replace(X=(scale * block.X).astype(np.float32))
    null, status = np.empty((len(SPHERES), 1, len(targets))), np.empty(len(SPHERES), np.int8)
    with kernel_threads(1):
        plan.run(block, null, status)
    for labelling, y in enumerate(targets):
        folds = [held_out(kind, scale * whole("standardised")[:, :3], y, *fold) for fold in FOLDS]
        expected = np.mean([chosen[0](one) for one in folds])
        np.testing.assert_allclose(null[:3, 0, labelling], expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")  # by plain numpy, without JIT
def test_one_labelling_that_fails_leaves_the_others():
    labellings, _ = pack_labellings(LABELLINGS[2], FOLDS, [CODES[metrics.accuracy]], classifier=True)
    targets = labellings.targets.copy()
    targets[3] *= 1e308  # they overflow: no number solves these
    null, status = np.zeros((len(SPHERES), 1, N_LABELLINGS)), np.zeros(len(SPHERES), np.int8)
    with kernel_threads(1):
        svm_null.svc_squared_hinge_null(
            block_of("standardised", 1.0), labellings._replace(targets=targets), 0.5, null, status
        )
    np.testing.assert_array_equal(status, [0, 0, 0, -1])
    np.testing.assert_array_equal(np.isnan(null[:3, 0]), np.tile(np.arange(N_LABELLINGS) == 3, (3, 1)))


@pytest.mark.parametrize(
    ("estimator", "of_metrics"),
    [
        (Ridge(), OF_VALUES),
        (RidgeClassifierCV(), (metrics.roc_auc,)),
        (LinearSVC(), (metrics.roc_auc,)),
        (LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1), (metrics.roc_auc,)),
        (NearestCentroid(), (metrics.accuracy,)),
    ],
    ids=repr,
)
def test_any_parts_of_a_block_score_the_same(monkeypatch, estimator, of_metrics):
    targets = LABELLINGS[2 if is_classifier(estimator) else None]
    whole = scores_by_kernel(estimator, "raw", targets, of_metrics)
    monkeypatch.setattr(over_spheres, "FEWEST", 1)
    for found, expected in zip(scores_by_kernel(estimator, "raw", targets, of_metrics), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e4, 1e6, 1e7])
@pytest.mark.parametrize("n_voxels", [2, 13])
def test_permuted_margins_of_any_scale_score_as_observed_ones(n_voxels, scale):
    """The matrix of all samples may be singular to rounding where those of the folds are not, and values faint."""
    labellings, _ = pack_labellings(LABELLINGS[2], FOLDS, [CODES[metrics.accuracy]], classifier=True)
    members = np.arange(n_voxels, dtype=np.int32)
    X = np.ascontiguousarray(scale * STANDARD.T).astype(np.float32)
    block = Block(X, np.zeros(P), np.array([0, n_voxels]), members, 1.0, 4, 1)
    null, status = np.zeros((1, 1, N_LABELLINGS)), np.zeros(1, np.int8)
    with kernel_threads(1):
        svm_null.svc_squared_hinge_null(block, labellings, 0.5, null, status)
        for y, found in zip(LABELLINGS[2], null[0, 0], strict=True):
            plan = REGISTRY[LinearSVC].plan(LinearSVC(), y, FOLDS)
            out, code = np.empty((1, plan.n_out)), np.empty(1, np.int8)
            plan.run(block, out, code)
            expected = np.nan if code[0] else np.mean([metrics.accuracy(one) for one in plan.held_out(out)])
            assert found == pytest.approx(expected, nan_ok=True)


def test_r2_of_values_that_are_all_alike_is_no_rounding():
    """Six times a sixth of a value is not that value."""
    for value in (1.0, 0.1, 6.0, 1e6 + 0.3):
        for n in (3, 6, 10, 49):
            true, values = np.full(n, value), np.linspace(0, 1, n)[None]
            assert scores.score_fold(scores.R2, values, true) == 0.0
            assert metrics.r2(HeldOut(true, values[:, :, None])) == 0.0
            assert metrics.explained_variance(HeldOut(true, values[:, :, None])) == 0.0
