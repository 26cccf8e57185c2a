"""Gram products, Cholesky factors and inverses of matrices of the order of a few hundred samples.

A factor, the solution of R' X = I and the product of that solution with itself are, row of tiles after row of tiles,
sums of outer products of rows above: one tile serves all. Nothing but the upper triangle is read or written, as
numpy sees it: C order. What is larger is left to the library, whose preparations then pay.

A factor of order 120 takes 14 us where OpenBLAS takes 34, the inverse from it 26 and 55; ``bench/matrices.py`` measures
them, and docs/performance.md has its table.
"""

import numpy as np
from numba.core.registry import cpu_target
from numba.extending import overload
from numba.np.numpy_support import carray

from fastsl._kernels import lapack
from fastsl._kernels.named import named
from fastsl._kernels.tiles import ROWS, add_tile, solve_row_back, solve_tile, solve_tile_back, subtract_corner
from fastsl._kernels.vectors import WIDTH
from fastsl._runtime.jit import inlined


def _fuses() -> bool:
    """Whether Numba compiles for a processor that fuses multiplication and addition, of four numbers or more.

    For others (``NUMBA_CPU_NAME=generic``) a tile is more numbers than there are registers: RidgeClassifier 340 us a
    sphere, with the library's products 273, although that was held to the same instructions.
    """
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return not triple.startswith(("x86", "i686")) or "+fma" in features.split(",")


#: Largest orders that tiles are used for: Gram products, factors and systems with them, inverses.
MULTIPLIED, FACTORED, INVERTED = (400, 480, 300) if _fuses() else (0, 0, 0)
#: Rows of as many numbers as these fall on the same places of a cache: the first from an order of 240 on (a Gram
#: product of order 320 takes 697 us, the library's 574), the second always (a factor of order 427 in rows of 512
#: 3.1 ms, the library's 0.9).
_BAD, _WORST, _SMALL = 64, 512, 240
#: Rows of B that are added up before the next ones: so many stay in a cache (32 of them 93 us, 64 83, 128 86).
_DEPTH = 64


@inlined
def by_tiles(order, largest, row):
    """Whether tiles are used for a matrix of this order that has so many numbers from row to row."""
    return ROWS <= order <= largest and row % _WORST > 0 and (order <= _SMALL or row % _BAD > 0)


def syrk(B, K):
    """Upper triangle of ``K = B.T @ B`` for ``B`` of shape (n_voxels, n), both float64 without gaps."""
    return lapack.syrk(B, K)


@overload(syrk)
def _syrk_compiled(B, K):
    def implementation(B, K):
        _gram((B, B.shape[0], K, K, K.shape[0], 1))

    return implementation


def add_syrk(B, K):
    """Add ``B.T @ B`` to the upper triangle of ``K``, for ``B`` of shape (n_voxels, n), both float64 without gaps."""
    return lapack.add_syrk(B, K)


@overload(add_syrk)
def _add_syrk_compiled(B, K):
    def implementation(B, K):
        _gram((B, B.shape[0], K, K, K.shape[0], 0))

    return implementation


def syrk_onto(A, B, K):
    """Upper triangle of ``K = A + B.T @ B`` for ``B`` of shape (n_voxels, n), all float64 without gaps.

    Where tiles read it, A takes no time; a copy of order 120 took 7 us.
    """
    K[:] = A
    return lapack.add_syrk(B, K)


@overload(syrk_onto)
def _syrk_onto_compiled(A, B, K):
    def implementation(A, B, K):
        _gram((B, B.shape[0], A, K, K.shape[0], 0))

    return implementation


@named(syrk, add_syrk, syrk_onto)
def _gram(B, p: int, A, K, n: int, fresh: int):
    B, A, K = carray(B, (p, n)), carray(A, (n, n)), carray(K, (n, n))
    if by_tiles(n, MULTIPLIED, n):
        gram(A, B, K, fresh != 0)
    elif fresh != 0:
        lapack.syrk(B, K)
    else:
        for i in range(n):
            for j in range(i, n):
                K[i, j] = A[i, j]
        if p > 0:
            lapack.add_syrk(B, K)
    return 0


