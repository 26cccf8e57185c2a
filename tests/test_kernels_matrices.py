"""Matrices by tiles, against numpy, and by the library where they are large."""

import os
import platform
import subprocess
import sys

import numba as nb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsl._kernels import lapack, matrices, named
from fastsl._kernels.bayes import naive_bayes
from fastsl._kernels.ridge import ridge
from fastsl._kernels.ridge_held_out import ridge_held_out
from fastsl._kernels.svm import squared_hinge_any, squared_hinge_gram
from fastsl._runtime.jit import helper

JUNK = -99.0


def positive_definite(n, seed=0):
    B = np.random.default_rng(seed).standard_normal((2 * n, n))
    return B.T @ B + np.eye(n)


def with_junk(P, size):
    """P as the upper triangle of the leading block of a larger matrix, junk elsewhere; and where that is."""
    A, m = np.full((size, size), JUNK), len(P)
    rows, columns = np.triu_indices(m)
    A[rows, columns] = P[rows, columns]
    elsewhere = np.ones(A.shape, bool)
    elsewhere[rows, columns] = False
    return A, elsewhere


@nb.njit
def _syrk(B, K):
    matrices.syrk(B, K)


@nb.njit
def _add_syrk(B, K):
    matrices.add_syrk(B, K)


@nb.njit
def _syrk_onto(A, B, K):
    matrices.syrk_onto(A, B, K)


@nb.njit
def _cholesky(A, m):
    return matrices.cholesky(A, m)


@nb.njit
def _cholesky_beside(A, m, end):
    return matrices.cholesky_beside(A, m, end)


@nb.njit
def _solve_triangle(R, m, rows, n_rows):
    matrices.solve_triangle(R, m, rows, n_rows)


@nb.njit
def _invert_triangle(R, m):
    matrices.invert_triangle(R, m)


@nb.njit
def _invert_transposed(R, m, W):
    matrices.invert_transposed(R, m, W)


@nb.njit
def _cholesky_inverse(R, m):
    matrices.cholesky_inverse(R, m)


@nb.njit
def _gram(B, K, fresh):
    matrices.gram(K, B, K, fresh)


@nb.njit
def _factor(A, m):
    return matrices.factor(A, m, m)


@nb.njit
def _invert_factor(R, m):
    matrices.invert_factor(R, m, np.empty((m, m)))


@nb.njit
def _inverse_of_factored(R, m):
    matrices.inverse_of_factored(R, m, np.empty((m, m)))


@nb.njit
def _cholesky_solve(R, m, rows, n_rows):
    matrices.cholesky_solve(R, m, rows, n_rows)


@nb.njit
def _solve_factored(R, m, rows, n_rows):
    matrices.solve_factored(R, m, rows, n_rows, np.empty((m, 8)))


ORDERS = [4, 5, 7, 8, 11, 12, 13, 19, 33, 42, 64, 101]
#: Those too that tiles are too large for, and one that is left to the library.
ALL_ORDERS = [0, 1, 2, 3, *ORDERS, 481]


@pytest.mark.parametrize("n", ORDERS)
@pytest.mark.parametrize("p", [0, 1, 63, 64, 65, 130])
@pytest.mark.parametrize("fresh", [True, False])
def test_gram_products_fill_the_upper_triangle(n, p, fresh):
    rng = np.random.default_rng(n)
    B, K = rng.standard_normal((p, n)), rng.standard_normal((n, n))
    if fresh:
        K[np.triu_indices(n)] = np.nan  # never read
    before = K.copy()
    _gram(B, K, fresh)
    expected = np.triu(B.T @ B) + (0 if fresh else np.triu(before))
    np.testing.assert_allclose(np.triu(K), expected, rtol=1e-13, atol=1e-12)
    np.testing.assert_array_equal(np.tril(K, -1), np.tril(before, -1))


@pytest.mark.parametrize("m", ORDERS)
@pytest.mark.parametrize("more", [0, 3])
def test_factors_and_inverses_stay_within_their_triangle(m, more):
    P = positive_definite(m, seed=m)
    R = np.linalg.cholesky(P).T
    expected = {
        _factor: (P, R),
        _invert_factor: (R, np.linalg.inv(R)),
        _inverse_of_factored: (R, np.linalg.inv(P)),
    }
    for call, (given_, wanted) in expected.items():
        A, elsewhere = with_junk(given_, m + more)
        assert not call(A, m)
        np.testing.assert_allclose(np.triu(A[:m, :m]), np.triu(wanted), rtol=1e-11, atol=1e-11)
        np.testing.assert_array_equal(A[elsewhere], JUNK)


