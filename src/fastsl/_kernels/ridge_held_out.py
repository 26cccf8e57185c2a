"""Ridge regression with one penalty, for samples that their fold does not train on: without the inverse as a whole.

    A = K + alpha D = R' R,    W = R'^-1,    M = A^-1 = W' W

A fold that does not train on the samples F needs no more of M than the block of F, and one solution: with t_T the
targets, 0 in F,

    f_F = -(M_FF)^-1 (M t_T)_F,    M_FF = W_F' W_F

The second term of the kernel matrix (:mod:`fastsl._kernels.waist`) borders A: with h = A^-1 u,

    M = A^-1 - h h' / (inv_c + u' h)
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import allocate, most_targets, read_sphere
from fastsl._kernels.features import feature_space
from fastsl._kernels.matrices import cholesky, cholesky_solve, invert_transposed, syrk
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.ridge import most_left_out
from fastsl._kernels.ridge_features import ridge_features
from fastsl._kernels.rows import add, cut, dot
from fastsl._runtime.jit import helper, inlined


class _Space(NamedTuple):
    """Work space for any fold. Flat arrays are cut to matrices without gaps."""

    F: NDArray[np.int64]  # (n,) the samples that it does not train on
    place: NDArray[np.int64]  # (n,) of a sample in F
    W_F: NDArray[np.float64]
    S: NDArray[np.float64]  # M_FF and its factor
    f: NDArray[np.float64]


@inlined
def _allocate(problems):
    n, most = problems.train.shape[1], most_left_out(problems)
    return _Space(
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n * most),
        np.empty(most * most),
        np.empty(most_targets(problems) * most),
    )


@inlined
def _by_blocks(sphere, problems, alpha, A, W, rows, space, out):
    """Values of all folds; A is factored again only where a fold has other weights than the one before.

    Returns 0, or 1 where a matrix is not positive definite.
    """
    first = 0
    for fold in range(problems.train.shape[0]):
        if problems.of_fold[fold] == problems.of_fold[fold + 1]:
            continue
        if problems.new_weights[fold]:
            first, last = problems.of_fold[fold], _last_alike(problems, fold)
            if last - first < problems.fold.shape[0]:
                _copy_triangle(sphere.Z, A)
                code = _solve_all(sphere, problems, first, last, alpha, A, W, rows)
            else:  # nobody needs Z afterwards; to copy it takes 3 of 120 us
                code = _solve_all(sphere, problems, first, last, alpha, sphere.Z, W, rows)
            if code != 0:
                return 1
        if _held_out(sphere, problems, fold, first, W, rows, space, out) != 0:
            return 1
    return 0


@helper
def _last_alike(problems, fold):
    """Where the problems end of this fold, and of those after it that have its weights."""
    stop = fold + 1
    while stop < problems.train.shape[0] and not (
        problems.new_weights[stop] and problems.of_fold[stop] < problems.of_fold[stop + 1]
    ):
        stop += 1
    return problems.of_fold[stop]


@helper
def _copy_triangle(Z, A):
    for i in range(Z.shape[0]):
        for j in range(i, Z.shape[0]):
            A[i, j] = Z[i, j]


@helper
def _solve_all(sphere, problems, first, last, alpha, A, W, rows):
    """W, and in rows h / sqrt(inv_c + u' h), then M t_T of the problems ``first`` to ``last - 1``. A is G, and lost."""
    n = A.shape[0]
    for i in range(n):
        A[i, i] += alpha * problems.ridge[first, i]
    if cholesky(A, n) != 0:
        return 1
    for q in range(first, last):
        train, target = problems.train[problems.fold[q]], problems.targets[problems.target[q]]
        for i in range(n):
            rows[1 + q - first, i] = target[i] if train[i] else 0.0
    for i in range(n):
        rows[0, i] = sphere.u[i] if sphere.inv_c < np.inf else 0.0
    cholesky_solve(A, n, rows, 1 + last - first)
    invert_transposed(A, n, W)
    if sphere.inv_c < np.inf:
        _border(sphere, rows[0], rows[1 : 1 + last - first])
    return 0


@helper
def _border(sphere, h, solutions):
    """Make solutions with G + alpha D those with the second term; h, now of unit border, is what blocks of M lose."""
    border = sphere.inv_c + dot(sphere.u, h)
    for row in solutions:
        add(-dot(sphere.u, row) / border, h, row)
    for i in range(h.shape[0]):
        h[i] /= np.sqrt(border)


@helper
def _held_out(sphere, problems, fold, first_alike, W, rows, space, out):
    """Write f_F of a fold, each of its problems; what it tests is in F.

    Returns 0, or 1 where M_FF is not positive definite.
    """
    n, r, first, last = W.shape[0], 0, problems.of_fold[fold], problems.of_fold[fold + 1]
    for i in range(n):
        if not problems.train[fold, i]:
            space.F[r] = i
            space.place[i] = r
            r += 1
    F, begin = space.F[:r], space.F[0]
    W_F, S, f = cut(space.W_F, n - begin, r), cut(space.S, r, r), cut(space.f, last - first, r)
    for k in range(begin, n):
        for a in range(r):
            W_F[k - begin, a] = W[k, F[a]] if k >= F[a] else 0.0
    syrk(W_F, S)
    h = rows[0]
    for a in range(r):
        for b in range(a, r):
            S[a, b] -= h[F[a]] * h[F[b]]
        for q in range(first, last):
            f[q - first, a] = -rows[1 + q - first_alike, F[a]]
    if cholesky(S, r) != 0:
        return 1
    cholesky_solve(S, r, f, last - first)
    for q in range(first, last):
        place = problems.out_ptr[q]
        for i in problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]:
            out[place] = f[q - first, space.place[i]]
            place += 1
    return 0


@over_spheres
def ridge_held_out(block, problems, groups, alphas, out, status):
    """As :func:`fastsl._kernels.ridge.ridge`, for one alpha and test samples that no problem of theirs trains on."""
    n_problems, n_targets = problems.fold.shape[0], problems.targets.shape[0]
    work, space = allocate(block, 1 + n_problems), feature_space(block, groups, 2, n_targets, most_targets(problems))
    held_out = _allocate(problems)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            sphere = read_sphere(block, b, work)
            if sphere.primal:
                status[b] = ridge_features(sphere, problems, groups, alphas, space, out[b])
            else:
                status[b] = _by_blocks(sphere, problems, alphas[0], work.M, work.A, work.rows, held_out, out[b])
            if status[b] != 0:
                out[b] = np.nan