@inlined
def gram(A, B, K, fresh):
    """Upper triangle of ``K = A + B.T @ B``, of order 4 or more, without A where it is ``fresh``."""
    p, n = B.shape
    for first in range(0, max(p, 1), _DEPTH):
        stop, source, begin = min(p, first + _DEPTH), (A if first == 0 else K), fresh and first == 0
        for i in range(0, n - ROWS + 1, ROWS):
            for j in range(i, n, WIDTH):
                add_tile(B, source, K, i, j, first, stop, 0, n, begin)
        if n % ROWS > 0:
            add_tile(B, source, K, n - ROWS, n - ROWS, first, stop, n - n % ROWS, n, begin)


def cholesky(A, m):
    """``A = R.T @ R``, R upper, of the leading ``m x m`` block in place: more than 0 if not positive definite."""
    return cholesky_beside(A, m, m)


def cholesky_beside(A, m, end):
    """As :func:`cholesky`, and columns m to ``end``, B, become the solution Y of ``R.T @ Y = B``.

    The factor takes them along as if they were its own: two of them add 1 us to the 11 of order 100.
    """
    code = lapack.cholesky(A, m)
    if code == 0 and end > m:
        lapack.solve_beside(A, m, end)
    return code


@overload(cholesky)
def _cholesky_compiled(A, m):
    def implementation(A, m):
        return _cholesky((A, A.shape[0], A.shape[1], m, m))

    return implementation


@overload(cholesky_beside)
def _cholesky_beside_compiled(A, m, end):
    def implementation(A, m, end):
        return _cholesky((A, A.shape[0], A.shape[1], m, end))

    return implementation


@named(cholesky, cholesky_beside)
def _cholesky(A, n_rows: int, n_columns: int, m: int, end: int):
    A = carray(A, (n_rows, n_columns))
    if m < ROWS or by_tiles(m, FACTORED, n_columns):
        return factor(A, m, end)
    code = lapack.cholesky(A, m)
    # OpenBLAS takes NaN for a pivot; it is in all that follow.
    if code == 0 and m > 0 and not A[m - 1, m - 1] > 0.0:
        return 1
    if code == 0 and end > m:
        lapack.solve_beside(A, m, end)
    return code


@inlined
def factor(A, m, end):
    """As :func:`cholesky_beside`, a row of tiles after the other."""
    last = m - m % ROWS
    for i in range(0, last, ROWS):
        subtract_corner(A, i, i, 0)
        if not _factor_corner(A, i, i + ROWS):
            return 1
        d = _inverse_diagonal(A, i)
        for j in range(i + ROWS, end, WIDTH):
            solve_tile(A, A, i, j, 0, end, d)
    if last < m:
        if last > 0:
            subtract_corner(A, m - ROWS, last, last)
        if not _factor_corner(A, last, m):
            return 1
        _solve_rows(A, A, last, m, m, end)
    return 0


@inlined
def _factor_corner(A, i, stop):
    for k in range(i, stop):
        for r in range(k, stop):
            for q in range(i, k):
                A[k, r] -= A[q, k] * A[q, r]
            if r == k:
                if not A[k, k] > 0.0:
                    return False
                A[k, k] = np.sqrt(A[k, k])
            else:
                A[k, r] /= A[k, k]
    return True


@inlined
def _solve_rows(R, X, first, stop, j, end):
    """Rows ``first`` to ``stop`` of ``R.T @ X = B`` from those above, in place of B, in columns j to ``end``."""
    for k in range(first, stop):
        for c in range(j, end):
            for q in range(k):
                X[k, c] -= R[q, k] * X[q, c]
            X[k, c] /= R[k, k]


