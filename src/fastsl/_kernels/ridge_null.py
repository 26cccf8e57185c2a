"""Ridge regression of many labellings in one sphere: the factorisation does not depend on the labels.

With M the inverse of :mod:`fastsl._kernels.ridge`, the targets of all labellings as rows of T, and for each fold R the
samples that it does not train on and S those that it does,

    F_R = -T_S M_SR (M_RR)^-1                                           held out, all labellings at once

and of several penalties each labelling takes in each fold the one with the smallest leave-one-out residuals,

    E = (C_S - (T_R - F_R) M_RS) / M'_SS,    C = T M,    M'_SS = M_SS - M_SR (M_RR)^-1 M_RS

Of spheres with few voxels M comes from their features. From their Gram matrix, which is singular, it would lose digits
where the penalty is small against it: null and observed scores must be equally exact.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import allocate, read_sphere
from fastsl._kernels.labellings import add_fold, list_samples, most_tested, take_means
from fastsl._kernels.lapack import multiply
from fastsl._kernels.matrices import cholesky, cholesky_solve, syrk
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.waist import inverse
from fastsl._runtime.jit import helper

#: Targets that go through the matrix products together.
_TOGETHER = 128


class Space(NamedTuple):
    """Work space for some labellings, with t targets in all. Flat arrays are cut to matrices without gaps."""

    M: NDArray[np.float64]  # (n_alphas, n, n)
    C: NDArray[np.float64]  # (n_alphas, t, n); empty for one penalty
    T: NDArray[np.float64]  # (t * n,) T_S
    F: NDArray[np.float64]  # (t * n,) F_R
    E: NDArray[np.float64]  # (t * n,)
    M_SR: NDArray[np.float64]  # (n * n,)
    M_RS: NDArray[np.float64]  # (n * n,)
    rows: NDArray[np.float64]  # (n, n)
    A: NDArray[np.float64]  # (n, n)
    values: NDArray[np.float64]  # (t, n_test)
    errors: NDArray[np.float64]  # (2, n_labellings) smallest so far, and of one penalty


@helper
def _space(labellings, n_alphas):
    n_columns, n = labellings.targets.shape[1:]
    n_labellings = max(1, _TOGETHER // n_columns)
    t = n_labellings * n_columns
    return Space(
        np.empty((n_alphas, n, n)),
        np.empty((n_alphas if n_alphas > 1 else 0, t, n)),
        np.empty(t * n),
        np.empty(t * n),
        np.empty(t * n),
        np.empty(n * n),
        np.empty(n * n),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty((t, most_tested(labellings))),
        np.empty((2, n_labellings)),
    )


@helper
def _features_inverse(sphere, alpha, M, work):
    """M = (I - W (W'W + alpha diag(1, ..., 1, inv_c))^-1 W') / alpha, W = [Phi, u], or Phi where inv_c is infinite."""
    n, p = sphere.Z.shape
    order = p + 1 if sphere.inv_c < np.inf else p
    W, H = np.empty((n, order)), work.A.reshape(-1)[: order * order].reshape(order, order)
    V, solved = np.empty((order, n)), work.rows.reshape(-1)[: n * order].reshape(n, order)
    for i in range(n):
        for q in range(order):
            W[i, q] = solved[i, q] = V[q, i] = sphere.Z[i, q] if q < p else sphere.u[i]
    syrk(W, H)
    for q in range(order):
        H[q, q] += alpha if q < p else alpha * sphere.inv_c
    if cholesky(H, order) != 0:
        return 1
    cholesky_solve(H, order, solved, n)
    multiply(solved, V, M)
    for i in range(n):
        for j in range(i, n):
            M[i, j] = ((1.0 if i == j else 0.0) - M[i, j]) / alpha
            M[j, i] = M[i, j]
    return 0


@helper
def sphere_inverse(sphere, alpha, M, work):
    """M = (K + alpha I)^-1 of a sphere in either form, both triangles; returns 1 where it is not positive definite."""
    if sphere.primal:
        return _features_inverse(sphere, alpha, M, work)
    return inverse(sphere, alpha, np.ones(M.shape[0]), M, work.rows)


@helper
def _held_out(M, T_S, S, R, space, F):
    """Factor M_RR into ``space.A``; F (t, r) gets F_R. Returns 1 where M_RR is not positive definite.

    T_R has no part in it: see :func:`fastsl._kernels.ridge._held_out`.
    """
    r, m = R.shape[0], S.shape[0]
    M_SR = space.M_SR[: m * r].reshape(m, r)
    for a in range(r):
        for b in range(a, r):
            space.A[a, b] = M[R[a], R[b]]
        for j in range(m):
            M_SR[j, a] = -M[S[j], R[a]]
    if cholesky(space.A, r) != 0:
        return 1
    multiply(T_S, M_SR, F)
    cholesky_solve(space.A, r, F, F.shape[0])
    return 0


@helper
def _loo_errors(M, C, T, S, R, F, space, errors):
    """Sum of the squared leave-one-out residuals of each labelling, from the factor in ``space.A`` and from F."""
    t, m, r = C.shape[0], S.shape[0], R.shape[0]
    M_RS = space.M_RS[: r * m].reshape(r, m)
    E, Z = space.E[: t * m].reshape(t, m), np.empty((t, r))
    for a in range(r):
        for j in range(m):
            M_RS[a, j] = M[R[a], S[j]]
            space.rows[j, a] = M[R[a], S[j]]
        for k in range(t):
            Z[k, a] = T[k, R[a]] - F[k, a]
    multiply(Z, M_RS, E)
    cholesky_solve(space.A, r, space.rows, m)
    errors[:] = 0.0
    for j in range(m):
        diagonal = M[S[j], S[j]]
        for a in range(r):
            diagonal -= M_RS[a, j] * space.rows[j, a]
        for k in range(t):
            errors[k * errors.shape[0] // t] += ((C[k, S[j]] - E[k, j]) / diagonal) ** 2


@helper
def _decode_fold(labellings, fold, T, space, places):
    """Held-out values of a fold, each labelling's with its best penalty. T (t, n) are the targets."""
    train, t = labellings.train[fold], T.shape[0]
    R, S = list_samples(train, False, places[0]), list_samples(train, True, places[1])
    place, r, m = places[2], R.shape[0], S.shape[0]
    for a in range(r):
        place[R[a]] = a
    n_columns = labellings.targets.shape[1]
    best, errors = space.errors[0, : t // n_columns], space.errors[1, : t // n_columns]
    best[:] = np.inf
    errors[:] = 0.0
    space.values[:] = np.nan
    tested = labellings.test[labellings.test_ptr[fold] : labellings.test_ptr[fold + 1]]
    T_S, F = space.T[: t * m].reshape(t, m), space.F[: t * r].reshape(t, r)
    for k in range(t):
        for j in range(m):
            T_S[k, j] = T[k, S[j]]
    for a in range(space.M.shape[0]):
        if _held_out(space.M[a], T_S, S, R, space, F) != 0:
            return 1
        if space.M.shape[0] > 1:
            _loo_errors(space.M[a], space.C[a, :t], T, S, R, F, space, errors)
        for k in range(t):
            if errors[k // n_columns] < best[k // n_columns]:
                for j in range(tested.shape[0]):
                    space.values[k, j] = F[k, place[tested[j]]]
        for labelling in range(best.shape[0]):
            best[labelling] = min(best[labelling], errors[labelling])
    return 0


@helper
def _ridge_null_sphere(sphere, labellings, alphas, work, space, sums):
    """Scores (n_scores, n_labellings) of one sphere; returns 1 where a matrix is not positive definite."""
    n_labellings, n_columns, n = labellings.targets.shape
    n_folds, together = labellings.train.shape[0], space.errors.shape[1]
    places, true = np.empty((3, n), np.int64), np.empty(space.values.shape[1])
    for a in range(len(alphas)):
        if sphere_inverse(sphere, alphas[a], space.M[a], work) != 0:
            return 1
    sums[:] = 0.0
    for start in range(0, n_labellings, together):
        stop = min(n_labellings, start + together)
        T = labellings.targets[start:stop].reshape((stop - start) * n_columns, n)
        for a in range(space.C.shape[0]):
            multiply(T, space.M[a], space.C[a, : T.shape[0]])
        for fold in range(n_folds):
            if _decode_fold(labellings, fold, T, space, places) != 0:
                return 1
            add_fold(labellings, fold, start, stop, space.values, true, sums)
    take_means(sums, n_folds)
    return 0


@over_spheres
def ridge_null(block, labellings, alphas, null, status):
    """Scores ``null`` (n_centres, n_scores, n_labellings), means over folds; status as in :func:`ridge`."""
    work, space = allocate(block, 0), _space(labellings, len(alphas))
    for b in block.order:
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _ridge_null_sphere(read_sphere(block, b, work), labellings, alphas, work, space, null[b])
        if status[b] != 0:
            null[b] = np.nan
