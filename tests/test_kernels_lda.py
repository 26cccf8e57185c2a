"""Kernels of discriminant analysis against their definition. Also run as plain Python, hence the small sizes."""

import numba as nb
import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import naive
from fastsl._kernels import lapack
from fastsl._kernels.block import Block
from fastsl._kernels.discriminant import dot
from fastsl._kernels.lda import lda_auto, lda_fixed, ledoit_wolf
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders.lda import class_folds
from fastsl.folds import Folds

N_SAMPLES = 24
EVERY = np.arange(N_SAMPLES)
#: Few folds; in the last one the test samples are out of order, repeated and partly trained on.
FOLDS = Folds(
    N_SAMPLES,
    (EVERY[8:], np.r_[EVERY[:8], EVERY[:15:-1]], EVERY[:18]),
    (EVERY[:8], EVERY[8:16], np.array([20, 3, 20, 18])),
)
#: Two runs that folds keep together, so that these share their products.
RUNS = Folds(N_SAMPLES, (EVERY[12:], EVERY[:12], EVERY), (EVERY[:12], EVERY[12:], EVERY))
LABELS = {2: np.arange(N_SAMPLES) % 2, 3: np.arange(N_SAMPLES) // 2 % 3, 5: (np.arange(N_SAMPLES) * 7 // 4) % 5}
#: Spheres of many and few voxels, of one, of none, and one that lists voxels in any order.
SPHERES = [np.arange(40), np.array([3, 5, 8, 13]), np.array([7]), np.array([], int), np.arange(39, 4, -3)]
FORMS = ("gram", "features")
SHRINKAGE = (0.2, 1.0, "auto")
both_forms = pytest.mark.parametrize("form", FORMS)
every_shrinkage = pytest.mark.parametrize("shrinkage", SHRINKAGE)
every_number = pytest.mark.parametrize("n_classes", LABELS)


def make_data(seed=0, n_voxels=40):
    """Correlated voxels with a common trend, (n_samples, n_voxels), float32."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N_SAMPLES, n_voxels)) + rng.standard_normal((N_SAMPLES, 3)) @ rng.standard_normal(
        (3, n_voxels)
    )
    return X.astype(np.float32)


def launch(X, y, shrinkage, form, *, spheres=SPHERES, means=None, priors=None, min_voxels=1, folds=FOLDS):
    """Results (n_spheres, n_out) and status; ``means`` are what was subtracted from X before."""
    packed, _ = class_folds(y, folds, priors)
    means = np.zeros(X.shape[1]) if means is None else means
    indptr = np.concatenate([[0], np.cumsum([len(members) for members in spheres])])
    indices = np.concatenate(spheres).astype(np.int32)
    below = {"gram": 2, "features": 1000}[form]
    block = Block(np.ascontiguousarray(X.T), means, indptr, indices, np.inf, below, min_voxels)
    out, status = np.full((len(spheres), packed.out_ptr[-1]), 7.0), np.full(len(spheres), 9, np.int8)
    with kernel_threads(1):
        if shrinkage == "auto":
            lda_auto(block, packed, out, status)
        else:
            lda_fixed(block, packed, shrinkage, out, status)
    return out, status


def by_definition(X, y, scores_of, folds=FOLDS):
    """Row of results of one sphere; ``scores_of(X_train, y_train, X_test, priors)`` gives one column a class."""
    row = []
    for train, test in folds:
        priors = np.unique(y[train], return_counts=True)[1] / len(train)
        scores = scores_of(X[train], y[train], X[test], priors)
        columns = scores[:, 1:] - scores[:, :1] if scores.shape[1] == 2 else scores
        row.append(columns.T.ravel())
    return np.concatenate(row)


def assert_close(found, expected, tolerance=1e-10):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


@both_forms
@every_shrinkage
@every_number
@pytest.mark.parametrize("folds", [FOLDS, RUNS], ids=["any folds", "runs"])
def test_scores_of_a_block(n_classes, shrinkage, form, folds):
    X, y = make_data(), LABELS[n_classes]
    out, status = launch(X, y, shrinkage, form, folds=folds)
    np.testing.assert_array_equal(status, [-1 if len(members) == 0 else 0 for members in SPHERES])
    for row, members in zip(out, SPHERES, strict=True):
        if len(members) == 0:
            assert np.isnan(row).all()
            continue

        def scores(A, t, B, priors):
            return naive.lda_scores(A, t, B, shrinkage=shrinkage, priors=priors)

        assert_close(row, by_definition(X[:, members].astype(float), y, scores, folds))


@pytest.mark.filterwarnings("ignore:Only one sample available")  # of a class, which adds nothing to the covariance
@both_forms
@every_shrinkage
@every_number
def test_scores_are_those_of_the_raw_data(n_classes, shrinkage, form):
    """Three classes or more: scikit-learn's scores depend on where zero is."""
    y = LABELS[n_classes]
    X = make_data(seed=1) + np.float32(50.0)
    X[:, 4:] += (10 * np.random.default_rng(2).standard_normal(36)).astype(np.float32)
    means = X.mean(axis=0, dtype=float).astype(np.float32)
    shifted = X - means
    raw = shifted.astype(float) + means
    out, status = launch(shifted, y, shrinkage, form, means=means.astype(float))
    for row, members in zip(out[status == 0], [m for m in SPHERES if len(m)], strict=True):

        def scores(A, t, B, priors):
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(A, t)
            own = B @ model.coef_.T + model.intercept_
            return np.column_stack([0.0 * own, own]) if own.shape[1] == 1 else own

        assert_close(row, by_definition(raw[:, members], y, scores), 1e-9)


def scikit_scores(shrinkage):
    def scores(A, t, B, priors):
        own = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(A, t).decision_function(B)
        return np.column_stack([0.0 * own, own]) if own.ndim == 1 else own

    return scores


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


@both_forms
@every_shrinkage
@pytest.mark.parametrize("change", DEGENERATE, ids=lambda change: change.__name__)
def test_degenerate_data_equal_scikit_learn(change, shrinkage, form):
    X = make_data(seed=3)
    change(X)
    out, status = launch(X, LABELS[3], shrinkage, form, spheres=[np.arange(40)])
    assert status[0] == 0
    assert_close(out[0], by_definition(X.astype(float), LABELS[3], scikit_scores(shrinkage)))


@both_forms
@every_shrinkage
def test_means_far_from_zero_lose_no_digits(shrinkage, form):
    """Two classes: the difference of scores is that of the shifted data, whatever the means."""
    X = make_data(seed=4)
    plain, _ = launch(X, LABELS[2], shrinkage, form)
    shifted, _ = launch(X, LABELS[2], shrinkage, form, means=np.full(40, 1e4))
    np.testing.assert_array_equal(plain, shifted)


@every_shrinkage
@both_forms
def test_data_without_variance_have_no_solution(form, shrinkage):
    X = make_data()
    X[:, 7] = 1.0
    X[:, 30:] = 0.1
    out, status = launch(X, LABELS[2], shrinkage, form, spheres=[np.arange(5), np.array([7]), np.arange(30, 40)])
    np.testing.assert_array_equal(status, [0, 1, 1])
    assert np.isnan(out[1:]).all()
    assert np.isfinite(out[0]).all()


@both_forms
def test_classes_of_two_samples_leave_a_singular_matrix(form):
    """Two samples have no fourth moments to choose the shrinkage by: it is 0, and 40 voxels are too many for it."""
    folds = Folds(N_SAMPLES, (np.arange(4),), (np.arange(4, 8),))
    _, status = launch(make_data(), LABELS[2], "auto", form, spheres=[np.arange(40)], folds=folds)
    assert status[0] == 1


def test_small_spheres_are_left_out():
    out, status = launch(make_data(), LABELS[2], 0.3, "gram", min_voxels=4)
    np.testing.assert_array_equal(status, [-1 if len(members) < 4 else 0 for members in SPHERES])
    np.testing.assert_array_equal(np.isnan(out).all(axis=1), status != 0)


@pytest.mark.parametrize("shape", [(9, 4), (7, 30), (2, 5), (1, 3), (12, 1)])
def test_shrinkage_is_that_of_ledoit_and_wolf(shape):
    X = np.random.default_rng(5).standard_normal(shape)
    X -= X.mean(axis=0)
    Q = X @ X.T
    found = ledoit_wolf((Q**2).sum(), (np.diag(Q) ** 2).sum(), np.trace(Q), *shape)
    assert found == pytest.approx(naive.ledoit_wolf(X), abs=1e-12)
    if shape[0] > 2:  # with two samples rounding decides between 0 and 1e-16
        assert found == pytest.approx(ledoit_wolf_shrinkage(X), abs=1e-12)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 17])
def test_dot_is_the_scalar_product(n):
    a, b = np.random.default_rng(6).standard_normal((2, n))
    assert dot(a, b) == pytest.approx(a @ b, abs=1e-14)


@nb.njit
def _call_syrk_rows(B, K):
    lapack.syrk_rows(B, K)


@pytest.mark.parametrize("call", [_call_syrk_rows, lapack.syrk_rows], ids=["compiled", "plain"])
def test_products_of_rows(call):
    B = np.random.default_rng(7).standard_normal((6, 11))
    K = np.full((6, 6), np.nan)
    call(B, K)
    np.testing.assert_allclose(np.triu(K), np.triu(B @ B.T), rtol=1e-13)