@inlined
def _room(m):
    """For W, in a kernel: out of memory is an error there, and none in a routine."""
    return np.empty((m, m) if m <= INVERTED else (0, 0))


@inlined
def _inverse_diagonal(R, i):
    return 1.0 / R[i, i], 1.0 / R[i + 1, i + 1], 1.0 / R[i + 2, i + 2], 1.0 / R[i + 3, i + 3]


def cholesky_solve(R, m, rows, n_rows):
    """Solve ``R.T @ R @ x = b`` in place for the first ``n_rows`` rows of ``rows``, of m entries; none has gaps."""
    lapack.cholesky_solve(R, m, rows, n_rows)


@overload(cholesky_solve)
def _cholesky_solve_compiled(R, m, rows, n_rows):
    def implementation(R, m, rows, n_rows):
        X = np.empty((m, WIDTH))
        _cholesky_solve((R, R.shape[0], R.shape[1], m, rows, rows.shape[0], rows.shape[1], n_rows, X))

    return implementation


@named(cholesky_solve)
def _cholesky_solve(R, height: int, width: int, m: int, rows, n: int, length: int, n_rows: int, X):
    R, rows, X = carray(R, (height, width)), carray(rows, (n, length)), carray(X, (m, WIDTH))
    if m < ROWS or by_tiles(m, FACTORED, width):
        solve_factored(R, m, rows, n_rows, X)
    else:
        lapack.cholesky_solve(R, m, rows, n_rows)
    return 0


@inlined
def solve_factored(R, m, rows, n_rows, X):
    """As :func:`cholesky_solve`, for as many rows at a time as a tile has columns; X (m, 8) is work space."""
    start = m % ROWS
    for first in range(0, n_rows, WIDTH):
        width = min(WIDTH, n_rows - first)
        for i in range(m):
            for t in range(WIDTH):
                X[i, t] = rows[first + t, i] if t < width else 0.0
        _solve_rows(R, X, 0, start, 0, width)
        for i in range(start, m, ROWS):
            solve_tile(R, X, i, 0, 0, WIDTH, _inverse_diagonal(R, i))
        for i in range(m - ROWS, start - 1, -ROWS):
            solve_tile_back(R, X, i, m, _inverse_diagonal(R, i))
        for i in range(start - 1, -1, -1):
            for t in range(width):
                for k in range(i + 1, m):
                    X[i, t] -= R[i, k] * X[k, t]
                X[i, t] /= R[i, i]
        for t in range(width):
            for i in range(m):
                rows[first + t, i] = X[i, t]


def solve_triangle(R, m, rows, n_rows):
    """Solve ``R @ x = b`` in place for the first ``n_rows`` rows of ``rows``, of m entries; none has gaps."""
    lapack.solve_triangle(R, m, rows, n_rows)


@overload(solve_triangle)
def _solve_triangle_compiled(R, m, rows, n_rows):
    def implementation(R, m, rows, n_rows):
        _solve_triangle((R, R.shape[0], R.shape[1], m, rows, rows.shape[0], rows.shape[1], n_rows))

    return implementation


@named(solve_triangle)
def _solve_triangle(R, height: int, width: int, m: int, rows, n: int, length: int, n_rows: int):
    R, rows = carray(R, (height, width)), carray(rows, (n, length))
    if m < ROWS or by_tiles(m, FACTORED, width):
        for t in range(n_rows):
            solve_row(R, m, rows[t])
    else:
        lapack.solve_triangle(R, m, rows, n_rows)
    return 0


@inlined
def solve_row(R, m, x):
    """Solve ``R @ x = b`` in place, four numbers at a time from the last."""
    start = m % ROWS
    for i in range(m - ROWS, start - 1, -ROWS):
        solve_row_back(R, x, i, m, _inverse_diagonal(R, i))
    for i in range(start - 1, -1, -1):
        for k in range(i + 1, m):
            x[i] -= R[i, k] * x[k]
        x[i] /= R[i, i]


