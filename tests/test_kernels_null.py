"""Kernels that decode many labellings of a sphere, against scikit-learn on one labelling after the other.

Also run as plain Python (NUMBA_DISABLE_JIT=1), hence the small sizes.
"""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.svm import LinearSVC

import naive
from fastsl import metrics
from fastsl._kernels import lda_null, ridge_null, scores, svm_null
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
    ("estimator", "n_classes"), [(Ridge(), None), (RidgeClassifierCV(ALPHAS), 3), (LinearSVC(), 2)], ids=repr
)


@every_kernel
def test_small_spheres_are_left_out(estimator, n_classes):
    found, status = scores_by_kernel(
        estimator, "standardised", LABELLINGS[n_classes], of_metrics(n_classes), min_voxels=3
    )
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