@pytest.mark.parametrize("m", ORDERS)
@pytest.mark.parametrize("n_rows", [0, 1, 2, 7, 8, 9, 20])
@pytest.mark.parametrize("call", [_solve_factored, _cholesky_solve], ids=["tiles", "by order"])
def test_systems_of_a_leading_block_are_solved_in_their_rows(call, m, n_rows):
    P = positive_definite(m, seed=m)
    R, _ = with_junk(np.linalg.cholesky(P).T, m + 2)
    rows = np.random.default_rng(1).standard_normal((n_rows + 1, m + 3))
    before, factor = rows.copy(), R.copy()
    call(R, m, rows, n_rows)
    np.testing.assert_allclose(rows[:n_rows, :m] @ P, before[:n_rows, :m], rtol=0, atol=1e-11)
    np.testing.assert_array_equal(rows[n_rows:], before[n_rows:])
    np.testing.assert_array_equal(rows[:, m:], before[:, m:])
    np.testing.assert_array_equal(R, factor)


@pytest.mark.parametrize("m", ALL_ORDERS)
@pytest.mark.parametrize("n_rows", [0, 1, 2, 9])
def test_a_triangle_is_solved_alone(m, n_rows):
    R, _ = with_junk(np.linalg.cholesky(positive_definite(m, seed=m)).T, m + 2)
    rows = np.random.default_rng(1).standard_normal((n_rows + 1, m + 3))
    before, factor = rows.copy(), R.copy()
    _solve_triangle(R, m, rows, n_rows)
    np.testing.assert_allclose(rows[:n_rows, :m] @ np.triu(R[:m, :m]).T, before[:n_rows, :m], rtol=0, atol=1e-11)
    np.testing.assert_array_equal(rows[n_rows:], before[n_rows:])
    np.testing.assert_array_equal(rows[:, m:], before[:, m:])
    np.testing.assert_array_equal(R, factor)


@pytest.mark.parametrize("m", ALL_ORDERS)
@pytest.mark.parametrize("width", [0, 1, 2, 5, 9])
def test_a_factor_takes_along_what_stands_beside_it(m, width):
    P, B = positive_definite(m, seed=m), np.random.default_rng(2).standard_normal((m, width))
    A, elsewhere = with_junk(P, m + width + 1)
    A[:m, m : m + width] = B
    elsewhere[:m, m : m + width] = False
    alone, _ = with_junk(P, m + width + 1)
    assert _cholesky_beside(A, m, m + width) == 0
    assert _cholesky(alone, m) == 0
    R = np.triu(A[:m, :m])
    np.testing.assert_array_equal(R, np.triu(alone[:m, :m]))
    np.testing.assert_allclose(R.T @ R, P, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(R.T @ A[:m, m : m + width], B, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(A[elsewhere], JUNK)


def test_a_system_does_not_notice_those_beside_it():
    R = np.linalg.cholesky(positive_definite(21)).T.copy()
    rows = np.random.default_rng(2).standard_normal((11, 21))
    rows[3] = np.nan
    together = rows.copy()
    _solve_factored(R, 21, together, 11)
    for row, solved in zip(rows, together, strict=True):
        alone = row[None].copy()
        _solve_factored(R, 21, alone, 1)
        np.testing.assert_array_equal(alone[0], solved)


NO_MEMORY = """
import resource
import numba, numpy as np
from fastsl._kernels import matrices

@numba.njit
def invert(R, m):
    matrices.cholesky_inverse(R, m)

R = 2.0 * np.eye(240)
invert(R.copy(), 240)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
hold = [np.empty(400_000 // 8) for _ in range(200)]  # what malloc has at hand
resource.setrlimit(resource.RLIMIT_AS, (used, used))
try:
    while True:
        hold.append(np.empty(400_000 // 8))
except MemoryError:
    pass
try:
    invert(R, 240)
except MemoryError:
    print("no memory")
else:
    print(R[0, 0])
"""


@pytest.mark.skipif(
    sys.platform != "linux" or nb.config.DISABLE_JIT or matrices.INVERTED == 0, reason="limits memory of compiled code"
)
def test_no_memory_for_an_inverse_is_an_error():
    said = subprocess.run([sys.executable, "-c", NO_MEMORY], capture_output=True, text=True)
    assert said.stdout.strip() == "no memory", said.stderr


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6, 9, 12, 15])
@pytest.mark.parametrize("pivot", [0.0, -1.0, np.nan])
def test_any_pivot_that_is_not_positive_has_a_status(m, pivot):
    for k in range(m):
        P = np.eye(m)
        P[k, k] = pivot
        assert _factor(P.copy(), m) != 0
        assert _cholesky(P, m) != 0