@inlined
def _inverse_transposed(R, m, W):
    """W = R'^-1 (m, m), lower, m >= 4, with zeros right of the diagonal as far as a tile reads."""
    for row in range(0, m, ROWS):
        i = min(row, m - ROWS)  # so that the last rows are whole, and some are made again
        for r in range(i, i + ROWS):
            for c in range(min(m, i + ROWS + WIDTH)):
                W[r, c] = 0.0
            W[r, r] = 1.0
        d = _inverse_diagonal(R, i)
        for j in range(0, i + ROWS, WIDTH):
            solve_tile(R, W, i, j, j, m, d)


def invert_triangle(R, m):
    """Inverse of the leading ``m x m`` upper triangle, in its place. R has no gaps."""
    return lapack.invert_triangle(R, m)


@overload(invert_triangle)
def _invert_triangle_compiled(R, m):
    def implementation(R, m):
        W = _room(m)
        _invert_triangle((R, R.shape[0], R.shape[1], m, W))

    return implementation


@named(invert_triangle)
def _invert_triangle(R, n_rows: int, n_columns: int, m: int, W):
    R, W = carray(R, (n_rows, n_columns)), carray(W, (m, m))
    if by_tiles(m, INVERTED, n_columns):
        invert_factor(R, m, W)
    else:
        lapack.invert_triangle(R, m)
    return 0


@inlined
def invert_factor(R, m, W):
    """As :func:`invert_triangle`, m >= 4, by tiles; W (m, m) is work space."""
    _inverse_transposed(R, m, W)
    for i in range(m):
        for j in range(i, m):
            R[i, j] = W[j, i]


def invert_transposed(R, m, W):
    """W (m, m) = R'^-1, lower; above its diagonal W has no meaning. R has no gaps, and is lost."""
    lapack.invert_triangle(R, m)
    W[:] = R[:m, :m].T


@overload(invert_transposed)
def _invert_transposed_compiled(R, m, W):
    def implementation(R, m, W):
        _invert_transposed((R, R.shape[0], R.shape[1], m, W))

    return implementation


@named(invert_transposed)
def _invert_transposed(R, n_rows: int, n_columns: int, m: int, W):
    R, W = carray(R, (n_rows, n_columns)), carray(W, (m, m))
    if by_tiles(m, INVERTED, n_columns):
        _inverse_transposed(R, m, W)
    else:
        lapack.invert_triangle(R, m)
        for i in range(m):
            for j in range(i + 1):
                W[i, j] = R[j, i]
    return 0


def cholesky_inverse(R, m):
    """Upper triangle of ``inv(R.T @ R)`` in place of the leading ``m x m`` block of R, which has no gaps."""
    return lapack.cholesky_inverse(R, m)


@overload(cholesky_inverse)
def _cholesky_inverse_compiled(R, m):
    def implementation(R, m):
        W = _room(m)
        _cholesky_inverse((R, R.shape[0], R.shape[1], m, W))

    return implementation


@named(cholesky_inverse)
def _cholesky_inverse(R, n_rows: int, n_columns: int, m: int, W):
    R, W = carray(R, (n_rows, n_columns)), carray(W, (m, m))
    if by_tiles(m, INVERTED, n_columns):
        inverse_of_factored(R, m, W)
    else:
        lapack.cholesky_inverse(R, m)
    return 0


@inlined
def inverse_of_factored(R, m, W):
    """As :func:`cholesky_inverse`, m >= 4: W' W of W = R'^-1, for which there is room (m, m)."""
    _inverse_transposed(R, m, W)
    for i in range(0, m - ROWS + 1, ROWS):
        for j in range(i, m, WIDTH):
            add_tile(W, R, R, i, j, j, m, 0, m, True)
    if m % ROWS > 0:
        add_tile(W, R, R, m - ROWS, m - ROWS, m - ROWS, m, m - m % ROWS, m, True)
