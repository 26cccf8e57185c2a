"""LinearSVC with the squared hinge loss for many labellings of one sphere: its kernel matrix is inverted once.

See :mod:`fastsl._kernels.margin`, whose held-out samples are taken out of the matrix here, once a fold for all
labellings (:mod:`fastsl._kernels.own_inverse`): six folds of smooth data take 100 us a labelling instead of 620. Folds
of a labelling start from each other's decision values; the solution does not depend on where it starts.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels import own_inverse
from fastsl._kernels.block import allocate, read_sphere
from fastsl._kernels.features import feature_space
from fastsl._kernels.groups import ungrouped
from fastsl._kernels.labellings import add_fold, most_tested, take_means
from fastsl._kernels.lapack import multiply
from fastsl._kernels.margin import MOST_AWAY, is_exact, margin_space, settle
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.ridge_null import sphere_inverse
from fastsl._kernels.svm import squared_hinge
from fastsl._kernels.svm_features import active_sums
from fastsl._runtime.jit import helper

#: Targets that go through the matrix products of a fold together.
_TOGETHER = 128


class Space(NamedTuple):
    """Work space for some labellings, with t targets in all. Flat arrays are cut to matrices without gaps."""

    M: NDArray[np.float64]  # (n, n)
    T_S: NDArray[np.float64]  # (t * n,)
    C: NDArray[np.float64]  # (t * n,) T_S N
    Q: NDArray[np.float64]  # (t * n,) T_S W
    F: NDArray[np.float64]  # (t, n) decision values of the last fold, where the next one starts
    beta: NDArray[np.float64]  # (1, n)
    vectors: NDArray[np.float64]  # (3, n) d, and work space
    away: NDArray[np.bool_]  # (n,)
    held_out: NDArray[np.bool_]  # (n,) none: N has no row for them
    values: NDArray[np.float64]  # (t, n_test)


@helper
def _space(labellings, d):
    n_columns, n = labellings.targets.shape[1:]
    t = max(1, _TOGETHER // n_columns) * n_columns
    flat, vectors = t * n, np.empty((3, n))
    vectors[0] = d
    values = np.empty((t, most_tested(labellings)))
    return Space(
        np.empty((n, n)),
        np.empty(flat),
        np.empty(flat),
        np.empty(flat),
        np.empty((t, n)),
        np.empty((1, n)),
        vectors,
        np.empty(n, np.bool_),
        np.zeros(n, np.bool_),
        values,
    )


@helper
def _products(T, fold, space):
    """T_S, T_S N and T_S W for the targets T (t, n)."""
    t, m, r = T.shape[0], fold.S.shape[0], fold.R.shape[0]
    T_S, C, Q = space.T_S[: t * m].reshape(t, m), space.C[: t * m].reshape(t, m), space.Q[: t * r].reshape(t, r)
    for k in range(t):
        for j in range(m):
            T_S[k, j] = T[k, fold.S[j]]
    multiply(T_S, fold.N, C)
    if r > 0:
        multiply(T_S, fold.W, Q)
    return T_S, C, Q


@helper
def _fit_labelling(sphere, train, fold, y, c, q, inner, space, F):
    """Decision values ``F`` (n,) of one target, from c = N y and q = W' y; returns whether it has them.

    It enters as a guess, and is left as it is where they are not found.
    """
    S, R, W, beta, found, away = fold.S, fold.R, fold.W, space.beta[0], space.vectors[1], space.away
    n, m = F.shape[0], S.shape[0]
    for j in range(m):
        away[j] = y[j] * F[S[j]] >= 1.0
    length = settle(fold.N, c, y, away, space.held_out, space.vectors[0], MOST_AWAY, inner)
    if length < 0:
        return False
    beta[:] = 0.0
    for j in range(m):
        found[S[j]], beta[S[j]] = inner.f[j], inner.beta[j]
    for b in range(R.shape[0]):
        found[R[b]] = -q[b]
    for a in range(length):
        for b in range(R.shape[0]):
            found[R[b]] -= inner.delta[0, a] * W[inner.J[a], b]
    if not is_exact(sphere, train, beta, found, space.vectors[2]):
        return False
    for i in range(n):
        F[i] = found[i]
    return True


@helper
def _decode_fold(sphere, active, labellings, number, T, invertible, work, folding, inner, space):
    """Held-out ``space.values`` of a fold for the targets T (t, n), NaN where a solver fails.

    What the inverse cannot say takes a longer way, which does not run in circles and needs no matrix of all samples.
    """
    train = labellings.train[number]
    fold, code = own_inverse.ready_fold(space.M, train, folding)
    invertible &= code == 0
    tested = labellings.test[labellings.test_ptr[number] : labellings.test_ptr[number + 1]]
    T_S, C, Q = _products(T, fold, space)
    for k in range(T.shape[0]):
        F, code = space.F[k], 0
        if not (invertible and _fit_labelling(sphere, train, fold, T_S[k], C[k], Q[k], inner, space, F)):
            F_k, D = space.F[k : k + 1], space.vectors[0]
            code = squared_hinge(sphere, active, number, train, D, T[k : k + 1], work.A, work.rows, F_k, space.beta)
        for j in range(tested.shape[0]):
            space.values[k, j] = F[tested[j]] if code == 0 else np.nan
        if code != 0:
            F[:] = 0.0


@helper
def _svc_null_sphere(sphere, active, labellings, work, folding, inner, space, sums):
    """Scores (n_scores, n_labellings) of one sphere, NaN for a labelling that fails."""
    n_labellings, n_columns, n = labellings.targets.shape
    n_folds, together, true = labellings.train.shape[0], space.F.shape[0] // n_columns, np.empty(space.values.shape[1])
    invertible = sphere_inverse(sphere, space.vectors[0, 0], space.M, work) == 0
    sums[:] = 0.0
    for start in range(0, n_labellings, together):
        stop = min(n_labellings, start + together)
        T = labellings.targets[start:stop].reshape((stop - start) * n_columns, n)
        space.F[:] = 0.0
        for fold in range(n_folds):
            _decode_fold(sphere, active, labellings, fold, T, invertible, work, folding, inner, space)
            add_fold(labellings, fold, start, stop, space.values, true, sums)
    take_means(sums, n_folds)


@over_spheres
def svc_squared_hinge_null(block, labellings, d, null, status):
    """Scores ``null`` (n_centres, n_scores, n_labellings), means over folds; d is 1 / (2 C).

    NaN for a labelling whose solver fails. Status 1: none has a score; -1: fewer than ``min_voxels``.
    """
    n = block.X.shape[1]
    work, folding, inner = allocate(block, 1), own_inverse.fold_space(n), margin_space(n)
    space, groups = _space(labellings, d), ungrouped(n)
    few = feature_space(block, groups, 1, 0, 1)
    for b in block.order:
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            sphere = read_sphere(block, b, work)
            active = active_sums(sphere, groups, few)
            _svc_null_sphere(sphere, active, labellings, work, folding, inner, space, null[b])
            status[b] = 1 if np.isnan(null[b]).all() else 0
        else:
            null[b] = np.nan
