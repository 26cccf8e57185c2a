"""Discriminant analysis with the solver svd against its definition. Also run as plain Python, hence the small sizes."""

import numba as nb
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import naive
from fastsl._kernels import lapack
from fastsl._kernels.block import Block
from fastsl._kernels.discriminant import allocate_space
from fastsl._kernels.lda_svd import _solve_by_square, lda_svd
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders.lda import LOST_PER_CLASS, class_folds
from fastsl.folds import Folds

N_SAMPLES = 24
EVERY = np.arange(N_SAMPLES)
#: In the last fold the test samples are out of order, repeated and partly trained on.
FOLDS = Folds(
    N_SAMPLES,
    (EVERY[8:], np.r_[EVERY[:8], EVERY[:15:-1]], EVERY[:18]),
    (EVERY[:8], EVERY[8:16], np.array([20, 3, 20, 18])),
)
LABELS = {2: EVERY % 2, 3: EVERY // 2 % 3, 5: EVERY * 7 // 4 % 5}
#: Many voxels, few, one, none; and as many as a class-centred fold has dimensions.
SPHERES = [np.arange(40), np.array([3, 5, 8, 13]), np.array([7]), np.array([], int), np.arange(15), np.arange(13, 27)]
every_number = pytest.mark.parametrize("n_classes", LABELS)


def make_data(seed=0, n_voxels=40, smooth=0.0):
    """Voxels with a common trend (n_samples, n_voxels), float32; smooth ones have small singular values."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N_SAMPLES, n_voxels)) + rng.standard_normal((N_SAMPLES, 1))
    if smooth:
        x = np.arange(n_voxels)
        X = X @ np.exp(-0.5 * ((x[:, None] - x) / smooth) ** 2)
    return X.astype(np.float32)


def launch(X, y, *, tol=1e-4, lost=LOST_PER_CLASS, spheres=SPHERES, means=None, priors=None, min_voxels=1):
    """Results (n_spheres, n_out) and status; ``means`` are what was subtracted from X before."""
    packed, _ = class_folds(y, FOLDS, priors)
    means = np.zeros(X.shape[1]) if means is None else means
    indptr = np.concatenate([[0], np.cumsum([len(members) for members in spheres])])
    block = Block(
        np.ascontiguousarray(X.T), means, indptr, np.concatenate(spheres).astype(np.int32), np.inf, 0, min_voxels
    )
    out, status = np.full((len(spheres), packed.out_ptr[-1]), 7.0), np.full(len(spheres), 9, np.int8)
    with kernel_threads(1):
        lda_svd(block, packed, tol, lost, out, status)
    return out, status


def by_definition(X, y, scores_of):
    """Row of results of one sphere; ``scores_of(X_train, y_train, X_test, priors)`` gives one column a class."""
    row = []
    for train, test in FOLDS:
        priors = np.unique(y[train], return_counts=True)[1] / len(train)
        scores = scores_of(X[train], y[train], X[test], priors)
        row.append((scores[:, 1:] - scores[:, :1] if scores.shape[1] == 2 else scores).T.ravel())
    return np.concatenate(row)


def scikit_scores(A, t, B, priors):
    own = LinearDiscriminantAnalysis().fit(A, t).decision_function(B)
    return np.column_stack([0.0 * own, own]) if own.ndim == 1 else own


def assert_close(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


@every_number
@pytest.mark.parametrize("tol", [1e-4, 0.05, 0.4])
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("smooth", [0.0, 1.2], ids=["white", "smooth"])
def test_scores_of_a_block(n_classes, tol, lost, smooth):
    X, y = make_data(smooth=smooth), LABELS[n_classes]
    out, status = launch(X, y, tol=tol, lost=lost)
    np.testing.assert_array_equal(status, [-1 if len(members) == 0 else 0 for members in SPHERES])
    for row, members in zip(out, SPHERES, strict=True):
        if len(members) == 0:
            assert np.isnan(row).all()
            continue

        def scores(A, t, B, priors):
            return naive.lda_svd_scores(A, t, B, tol=tol, priors=priors, lost=lost)

        assert_close(row, by_definition(X[:, members].astype(float), y, scores))


def constant_voxels(X):
    X[:, [2, 11]] = 3.0


def constant_within_classes(X):
    X[:, 5] = np.where(LABELS[3] == 1, 1.0, 0.5)


def duplicate_samples(X):
    X[12:] = X[:12]


def collinear_voxels(X):
    X[:, 20:] = 2.0 * X[:, :20]


def identical_voxels(X):
    X[:] = X[:, :1]


def tiny(X):
    X *= 1e-6


def huge(X):
    X *= 1e6


DEGENERATE = [
    constant_voxels,
    constant_within_classes,
    duplicate_samples,
    collinear_voxels,
    identical_voxels,
    tiny,
    huge,
]


@pytest.mark.parametrize("n_voxels", [8, 40])
@pytest.mark.parametrize("change", DEGENERATE, ids=lambda change: change.__name__)
def test_degenerate_data_equal_scikit_learn(change, n_voxels):
    X = make_data(seed=3)
    change(X)
    out, status = launch(X, LABELS[3], spheres=[np.arange(n_voxels)])
    assert status[0] == 0
    assert_close(out[0], by_definition(X[:, :n_voxels].astype(float), LABELS[3], scikit_scores))


RUNS = EVERY // 8


def standardise_runs(X):
    for run in range(3):
        own = X[run == RUNS].astype(float)
        X[run == RUNS] = (own - own.mean(axis=0)) / own.std(axis=0)


def remove_confounds(X):
    """Two courses of time that have nothing to do with runs or classes."""
    confounds = np.random.default_rng(7).standard_normal((N_SAMPLES, 2))
    X -= (confounds @ np.linalg.lstsq(confounds, X.astype(float), rcond=None)[0]).astype(np.float32)


@every_number
@pytest.mark.parametrize("n_voxels", [12, 15, 17, 40])
@pytest.mark.parametrize("change", [standardise_runs, remove_confounds], ids=lambda change: change.__name__)
def test_what_the_samples_have_in_common_is_left_out(n_classes, n_voxels, change):
    X, y = make_data(seed=6), LABELS[n_classes]
    change(X)
    out, status = launch(X, y, spheres=[np.arange(n_voxels)])
    assert status[0] == 0
    assert_close(out[0], by_definition(X[:, :n_voxels].astype(float), y, scikit_scores))


def centred(X, y, samples):
    """R of :mod:`fastsl._kernels.lda_svd`, class after class."""
    order = samples[np.argsort(y[samples], kind="stable")]
    R = X[order].astype(float)
    for k in np.unique(y):
        R[y[order] == k] -= R[y[order] == k].mean(axis=0)
    return R / (R.std(axis=0) * np.sqrt(len(R)))


def solve_by_square(R, y, V, tol=1e-4):
    packed, _ = class_folds(y, FOLDS, None)
    indptr, indices = np.array([0, R.shape[1]]), np.arange(R.shape[1], dtype=np.int32)
    X = np.zeros((R.shape[1], N_SAMPLES), np.float32)
    block = Block(X, np.zeros(R.shape[1]), indptr, indices, np.inf, 0, 1, np.arange(1))
    return _solve_by_square(R.copy(), packed, 0, tol, allocate_space(block, packed, 0), V)


@pytest.mark.parametrize("change", [lambda X: None, standardise_runs, remove_confounds, duplicate_samples])
@pytest.mark.parametrize("n_voxels", [6, 15, 40])
def test_a_factor_serves_whatever_is_zero(change, n_voxels):
    """Also what no factor of R R' or R'R alone can; V diag(sigma)^-2 V' over the sigma above tol, without them."""
    X, y = make_data(seed=8), LABELS[3]
    change(X)
    R = centred(X[:, :n_voxels], y, EVERY[8:])
    V = np.random.default_rng(0).standard_normal((2, n_voxels))
    _, sigma, right = np.linalg.svd(R, full_matrices=False)
    kept = sigma > 1e-4
    expected = V @ (right[kept].T / sigma[kept] ** 2) @ right[kept]
    assert solve_by_square(R, y, V) == 0
    assert_close(V, expected)


@pytest.mark.parametrize(
    ("smallest", "tol", "serves"),
    [
        (1e-2, 1e-4, True),
        (1e-3, 1e-4, False),  # too near to the 9e-6 that it must be told from
        (2e-4, 1e-4, False),  # too small to be squared
        (9e-5, 1e-4, False),  # too near to tol
        (3e-5, 1e-4, True),  # zero
        (1e-2, 1e-12, False),  # but 9e-6 is none
        (9e-3, 1e-2, False),
        (1e-3, 1e-2, True),
    ],
)
def test_what_is_neither_zero_nor_large_is_no_matter_for_a_factor(smallest, tol, serves):
    U, sigma, right = np.linalg.svd(centred(make_data(seed=9), LABELS[3], EVERY[8:]), full_matrices=False)
    sigma[11:] = smallest, 9e-6, 0, 0, 0
    V = np.random.default_rng(0).standard_normal((2, 40))
    before, kept = V.copy(), sigma > tol
    assert solve_by_square((U * sigma) @ right, LABELS[3], V, tol) == (0 if serves else 1)
    if serves:
        assert_close(V, before @ (right[kept].T / sigma[kept] ** 2) @ right[kept])
    else:
        np.testing.assert_array_equal(V, before)


@pytest.mark.parametrize("zero", [1e-8, 9e-6, 3e-5])
def test_a_difference_along_what_is_zero_leaves_nothing(zero):
    U, sigma, right = np.linalg.svd(centred(make_data(seed=10), LABELS[3], EVERY[8:]), full_matrices=False)
    sigma[11:] = 0.05, zero, 0, 0, 0
    V = np.random.default_rng(0).standard_normal((2, 40)) + 1000.0 * right[12]
    expected = V @ (right[:12].T / sigma[:12] ** 2) @ right[:12]
    assert solve_by_square((U * sigma) @ right, LABELS[3], V) == 0
    assert_close(V, expected, 1e-10)


@every_number
def test_means_far_from_zero_change_nothing(n_classes):
    X, y = make_data(seed=4), LABELS[n_classes]
    found, _ = launch(X, y, means=np.full(40, 1e4))
    np.testing.assert_array_equal(found, launch(X, y)[0])
    raw = X.astype(float) + 1e4
    assert_close(found[0], by_definition(raw, y, scikit_scores), 1e-8)  # scikit-learn sees 1e4 with 1e-12 of rounding


def test_data_without_variance_have_no_solution():
    X = make_data()
    X[:, 30:] = 0.1
    out, status = launch(X, LABELS[2], spheres=[np.arange(30, 40), np.arange(5)])
    np.testing.assert_array_equal(status, [1, 0])
    assert np.isnan(out[0]).all()
    assert np.isfinite(out[1]).all()


def test_small_spheres_are_left_out():
    out, status = launch(make_data(), LABELS[2], min_voxels=4)
    np.testing.assert_array_equal(status, [-1 if len(members) < 4 else 0 for members in SPHERES])
    np.testing.assert_array_equal(np.isnan(out).all(axis=1), status != 0)


@nb.njit
def _call_singular_vectors(B, sigma, U, V):
    return lapack.singular_vectors(B, sigma, U, V)


@pytest.mark.parametrize("call", [_call_singular_vectors, lapack.singular_vectors], ids=["compiled", "plain"])
@pytest.mark.parametrize("shape", [(7, 12), (12, 7), (5, 5), (1, 4), (4, 1), (3, 60), (60, 3)])
def test_singular_vectors_put_the_matrix_together_again(call, shape):
    B = np.random.default_rng(5).standard_normal(shape)
    small = min(shape)
    sigma, U, V = np.full(small, np.nan), np.full((shape[0], small), np.nan), np.full((small, shape[1]), np.nan)
    assert call(B.copy(), sigma, U, V) == 0
    assert (np.diff(sigma) <= 0).all()
    np.testing.assert_allclose((U * sigma) @ V, B, rtol=0, atol=1e-13)
    np.testing.assert_allclose(U.T @ U, np.eye(small), rtol=0, atol=1e-13)
    np.testing.assert_allclose(V @ V.T, np.eye(small), rtol=0, atol=1e-13)


@nb.njit
def _call_pivoted_cholesky(A, limit, order):
    return lapack.pivoted_cholesky(A, limit, order)


@pytest.mark.parametrize("call", [_call_pivoted_cholesky, lapack.pivoted_cholesky], ids=["compiled", "plain"])
@pytest.mark.parametrize(("n", "rank"), [(1, 1), (9, 9), (9, 4), (70, 66), (5, 0)])
def test_pivots_tell_the_rank(call, n, rank):
    B = np.random.default_rng(5).standard_normal((n, rank)) * np.geomspace(1, 1e-3, max(rank, 1))[:rank]
    S = B @ B.T
    A, order = np.triu(S) + np.tril(np.full((n, n), 7.0), -1), np.full(n, -1, np.int32)
    assert call(A, 1e-12, order) == rank
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(np.tril(A, -1), np.tril(np.full((n, n), 7.0), -1))
    R = np.triu(A)[:rank]
    np.testing.assert_allclose(R.T @ R, S[np.ix_(order, order)], rtol=0, atol=1e-12)
    assert (np.diff(R.diagonal()) <= 1e-15).all()