@pytest.mark.parametrize("pivot", [5e-324, 1e-309])
def test_the_smallest_pivots_are_pivots(pivot):
    for k in range(6):
        P = np.eye(6)
        P[k, k] = pivot
        assert _factor(P, 6) == 0
        np.testing.assert_allclose(P[k, k], np.sqrt(pivot))


@pytest.mark.parametrize("n", [1, 3, 4, 10, 240, 255, 256, 301, 401])
def test_all_orders_have_a_way(n):
    rng = np.random.default_rng(n)
    B, P = rng.standard_normal((3, n)), positive_definite(n)
    K = np.full((n, n), JUNK)
    _syrk(B, K)
    np.testing.assert_allclose(np.triu(K), np.triu(B.T @ B), rtol=1e-13, atol=1e-12)
    _add_syrk(B, K)
    np.testing.assert_allclose(np.triu(K), np.triu(2 * B.T @ B), rtol=1e-13, atol=1e-12)
    onto, before = np.full((n, n), JUNK), K.copy()
    _syrk_onto(K, B, onto)
    np.testing.assert_allclose(np.triu(onto), np.triu(3 * B.T @ B), rtol=1e-13, atol=1e-12)
    np.testing.assert_array_equal(K, before)
    _syrk_onto(K, B[:0], onto)
    np.testing.assert_array_equal(np.triu(onto), np.triu(K))
    A, elsewhere = with_junk(P, n + 1)
    assert _cholesky(A, n) == 0
    R = np.triu(A[:n, :n])
    np.testing.assert_allclose(R.T @ R, P, rtol=1e-12, atol=1e-11)
    U = A.copy()
    _invert_triangle(U, n)
    np.testing.assert_allclose(np.triu(U[:n, :n]) @ R, np.eye(n), rtol=0, atol=1e-11)
    lost, W = A.copy(), np.full((n, n), JUNK)
    _invert_transposed(lost, n, W)
    np.testing.assert_allclose(R.T @ np.tril(W), np.eye(n), rtol=0, atol=1e-11)
    np.testing.assert_array_equal(lost[elsewhere], JUNK)
    _cholesky_inverse(A, n)
    inverse = np.triu(A[:n, :n]) + np.triu(A[:n, :n], 1).T
    np.testing.assert_allclose(inverse @ P, np.eye(n), rtol=0, atol=1e-10)
    np.testing.assert_array_equal(A[elsewhere], JUNK)
    np.testing.assert_array_equal(U[elsewhere], JUNK)


@settings(deadline=None)
@given(st.integers(4, 60), st.floats(0, 12), st.integers(0, 10**6))
def test_factors_are_as_exact_as_those_of_the_library(n, digits, seed):
    """|R' R - A| is within n eps |A| for any conditioning (Higham, Accuracy and Stability, theorem 10.3)."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    P = (Q * 10 ** -np.linspace(0, digits, n)) @ Q.T
    A = P.copy()
    assert _factor(A, n) == 0
    R = np.triu(A)
    assert np.abs(R.T @ R - (P + P.T) / 2).max() <= 4 * n * np.finfo(float).eps * np.abs(P).max()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="others all have them")
def test_a_processor_without_fused_products_is_left_to_the_library():
    code = "from fastsl._kernels import matrices; print(matrices.by_tiles(100, matrices.FACTORED, 100))"
    said = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **chosen}, capture_output=True, text=True)
        for chosen in ({"NUMBA_CPU_NAME": "generic"}, {"NUMBA_CPU_FEATURES": "+fma,+avx2"})
    ]
    assert [each.stdout.strip() for each in said] == ["False", "True"], said[0].stderr


# Routines by name


@helper
def _deep(A):
    return matrices.cholesky(A, len(A)) + lapack.cholesky(A, 1)


def _deeper(A):
    return _deep(A)


def test_what_a_kernel_needs_is_found_behind_what_it_calls():
    assert named.needed(_deeper) == {"fastsl_cholesky"}
    assert named.needed(naive_bayes.__wrapped__) == set()
    shared = {"fastsl_gram", "fastsl_cholesky", "fastsl_cholesky_solve"}
    assert named.needed(squared_hinge_any.__wrapped__) == {*shared, "fastsl_cholesky_inverse"}
    assert named.needed(squared_hinge_gram.__wrapped__) == {*shared, "fastsl_cholesky_inverse"}
    blocks = {"fastsl_invert_transposed", "fastsl_invert_triangle"}
    assert named.needed(ridge_held_out.__wrapped__) == {*shared, *blocks}
    assert named.needed(ridge.__wrapped__) == {*shared, "fastsl_cholesky_inverse", "fastsl_invert_triangle"}
