"""Compiled kernels against their definitions. Also run as plain Python (NUMBA_DISABLE_JIT=1), hence the small sizes."""

import inspect

import numba as nb
import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import KFold

import naive
from fastsl._kernels import lapack, ridge, ridge_held_out, rows, svm
from fastsl._kernels.block import Block
from fastsl._kernels.features import FeatureSpace
from fastsl._kernels.groups import ungrouped
from fastsl._kernels.shared_gram import sphere_gram
from fastsl._kernels.svm import squared_hinge
from fastsl._kernels.svm_features import active_sums
from fastsl._kernels.waist import Sphere, complete_gram, sphere_features, weighted_ridge
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders import find_decoder
from fastsl.decoders.groups import alike, sample_groups
from fastsl.decoders.problems import classification_problems, regression_problems
from fastsl.folds import Folds, draw_folds

FORMS = ("gram", "features")
both_forms = pytest.mark.parametrize("form", FORMS)
all_intercepts = pytest.mark.parametrize("s2", [0.0, 1.0, 9.0, np.inf])
#: Fewer and more voxels than samples.
SHAPES = [(20, 7), (14, 30)]
both_shapes = pytest.mark.parametrize(("n", "p"), SHAPES, ids=["few voxels", "many voxels"])


def make_data(n, p, *, means=False, seed=0):
    """Two classes that overlap, float32; with means, some voxels have one and some have none."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    X = rng.standard_normal((n, p)) + 0.3 * y[:, None] * rng.standard_normal(p)
    if means:
        X[:, ::2] += 5.0 * rng.standard_normal(X[:, ::2].shape[1])
    return X.astype(np.float32), y


def shift(X):
    """X as kernels take it, (n_voxels, n_samples), and the float32 means that were subtracted where they are large."""
    means = np.where(np.abs(X.mean(axis=0)) > 1.0, X.mean(axis=0), 0.0).astype(np.float32)
    return np.ascontiguousarray((X - means).T), means.astype(np.float64)


def gram_alone(shifted, members, G):
    nothing, nobody = np.empty(0, np.int8), np.empty(0, np.int64)
    room = np.empty((len(members) + 3, len(G)))
    sphere_gram(shifted, members, nothing, nobody, room, np.empty((2, 0, 0)), nobody, G)


def two_terms(X, s2, form):
    """Z (G or Phi), u and inv_c of one sphere with all voxels of X (n_samples, n_voxels)."""
    n, p = X.shape
    shifted, means = shift(X)
    members, u = np.arange(p, dtype=np.int32), np.empty(n)
    if form == "gram":
        Z = np.empty((n, n))
        gram_alone(shifted, members, Z)
        inv_c = complete_gram(shifted, members, means, float(s2), Z, u)
    else:
        Z = np.empty((n, p))
        inv_c = sphere_features(shifted, members, means, float(s2), Z, u)
    return Sphere(form == "features", Z, u, inv_c)


def work_space(n, p, k=1):
    """A and rows, larger than any caller needs."""
    order = max(n, p + 1) + 2
    return np.full((order, order), np.nan), np.full((max(n, k + 1), order), np.nan)


def solve_ridge(X, s2, form, S, D, T):
    """Run weighted_ridge; returns status, decision values and beta."""
    n, p = X.shape
    F, beta = np.full_like(T, np.nan), np.full_like(T, np.nan)
    A, rows = work_space(n, p, len(T))
    return weighted_ridge(two_terms(X, s2, form), S, D, T, A, rows, F, beta), F, beta


def solve_squared_hinge(X, y, C, s2, form, train, guess=None):
    n, p = X.shape
    F = np.zeros((1, n)) if guess is None else guess.copy()
    beta = np.zeros((1, n))
    A, rows = work_space(n, p)
    sphere = two_terms(X, s2, form)
    room = np.full((4, max(n, p + 1) * (p + 1)), np.nan)
    sums = active_sums(sphere, ungrouped(n), FeatureSpace(room[0], np.empty(0), *room[1:]))
    return squared_hinge(sphere, sums, 0, train, 0.5 / C, y[None].copy(), A, rows, F, beta), F[0]


# One sphere as two terms


@both_forms
@both_shapes
@pytest.mark.parametrize("means", [False, True], ids=["standardised", "raw"])
@pytest.mark.parametrize("s2", [0.0, 1.0, 9.0])
def test_two_terms_add_up_to_the_kernel_matrix(form, n, p, means, s2):
    X, _ = make_data(n, p, means=means)
    _, Z, u, inv_c = two_terms(X, s2, form)
    G = Z if form == "gram" else Z @ Z.T
    second = 0.0 if np.isinf(inv_c) else np.outer(u, u) / inv_c
    shifted, subtracted = shift(X)
    K = naive.kernel_matrix(shifted.T + subtracted, s2)
    np.testing.assert_allclose(G + second, K, rtol=0, atol=1e-13 * np.abs(K).max())


@both_forms
@pytest.mark.parametrize("means", [False, True], ids=["standardised", "raw"])
def test_a_free_intercept_leaves_the_shifted_gram_and_a_border_of_ones(form, means):
    X, _ = make_data(14, 30, means=means)
    shifted, _ = shift(X)
    _, Z, u, inv_c = two_terms(X, np.inf, form)
    assert inv_c == 0.0
    np.testing.assert_array_equal(u, 1.0)
    expected = shifted.T.astype(float) @ shifted.astype(float)
    np.testing.assert_allclose(Z if form == "gram" else Z @ Z.T, expected, rtol=0, atol=1e-13 * expected.max())


def test_no_intercept_and_no_means_have_no_second_term():
    X, _ = make_data(14, 30)
    for form in FORMS:
        assert two_terms(X, 0.0, form).inv_c == np.inf


def test_a_sphere_takes_its_members_only():
    X, _ = make_data(10, 12)
    members = np.array([1, 4, 9], dtype=np.int32)
    shifted, means = shift(X)
    G, u = np.empty((10, 10)), np.empty(10)
    gram_alone(shifted, members, G)
    complete_gram(shifted, members, means, 1.0, G, u)
    chosen = X[:, members].astype(float)
    np.testing.assert_allclose(G + np.outer(u, u), chosen @ chosen.T + 1, rtol=1e-13, atol=1e-13)


# Weighted ridge


@both_forms
@both_shapes
@all_intercepts
def test_weighted_ridge_is_least_squares(form, n, p, s2):
    X, y = make_data(n, p)
    rng = np.random.default_rng(1)
    T = np.stack([y, rng.standard_normal(n)])
    D = rng.uniform(0.2, 3.0, n)
    S = np.sort(rng.choice(n, n - 5, replace=False))
    code, F, beta = solve_ridge(X, s2, form, S, D, T)
    assert code == 0
    expected = naive.ridge(X[S].astype(float), T[:, S].T, X.astype(float), s2=s2, weights=1 / D[S]).T
    np.testing.assert_allclose(F, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(beta[:, S] * D[S], (T - expected)[:, S], rtol=0, atol=1e-11)
    assert not np.delete(beta, S, axis=1).any()


@both_forms
def test_weighted_ridge_on_one_sample(form):
    X, y = make_data(14, 30)
    S = np.array([3])
    code, F, _ = solve_ridge(X, 1.0, form, S, np.full(14, 0.5), y[None].copy())
    assert code == 0
    expected = naive.ridge(X[S].astype(float), y[S], X.astype(float), s2=1.0, alpha=0.5)[:, 0]
    np.testing.assert_allclose(F[0], expected, rtol=0, atol=1e-12)


def test_a_system_that_is_not_positive_definite_has_a_status():
    X, y = make_data(14, 30)
    code, _, _ = solve_ridge(X, 1.0, "gram", np.arange(14), np.full(14, -1e3), y[None].copy())
    assert code > 0


# Linear algebra. The plain functions are what runs without JIT; compiled, the library's routines stand in for them.


@nb.njit
def _call_syrk(B, K):
    lapack.syrk(B, K)


@nb.njit
def _call_cholesky(A, m):
    return lapack.cholesky(A, m)


@nb.njit
def _call_cholesky_solve(R, m, rows, n_rows):
    lapack.cholesky_solve(R, m, rows, n_rows)


@nb.njit
def _call_cholesky_inverse(R, m):
    lapack.cholesky_inverse(R, m)


@nb.njit
def _call_invert_triangle(R, m):
    lapack.invert_triangle(R, m)


@nb.njit
def _call_multiply_rows(A, B, C):
    lapack.multiply_rows(A, B, C)


ROUTINES = {
    "plain": (
        lapack.syrk,
        lapack.cholesky,
        lapack.cholesky_solve,
        lapack.cholesky_inverse,
        lapack.invert_triangle,
        lapack.multiply_rows,
    ),
    "compiled": (
        _call_syrk,
        _call_cholesky,
        _call_cholesky_solve,
        _call_cholesky_inverse,
        _call_invert_triangle,
        _call_multiply_rows,
    ),
}
both_routines = pytest.mark.parametrize("routines", ROUTINES.values(), ids=ROUTINES)


def positive_definite(n, seed=0):
    B = np.random.default_rng(seed).standard_normal((n + 4, n))
    return B.T @ B


@both_routines
def test_syrk_fills_the_upper_triangle(routines):
    B = np.random.default_rng(0).standard_normal((9, 5))
    K = np.full((5, 5), 7.0)
    routines[0](B, K)
    np.testing.assert_allclose(np.triu(K), np.triu(B.T @ B), rtol=1e-13, atol=1e-13)


@both_routines
@pytest.mark.parametrize("m", [1, 6, 8])
def test_cholesky_of_a_leading_block_leaves_the_rest_alone(routines, m):
    P = positive_definite(8)
    A = P.copy()
    A[np.tril_indices(8, -1)] = -99.0  # never read
    before = A.copy()
    assert routines[1](A, m) == 0
    np.testing.assert_allclose(np.triu(A[:m, :m]), np.linalg.cholesky(P[:m, :m]).T, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(A[m:], before[m:])
    np.testing.assert_array_equal(A[:, m:], before[:, m:])
    np.testing.assert_array_equal(np.tril(A, -1), np.tril(before, -1))


@both_routines
def test_cholesky_of_an_indefinite_matrix_has_a_status(routines):
    P = positive_definite(6)
    P[4, 4] = -1.0
    assert routines[1](P.copy(), 6) > 0
    assert routines[1](P.copy(), 4) == 0


@both_routines
def test_cholesky_solve_works_on_leading_rows_and_columns(routines):
    P, m, n_rows = positive_definite(8), 6, 2
    R = P.copy()
    assert routines[1](R, m) == 0
    rows = np.random.default_rng(1).standard_normal((4, 9))
    before = rows.copy()
    routines[2](R, m, rows, n_rows)
    expected = np.linalg.solve(P[:m, :m], before[:n_rows, :m].T).T
    np.testing.assert_allclose(rows[:n_rows, :m], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(rows[n_rows:], before[n_rows:])
    np.testing.assert_array_equal(rows[:, m:], before[:, m:])


@both_routines
def test_cholesky_inverse_fills_the_upper_triangle_of_the_block(routines):
    P, m = positive_definite(8), 5
    R = P.copy()
    assert routines[1](R, m) == 0
    routines[3](R, m)
    np.testing.assert_allclose(np.triu(R[:m, :m]), np.triu(np.linalg.inv(P[:m, :m])), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(R[:, m:], P[:, m:])


@both_routines
@pytest.mark.parametrize("m", [1, 5, 15, 16, 31, 61, 64])
def test_triangles_of_any_order_are_inverted_in_their_place(routines, m):
    R = np.linalg.cholesky(positive_definite(64)).T.copy()
    R[np.tril_indices(64, -1)] = -99.0  # never read
    before = R.copy()
    routines[4](R, m)
    np.testing.assert_allclose(np.triu(R[:m, :m]) @ np.triu(before[:m, :m]), np.eye(m), rtol=0, atol=1e-11)
    np.testing.assert_array_equal(R[m:], before[m:])
    np.testing.assert_array_equal(R[:, m:], before[:, m:])
    np.testing.assert_array_equal(np.tril(R, -1), np.tril(before, -1))


@both_routines
def test_rows_are_multiplied_within_larger_matrices(routines):
    rng = np.random.default_rng(0)
    A, B, C = rng.standard_normal((4, 9)), rng.standard_normal((6, 11)), np.full((5, 8), 7.0)
    routines[5](A[:3, 2:], B[:, 4:], C)
    np.testing.assert_allclose(C[:3, :6], np.einsum("ik,jk->ij", A[:3, 2:], B[:, 4:]), rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(C[3:], 7.0)
    np.testing.assert_array_equal(C[:, 6:], 7.0)


# Support vector machines


@both_forms
@both_shapes
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("s2", [0.0, 1.0, 9.0])
def test_squared_hinge_is_the_optimum(form, n, p, C, s2):
    X, y = make_data(n, p)
    weights = C * np.random.default_rng(2).uniform(0.5, 2.0, n)
    train = np.arange(n) % 5 != 2
    code, f = solve_squared_hinge(X, y, weights, s2, form, train)
    assert code == 0
    expected = naive.squared_hinge(X[train].astype(float), y[train], X.astype(float), C=weights[train], s2=s2)
    np.testing.assert_allclose(f, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@both_forms
def test_squared_hinge_does_not_depend_on_the_guess(form):
    X, y = make_data(20, 7)
    train, C = np.arange(20) < 16, np.ones(20)
    code, f = solve_squared_hinge(X, y, C, 1.0, form, train)
    assert code == 0
    # The second guess puts every sample outside the margin: no active set at all.
    for guess in (np.random.default_rng(3).standard_normal((1, 20)), 2.0 * y[None], -y[None]):
        again = solve_squared_hinge(X, y, C, 1.0, form, train, guess)
        assert again[0] == 0
        if form == "gram":
            np.testing.assert_array_equal(again[1], f)
        else:  # sums that samples entered and left are rounded differently
            np.testing.assert_allclose(again[1], f, rtol=0, atol=1e-13 * np.abs(f).max())


def test_squared_hinge_reports_a_system_that_is_not_positive_definite():
    X, y = make_data(14, 30)
    assert solve_squared_hinge(X, y, np.full(14, -1e-3), 1.0, "gram", np.ones(14, bool))[0] == 1


# Raw intensities: mean 1e4, signal 1e2, smooth


extended = pytest.mark.skipif(
    not naive.LONG_DOUBLE_IS_LONGER, reason="long double has no more digits than double on this platform"
)


@extended
@both_forms
@pytest.mark.parametrize("s2", [0.0, 1.0])
@pytest.mark.parametrize("alpha", [0.5, 500.0])
def test_ridge_on_raw_intensities_equals_extended_precision(form, s2, alpha):
    X = naive.epi_like(24, 30)
    y = np.where(np.arange(24) % 3 == 0, 1.0, -1.0)
    S, D = np.arange(20), np.full(24, alpha)
    code, F, _ = solve_ridge(X, s2, form, S, D, y[None].copy())
    assert code == 0
    expected = naive.weighted_ridge_long(X, y, S, D, s2).astype(float)
    np.testing.assert_allclose(F[0], expected, rtol=0, atol=1e-6)


@extended
@both_forms
@pytest.mark.parametrize("C", [1e-3, 1.0])
def test_squared_hinge_on_raw_intensities_equals_extended_precision(form, C):
    X = naive.epi_like(24, 30)
    y = np.where(np.arange(24) % 3 == 0, 1.0, -1.0)
    train = np.arange(24) < 20
    code, f = solve_squared_hinge(X, y, np.full(24, C), 1.0, form, train)
    assert code == 0
    expected = naive.squared_hinge_long(X, y, train, np.full(24, 0.5 / C), 1.0).astype(float)
    np.testing.assert_allclose(f, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1e3, 1e5, 1e6])
def test_samples_far_from_all_others_leave_no_rounding(size):
    """They are beyond the margin, and were in the sums that a fold begins with."""
    n, p = 48, 6
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((n, p)), np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    X[:, 0] += 0.4 * y
    X[4], X[5] = [size, *rng.standard_normal(5)], [-size, *rng.standard_normal(5)]
    X = X.astype(np.float32)
    folds = Folds(
        n,
        tuple(np.flatnonzero(np.arange(n) // 12 != run) for run in range(1, 4)),
        tuple(np.flatnonzero(np.arange(n) // 12 == run) for run in range(1, 4)),
    )
    problems, _ = classification_problems((y > 0).astype(int), folds, None, rest_weighted=False)
    assert len(svc_groups(problems).ptr) - 1 == 4, "runs share their sums"
    found, expected = (launch_svc(X, problems, 1.0, form, [np.arange(p)])[0] for form in reversed(FORMS))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("alpha", [1e12, 1e18, 1e24])
def test_a_free_intercept_keeps_its_digits_beside_any_penalty(alpha):
    X, y = make_data(N_SAMPLES, 24)
    problems = regression_problems(y + 3.0, RUNS)
    out, _ = launch_ridge(X, problems, np.inf, "features", [alpha])
    means = np.concatenate([np.full(len(test), (y + 3.0)[train].mean()) for train, test in RUNS])
    np.testing.assert_allclose(out[0], means, rtol=1e-9)


@both_shapes
@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0, 100.0])
def test_both_forms_agree_on_raw_intensities(C, n, p):
    X = naive.epi_like(n, p, seed=1)
    y = np.where(np.arange(n) % 3 == 0, 1.0, -1.0)
    results = [solve_squared_hinge(X, y, np.full(n, C), 1.0, form, np.arange(n) % 5 != 2) for form in FORMS]
    assert [code for code, _ in results] == [0, 0]
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-6)


# Entries: all spheres of a block, all folds


N_SAMPLES = 18
#: The second fold trains on samples that it tests, and leaves some out of both; the last has one class only.
FOLDS = Folds(
    N_SAMPLES,
    (np.arange(6, 18), np.arange(0, 12), np.arange(0, 18, 2)),
    (np.arange(0, 6), np.arange(9, 15), np.arange(1, 18, 2)),
)
SPHERES = [np.arange(24), np.arange(3, 7), np.arange(0), np.arange(10, 24, 2), np.arange(5)]


def launch(kernel, X, problems, s2, form, *arguments, min_voxels=1, spheres=None):
    shifted, means = shift(X)
    spheres = spheres or SPHERES
    block = Block(
        shifted,
        means,
        np.concatenate([[0], np.cumsum([len(members) for members in spheres])]),
        np.concatenate(spheres).astype(np.int32),
        s2,
        1000 if form == "features" else 0,
        min_voxels,
    )
    out, status = np.empty((len(spheres), problems.out_ptr[-1])), np.full(len(spheres), 99, np.int8)
    with kernel_threads(1):
        kernel(block, problems, *arguments, out, status)
    return out, status


def launch_ridge(X, problems, s2, form, alphas, kernel=ridge.ridge):
    return launch(kernel, X, problems, s2, form, sample_groups(problems), np.array(alphas))


def svc_groups(problems):
    return alike(2.0 * problems.train[problems.fold] / problems.ridge)


def launch_svc(X, problems, s2, form, spheres=None):
    return launch(svm.svc_squared_hinge, X, problems, s2, form, svc_groups(problems), spheres=spheres)


def by_definition(X, problems, solve, folds=None):
    """Rows of results, from solve(X_train, target, X_test, weights) of one problem; weights are 1 / ridge."""
    folds, rows = folds or FOLDS, np.full((len(SPHERES), problems.out_ptr[-1]), np.nan)
    for row, members in zip(rows, SPHERES, strict=True):
        if len(members) == 0:
            continue
        for q, fold in enumerate(problems.fold):
            train, test, target = folds.train[fold], folds.test[fold], problems.targets[problems.target[q]]
            values = solve(
                X[np.ix_(train, members)].astype(float),
                target[train],
                X[np.ix_(test, members)].astype(float),
                1.0 / problems.ridge[q, train],
            )
            row[problems.out_ptr[q] : problems.out_ptr[q + 1]] = np.ravel(values)
    return rows


LABELS = {
    "two classes": np.arange(N_SAMPLES) % 2,
    "three classes": np.arange(N_SAMPLES) // 2 % 3,
    "a rare class": (np.arange(N_SAMPLES) % 9 == 2).astype(int),
}
#: Three runs that folds keep together, so that these share their products.
RUNS = Folds(
    N_SAMPLES,
    tuple(np.flatnonzero(np.arange(N_SAMPLES) // 6 != run) for run in range(3)),
    tuple(np.flatnonzero(np.arange(N_SAMPLES) // 6 == run) for run in range(3)),
)
#: None trains on what it tests; the second has one class only, and the last leaves some out of both.
APART = Folds(
    N_SAMPLES,
    (np.arange(6, 18), np.arange(0, 18, 2), np.arange(0, 9)),
    (np.arange(0, 6), np.arange(1, 18, 2), np.arange(9, 15)),
)
EMPTY = [status == 0 for status in map(len, SPHERES)]


@both_forms
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("weights", [None, "balanced"])
@pytest.mark.parametrize("C", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("folds", [FOLDS, RUNS], ids=["any folds", "runs"])
def test_linear_svc_of_a_block(form, labels, weights, C, folds):
    X, _ = make_data(N_SAMPLES, 24)
    problems, _ = classification_problems(LABELS[labels], folds, weights, C=C, rest_weighted=False)
    out, status = launch_svc(X, problems, 1.0, form)
    expected = by_definition(X, problems, lambda A, t, B, w: naive.squared_hinge(A, t, B, C=w, s2=1.0), folds)
    np.testing.assert_array_equal(status, np.where(EMPTY, -1, 0))
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-9)


@both_forms
@pytest.mark.parametrize(
    ("kernel", "alphas", "folds"),
    [
        pytest.param(ridge.ridge, (0.7,), FOLDS, id="any folds"),
        pytest.param(ridge.ridge, (0.1, 1.0, 10.0, 100.0), FOLDS, id="any folds, best alpha"),
        pytest.param(ridge.ridge, (0.7,), RUNS, id="runs"),
        pytest.param(ridge.ridge, (0.1, 1.0, 10.0, 100.0), RUNS, id="runs, best alpha"),
        pytest.param(ridge_held_out.ridge_held_out, (0.7,), RUNS, id="runs, by blocks"),
        pytest.param(ridge_held_out.ridge_held_out, (0.7,), APART, id="other folds, by blocks"),
    ],
)
@pytest.mark.parametrize("labels", [*LABELS, "values"])
@pytest.mark.parametrize("weights", ["balanced", None])
@pytest.mark.parametrize("s2", [0.0, 9.0, np.inf])
@pytest.mark.parametrize("means", [False, True], ids=["standardised", "raw"])
def test_ridge_of_a_block(form, kernel, alphas, folds, labels, weights, s2, means):
    X, _ = make_data(N_SAMPLES, 24, means=means)
    shifted, subtracted = shift(X)
    seen = shifted.T + subtracted  # X, but for the rounding of float32
    if labels == "values":
        y = X[:, 3] + np.random.default_rng(4).standard_normal(N_SAMPLES)
        problems = regression_problems(y, folds)
    else:
        problems, _ = classification_problems(LABELS[labels], folds, weights)
    out, status = launch_ridge(X, problems, s2, form, alphas, kernel)

    def errors_of_fold(A, targets, w):
        return naive.ridge_loo_errors(A, targets, alphas, s2=s2, weights=w)

    expected = np.full_like(out, np.nan)
    for c, members in enumerate(SPHERES):
        for fold in np.unique(problems.fold) if len(members) else []:
            # The targets of a fold share one alpha.
            train, test = folds.train[fold], folds.test[fold]
            q = np.flatnonzero(problems.fold == fold)
            T, w = problems.targets[problems.target[q]][:, train].T, 1.0 / problems.ridge[q[0], train]
            A = seen[np.ix_(train, members)]
            best = alphas[int(errors_of_fold(A, T, w).argmin())]
            F = naive.ridge(A, T, seen[np.ix_(test, members)], s2=s2, weights=w, alpha=best)
            expected[c, problems.out_ptr[q[0]] : problems.out_ptr[q[-1] + 1]] = F.T.ravel()
    np.testing.assert_array_equal(status, np.where(EMPTY, -1, 0))
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-10)


every_linear_kernel = pytest.mark.parametrize(
    "kernel",
    [svm.svc_squared_hinge, ridge.ridge, ridge_held_out.ridge_held_out],
    ids=["squared hinge", "ridge", "ridge by blocks"],
)


@every_linear_kernel
def test_small_spheres_are_left_out(kernel):
    X, _ = make_data(N_SAMPLES, 24)
    problems, _ = classification_problems(LABELS["two classes"], APART, None)
    arguments = [svc_groups(problems)] if kernel is svm.svc_squared_hinge else [sample_groups(problems), np.ones(1)]
    out, status = launch(kernel, X, problems, 1.0, "gram", *arguments, min_voxels=5)
    np.testing.assert_array_equal(status, [-1 if len(members) < 5 else 0 for members in SPHERES])
    np.testing.assert_array_equal(np.isnan(out).all(axis=1), status != 0)


@pytest.mark.parametrize("folds", [RUNS, APART], ids=["runs", "other folds"])
@pytest.mark.parametrize("labels", LABELS)
def test_empty_voxels_say_nothing(folds, labels):
    """Where voxels are 0 nothing is known: without an intercept values are 0, not rounding, whose sign is a class."""
    X, _ = make_data(N_SAMPLES, 24)
    problems, _ = classification_problems(LABELS[labels], folds, None)
    for kernel in (ridge.ridge, ridge_held_out.ridge_held_out):
        out, _ = launch_ridge(np.zeros_like(X), problems, 0.0, "gram", [0.7], kernel)
        np.testing.assert_array_equal(out[~np.array(EMPTY)], 0)


@pytest.mark.parametrize("labels", LABELS)
def test_empty_voxels_leave_the_intercept(labels):
    """The mean of the targets; where classes are balanced it is 0, whose rounding would be a class."""
    X, _ = make_data(N_SAMPLES, 24)
    problems, _ = classification_problems(LABELS[labels], RUNS, None)
    out, _ = launch_ridge(np.zeros_like(X), problems, np.inf, "gram", [0.7], ridge_held_out.ridge_held_out)
    for q, fold in enumerate(problems.fold):
        mean = problems.targets[problems.target[q]][problems.train[fold]].mean()
        found = out[~np.array(EMPTY), problems.out_ptr[q] : problems.out_ptr[q + 1]]
        np.testing.assert_allclose(found, mean, rtol=1e-14, atol=0)


def test_blocks_of_the_inverse_are_used_where_they_are_enough():
    def chosen(y, folds, estimator):
        plan = find_decoder(estimator, folds)[0](estimator, np.asarray(y), folds)
        return inspect.getclosurevars(plan.run).nonlocals["kernel"] is ridge_held_out.ridge_held_out

    y = np.arange(60) % 2
    runs = draw_folds(KFold(6), y)
    assert chosen(y, runs, RidgeClassifier())
    assert chosen(y.astype(float), runs, Ridge())
    assert chosen(y, draw_folds(KFold(2), y), RidgeClassifier())
    assert chosen(y, draw_folds([*KFold(2).split(y), (np.arange(0, 60, 2), np.arange(6))], y), RidgeClassifier())
    assert not chosen(y, runs, RidgeClassifierCV())
    assert not chosen(y, draw_folds(KFold(60), y), RidgeClassifier()), "sixty solutions take more than the inverse"
    assert not chosen(np.arange(60) % 9, runs, RidgeClassifier()), "and so do those of nine classes in six folds"
    assert not chosen(y, draw_folds([(np.arange(40), np.arange(30, 60))], y), RidgeClassifier()), "tests what it trains"


@both_forms
@pytest.mark.parametrize(
    ("alphas", "kernel"),
    [([-1e3], ridge.ridge), ([1.0, -1e3], ridge.ridge), ([-1e3], ridge_held_out.ridge_held_out)],
)
def test_a_ridge_without_a_solution_is_not_a_number(form, alphas, kernel):
    X, _ = make_data(N_SAMPLES, 24)
    problems, _ = classification_problems(LABELS["two classes"], RUNS, None)
    out, status = launch_ridge(X, problems, 0.0, form, alphas, kernel)
    np.testing.assert_array_equal(status, np.where(EMPTY, -1, 1))
    assert np.isnan(out).all()


@every_linear_kernel
def test_a_sphere_without_a_solution_is_not_a_number(kernel):
    X, _ = make_data(N_SAMPLES, 24)
    problems, _ = classification_problems(LABELS["two classes"], APART, None)
    problems = problems._replace(ridge=-1e3 * problems.ridge)
    arguments = [svc_groups(problems)] if kernel is svm.svc_squared_hinge else [sample_groups(problems), np.ones(1)]
    out, status = launch(kernel, X, problems, 1.0, "gram", *arguments)
    np.testing.assert_array_equal(status, np.where(EMPTY, -1, 1))
    assert np.isnan(out).all()


def test_rows_are_copied_and_added():
    A, B = np.random.default_rng(0).standard_normal((2, 3, 5))
    row, before = A[1].copy(), B.copy()
    rows.copy_row(A[1, 2:], B[0, :3])
    rows.add(-2.0, A[1], B[2])
    np.testing.assert_array_equal(B[0], [*row[2:], *before[0, 3:]])
    np.testing.assert_array_equal(B[2], before[2] - 2.0 * row)
    np.testing.assert_array_equal(B[1], before[1])
