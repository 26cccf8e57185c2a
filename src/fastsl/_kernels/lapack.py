"""BLAS and LAPACK routines of scipy's own OpenBLAS, callable inside compiled kernels.

Numba refuses to cache code that holds a function pointer, so the addresses that scipy exports are
registered with LLVM under names of our own: compiled code then refers to a *symbol*, which every
process resolves anew when it loads the cached kernel. Calls take row-major arrays; LAPACK is column-major, so
"upper" in a comment here means the upper triangle as numpy sees it (LAPACK's lower).

Without JIT (``NUMBA_DISABLE_JIT=1``) the plain numpy definitions below run instead; they are also the statement
of what each routine does.

Small matrices are not for these: :mod:`fastsl._kernels.matrices` stands before them.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import get_cython_function_address, intrinsic, overload

from fastsl._runtime.jit import helper

_LOWER, _NO_TRANSPOSE, _TRANSPOSE, _THIN, _VECTORS = ord("L"), ord("N"), ord("T"), ord("S"), ord("V")
_LEFT, _RIGHT, _NOT_UNIT = ord("L"), ord("R"), ord("N")
_POINTEE = {"c": ir.IntType(8), "i": ir.IntType(32)}
#: Triangles up to this order are inverted by LAPACK.
_LEAF = 15


def _fortran(module, name, spec):
    """Make ``name`` of ``scipy.linalg.<module>`` callable in a kernel with one tuple of arguments.

    ``spec`` has one letter an argument: c character code, i int32, d float64, a array. Fortran takes
    everything by address, so scalars are spilled to the stack. The last ``i`` of a LAPACK spec is ``info``, which
    the call returns; for BLAS (void) it returns 0.
    """
    symbol = f"fastsl_{name}"
    llvm.add_symbol(symbol, get_cython_function_address(f"scipy.linalg.{module}", name))
    has_info = module == "cython_lapack"

    @intrinsic
    def call(typing_context, arguments):
        if len(arguments) != len(spec):
            return None

        def codegen(context, builder, signature, args):
            void_pointer = cgutils.voidptr_t
            pointers = []
            for i, (letter, kind) in enumerate(zip(spec, arguments, strict=True)):
                value = builder.extract_value(args[0], i)
                if letter == "a":
                    slot = context.make_array(kind)(context, builder, value).data
                elif letter == "c":
                    slot = cgutils.alloca_once_value(builder, builder.trunc(value, _POINTEE["c"]))
                else:
                    target = {"i": types.int32, "d": types.float64}[letter]
                    slot = cgutils.alloca_once_value(builder, context.cast(builder, value, kind, target))
                pointers.append(builder.bitcast(slot, void_pointer))
            if has_info:
                info = cgutils.alloca_once_value(builder, ir.Constant(_POINTEE["i"], 0))
                pointers.append(builder.bitcast(info, void_pointer))
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [void_pointer] * len(pointers)),
                symbol,
            )
            builder.call(function, pointers)
            return builder.load(info) if has_info else ir.Constant(_POINTEE["i"], 0)

        return types.int32(arguments), codegen

    return call


_dsyrk = _fortran("cython_blas", "dsyrk", "cciidaidai")
_dgemm = _fortran("cython_blas", "dgemm", "cciiidaiaidai")
_dsymv = _fortran("cython_blas", "dsymv", "cidaiaidai")
_dtrmm = _fortran("cython_blas", "dtrmm", "cccciidaiai")
_dtrsm = _fortran("cython_blas", "dtrsm", "cccciidaiai")
_dpotrf = _fortran("cython_lapack", "dpotrf", "ciai")
_dpstrf = _fortran("cython_lapack", "dpstrf", "ciaiaada")
_dpotrs = _fortran("cython_lapack", "dpotrs", "ciiaiai")
_dgesdd = _fortran("cython_lapack", "dgesdd", "ciiaiaaiaiaia")
_dsyevd = _fortran("cython_lapack", "dsyevd", "cciaiaaiai")
_dtrtri = _fortran("cython_lapack", "dtrtri", "cciai")
_dlauum = _fortran("cython_lapack", "dlauum", "ciai")


def syrk(B, K):
    """Upper triangle of ``K = B.T @ B`` for ``B`` of shape (n_voxels, n), both float64."""
    K[:] = B.T @ B


@overload(syrk)
def _syrk_compiled(B, K):
    def implementation(B, K):
        n, p = K.shape[0], B.shape[0]
        _dsyrk((_LOWER, _NO_TRANSPOSE, n, p, 1.0, B, n, 0.0, K, n))

    return implementation


def add_syrk(B, K):
    """Add ``B.T @ B`` to the upper triangle of ``K``, for ``B`` of shape (n_voxels, n), both float64."""
    K += B.T @ B


@overload(add_syrk)
def _add_syrk_compiled(B, K):
    def implementation(B, K):
        n, p = K.shape[0], B.shape[0]
        _dsyrk((_LOWER, _NO_TRANSPOSE, n, p, 1.0, B, n, 1.0, K, n))

    return implementation


def syrk_rows(B, K):
    """Upper triangle of ``K = B @ B.T`` for ``B`` of shape (n, n_voxels), both float64."""
    K[:] = B @ B.T


@overload(syrk_rows)
def _syrk_rows_compiled(B, K):
    def implementation(B, K):
        n, p = B.shape
        _dsyrk((_LOWER, _TRANSPOSE, n, p, 1.0, B, p, 0.0, K, K.shape[1]))

    return implementation


def multiply(A, B, C):
    """``C = A @ B``, all float64 without gaps."""
    C[:] = A @ B


@overload(multiply)
def _multiply_compiled(A, B, C):
    def implementation(A, B, C):
        m, k = A.shape
        n = B.shape[1]
        _dgemm((_NO_TRANSPOSE, _NO_TRANSPOSE, n, m, k, 1.0, B, n, A, k, 0.0, C, n))

    return implementation


def multiply_rows(A, B, C):
    """``A @ B.T`` into the first rows and columns of C, all float64; no row has gaps, but there may be some between."""
    C[: A.shape[0], : B.shape[0]] = A @ B.T


@overload(multiply_rows)
def _multiply_rows_compiled(A, B, C):
    def implementation(A, B, C):
        m, k = A.shape
        n = B.shape[0]
        rows = A.strides[0] // 8, B.strides[0] // 8, C.strides[0] // 8
        _dgemm((_TRANSPOSE, _NO_TRANSPOSE, n, m, k, 1.0, B, rows[1], A, rows[0], 0.0, C, rows[2]))

    return implementation


def subtract_product(B, m, r, A):
    """Upper triangle of ``A[:m, :m] -= B[:r, :m].T @ B[:r, :m]``, in place."""
    rows, columns = np.triu_indices(m)
    A[rows, columns] -= (B[:r, :m].T @ B[:r, :m])[rows, columns]


@overload(subtract_product)
def _subtract_product_compiled(B, m, r, A):
    def implementation(B, m, r, A):
        _dsyrk((_LOWER, _NO_TRANSPOSE, m, r, -1.0, B, B.shape[1], 1.0, A, A.shape[1]))

    return implementation


def multiply_symmetric(A, m, x, y):
    """``y = A[:m, :m] @ x`` from the upper triangle of A."""
    upper = np.triu(A[:m, :m])
    y[:m] = (upper + np.triu(upper, 1).T) @ x[:m]


@overload(multiply_symmetric)
def _multiply_symmetric_compiled(A, m, x, y):
    def implementation(A, m, x, y):
        _dsymv((_LOWER, m, 1.0, A, A.shape[1], x, 1, 0.0, y, 1))

    return implementation


def cholesky(A, m):
    """Factor the leading ``m x m`` block in place: ``A = R.T @ R``, ``R`` upper. Reads and writes the upper triangle.

    Returns 0, or a positive status when the block is not positive definite.
    """
    block = np.triu(A[:m, :m])
    try:
        factor = np.linalg.cholesky(block + np.triu(block, 1).T).T
    except np.linalg.LinAlgError:
        return 1
    if not (factor.diagonal() > 0).all():  # NaN, which numpy hands on
        return 1
    rows, columns = np.triu_indices(m)
    A[rows, columns] = factor[rows, columns]
    return 0


@overload(cholesky)
def _cholesky_compiled(A, m):
    def implementation(A, m):
        return _dpotrf((_LOWER, m, A, A.shape[1]))

    return implementation


def pivoted_cholesky(A, limit, order):
    """``A[order][:, order] = R.T @ R`` in place, from the upper triangle of A, pivots falling; ``order`` is int32.

    Ends with the rank, which it returns, where all that is left of the diagonal is ``limit`` or less. The rows of R
    below that are not defined.
    """
    S = np.triu(A) + np.triu(A, 1).T
    order[:] = np.arange(len(A))
    R, rank = np.zeros_like(S), 0
    while rank < len(A):
        left = S.diagonal()[order[rank:]]
        k = rank + left.argmax()
        if not left.max() > limit:
            break
        order[[rank, k]] = order[[k, rank]]
        R[:, [rank, k]] = R[:, [k, rank]]
        R[rank, rank:] = S[order[rank], order[rank:]] / np.sqrt(left.max())
        S[np.ix_(order[rank:], order[rank:])] -= np.outer(R[rank, rank:], R[rank, rank:])
        rank += 1
    rows, columns = np.triu_indices(len(A))
    A[rows, columns] = R[rows, columns]
    return rank


@overload(pivoted_cholesky)
def _pivoted_cholesky_compiled(A, limit, order):
    def implementation(A, limit, order):
        n, rank = A.shape[0], np.empty(1, np.int32)
        _dpstrf((_LOWER, n, A, n, order, rank, limit, np.empty(2 * n)))
        for i in range(n):
            order[i] -= 1  # LAPACK counts from 1
        return np.int64(rank[0])

    return implementation


def cholesky_solve(R, m, rows, n_rows):
    """Solve ``R.T @ R @ x = b`` in place for the first ``n_rows`` rows of ``rows``, each with m entries."""
    factor = np.triu(R[:m, :m])
    rows[:n_rows, :m] = np.linalg.solve(factor.T @ factor, rows[:n_rows, :m].T).T


@overload(cholesky_solve)
def _cholesky_solve_compiled(R, m, rows, n_rows):
    def implementation(R, m, rows, n_rows):
        _dpotrs((_LOWER, m, n_rows, R, R.shape[1], rows, rows.shape[1]))

    return implementation


def solve_beside(R, m, end):
    """Columns m to ``end`` beside the upper triangle R of order m, B, become the solution Y of ``R.T @ Y = B``."""
    R[:m, m:end] = np.linalg.solve(np.triu(R[:m, :m]).T, R[:m, m:end])


@overload(solve_beside)
def _solve_beside_compiled(R, m, end):
    def implementation(R, m, end):
        n = R.shape[1]
        _dtrsm((_RIGHT, _LOWER, _TRANSPOSE, _NOT_UNIT, end - m, m, 1.0, R, n, R[:, m:], n))

    return implementation


def solve_triangle(R, m, rows, n_rows):
    """Solve ``R @ x = b`` in place for the first ``n_rows`` rows of ``rows``, each with m entries; R is upper."""
    rows[:n_rows, :m] = np.linalg.solve(np.triu(R[:m, :m]), rows[:n_rows, :m].T).T


@overload(solve_triangle)
def _solve_triangle_compiled(R, m, rows, n_rows):
    def implementation(R, m, rows, n_rows):
        _dtrsm((_LEFT, _LOWER, _TRANSPOSE, _NOT_UNIT, m, n_rows, 1.0, R, R.shape[1], rows, rows.shape[1]))

    return implementation


def invert_triangle(R, m):
    """Inverse of the leading ``m x m`` upper triangle, in its place."""
    rows, columns = np.triu_indices(m)
    R[rows, columns] = np.linalg.inv(np.triu(R[:m, :m]))[rows, columns]


@helper
def _invert_by_halves(R, m):
    """[[A, B], [0, C]]^-1 = [[A^-1, -A^-1 B C^-1], [0, C^-1]] from small blocks upwards.

    Order 120, one core: 29 us, where dtrtri takes 84 and dtrsm on the identity 100.
    """
    n, width = R.shape[1], m
    while width > _LEAF:
        width = (width + 1) // 2
    for i in range(0, m, width):
        _dtrtri((_LOWER, _NOT_UNIT, min(width, m - i), R[i:, i:], n))
    while width < m:
        for i in range(0, m - width, 2 * width):
            k = min(width, m - width - i)
            A, B, C = R[i:, i:], R[i:, i + width :], R[i + width :, i + width :]
            # The library sees the transposes, so that what stands left of B stands right.
            _dtrmm((_LEFT, _LOWER, _NO_TRANSPOSE, _NOT_UNIT, k, width, -1.0, C, n, B, n))
            _dtrmm((_RIGHT, _LOWER, _NO_TRANSPOSE, _NOT_UNIT, k, width, 1.0, A, n, B, n))
        width *= 2


@overload(invert_triangle)
def _invert_triangle_compiled(R, m):
    def implementation(R, m):
        _invert_by_halves(R, m)

    return implementation


def multiply_triangle(Y, m, U):
    """``Y[:m] = Y[:m] @ U`` in place, U an upper triangle; no row has gaps."""
    Y[:m] = Y[:m] @ np.triu(U)


@overload(multiply_triangle)
def _multiply_triangle_compiled(Y, m, U):
    def implementation(Y, m, U):
        n = U.shape[0]
        _dtrmm((_LEFT, _LOWER, _NO_TRANSPOSE, _NOT_UNIT, n, m, 1.0, U, n, Y, n))

    return implementation


def cholesky_inverse(R, m):
    """Upper triangle of ``inv(R.T @ R)`` in place of the leading ``m x m`` block of R."""
    factor = np.triu(R[:m, :m])
    inverse = np.linalg.inv(factor.T @ factor)
    rows, columns = np.triu_indices(m)
    R[rows, columns] = inverse[rows, columns]


@overload(cholesky_inverse)
def _cholesky_inverse_compiled(R, m):
    def implementation(R, m):
        _invert_by_halves(R, m)
        _dlauum((_LOWER, m, R, R.shape[1]))

    return implementation


def eigenvectors(A, values):
    """Symmetric ``A = V.T @ diag(values) @ V`` from its upper triangle, values rising; V takes its place.

    Returns 0, or a status that is not 0 when the iteration did not converge or A is not finite.
    """
    try:
        values[:], vectors = np.linalg.eigh(A, UPLO="U")
    except np.linalg.LinAlgError:
        return 1
    A[:] = vectors.T
    return 0


@overload(eigenvectors)
def _eigenvectors_compiled(A, values):
    def implementation(A, values):
        n = A.shape[0]
        work, whole = np.empty(1 + 6 * n + 2 * n * n), np.empty(3 + 5 * n, np.int32)
        return _dsyevd((_VECTORS, _LOWER, n, A, n, values, work, len(work), whole, len(whole)))

    return implementation


def singular_vectors(B, sigma, U, V):
    """Thin ``B = U @ diag(sigma) @ V``, sigma falling: V of shape (min(n, p), p). B (n, p) is overwritten.

    Returns 0, or a status that is not 0 when the iteration did not converge or B is not finite.
    """
    try:
        U[:], sigma[:], V[:] = np.linalg.svd(B, full_matrices=False)
    except np.linalg.LinAlgError:
        return 1
    return 0


@overload(singular_vectors)
def _singular_vectors_compiled(B, sigma, U, V):
    def implementation(B, sigma, U, V):
        n, p = B.shape
        small, large = min(n, p), max(n, p)
        work = np.empty(5 * small * small + 10 * small + 40 * (small + large))
        whole = np.empty(8 * small, np.int32)
        # The library sees B', whose left singular vectors are the rows of V.
        return _dgesdd((_THIN, p, n, B, p, sigma, V, p, U, small, work, len(work), whole))

    return implementation
