"""Discriminant analysis with fixed shrinkage, for many labellings of one sphere.

Scatter within classes is the total less the scatter of class means, and the total does not depend on the labels. For a
fold with m training samples, G = V' diag(l) V their centred Gram matrix, f_k the indicator of class k over
sqrt(n_k), and y_k = V f_k,

    S = a Z' (I - F F') Z + b I,    a = (1 - gamma) / m,    b = gamma (tr G - sum_ki l_i y_ki^2) / (m n_voxels)

since Z' F F' Z is the scatter of the means. With A = a Z' Z + b I, which V diagonalises, and U = Z' F, Woodbury gives

    S^-1 U = A^-1 U (I - a W)^-1,    W_kj = u_k' A^-1 u_j = sum_i y_ki l_i y_ji / (a l_i + b)

so that with x the test samples, centred alike, and m_k = u_k / sqrt(n_k),

    score_k(x) = h_k(x) / sqrt(n_k) - 1/2 [W (I - a W)^-1]_kk / n_k + log pi_k,    h(x) = x' A^-1 U (I - a W)^-1
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import allocate, read_sphere
from fastsl._kernels.labellings import add_scores, most_tested
from fastsl._kernels.lapack import eigenvectors, multiply
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._kernels.over_spheres import over_spheres
from fastsl._runtime.jit import helper

#: Rows that go through the matrix products together.
_TOGETHER = 128
#: b below this part of the mean eigenvalue, by its weight, is rounding: no scatter is left within classes.
_NOTHING = 1e-13


class Space(NamedTuple):
    """Work space, flat: every fold cuts its own matrices from it."""

    V: NDArray[np.float64]  # (m, m) eigenvectors, one a row
    Vt: NDArray[np.float64]  # (m, m)
    values: NDArray[np.float64]  # (m,)
    K: NDArray[np.float64]  # (m, n_test) training samples against test samples, both centred
    B: NDArray[np.float64]  # (m, n_test) V K
    F: NDArray[np.float64]  # (rows, m) indicators; then y / (a l + b)
    Y: NDArray[np.float64]  # (rows, m) F V'
    H: NDArray[np.float64]  # (rows, n_test) of the test samples
    size: NDArray[np.float64]  # (rows,) n_k
    W: NDArray[np.float64]  # (rows, n_classes) W of each labelling


@helper
def _space(labellings, n, n_classes):
    rows, most = max(1, _TOGETHER // n_classes) * n_classes, most_tested(labellings)
    return Space(
        np.empty(n * n),
        np.empty(n * n),
        np.empty(n),
        np.empty(n * most),
        np.empty(n * most),
        np.empty(rows * n),
        np.empty(rows * n),
        np.empty(rows * most),
        np.empty(rows),
        np.empty((rows, n_classes)),
    )


@helper
def _cut(flat, n_rows, n_columns):
    return flat[: n_rows * n_columns].reshape(n_rows, n_columns)


@helper
def _centre_fold(G, S, tested, V, K):
    """Gram matrices of the training samples S, and of them against the tested, less the mean of those in S."""
    m = S.shape[0]
    mean, grand = np.zeros(m), 0.0
    for i in range(m):
        for j in range(m):
            mean[i] += G[S[i], S[j]] / m
        grand += mean[i] / m
    for i in range(m):
        for j in range(m):
            V[i, j] = G[S[i], S[j]] - mean[i] - mean[j] + grand
    for t in range(tested.shape[0]):
        own = 0.0
        for j in range(m):
            own += G[tested[t], S[j]] / m
        for j in range(m):
            K[j, t] = G[tested[t], S[j]] - own - mean[j] + grand


@helper
def _indicators(true, S, n_classes, F, size):
    """Indicators of the classes of each labelling, over the roots of their sizes."""
    F[:] = 0.0
    size[:] = 0.0
    for labelling in range(true.shape[0]):
        row = labelling * n_classes
        for j in range(S.shape[0]):
            size[row + int(true[labelling, S[j]])] += 1.0
        for j in range(S.shape[0]):
            k = row + int(true[labelling, S[j]])
            F[k, j] = 1.0 / np.sqrt(size[k])


@helper
def _divide(Y, values, gamma, n_voxels, divided, W):
    """y / (a l + b) and W of one labelling, Y (n_classes, m). Returns 1 where nothing varies within classes."""
    n_classes, m = Y.shape
    within = 0.0
    for i in range(m):
        within += values[i]
        for k in range(n_classes):
            within -= values[i] * Y[k, i] ** 2
    if not within > _NOTHING * values.sum():
        return 1
    a, b = (1.0 - gamma) / m, gamma * within / (m * n_voxels)
    for k in range(n_classes):
        for i in range(m):
            divided[k, i] = Y[k, i] / (a * values[i] + b)
    for k in range(n_classes):
        for j in range(k, n_classes):
            W[k, j] = 0.0
            for i in range(m):
                W[k, j] += divided[k, i] * values[i] * Y[j, i]
            W[j, k] = W[k, j]
    return 0


@helper
def _scores(W, H, size, a, out, A, rows):
    """Scores ``out`` (n_columns, n_test) of one labelling, from W and H (n_classes, n_test) = x' A^-1 U."""
    n_classes, n_test = H.shape
    m = size.sum()
    for k in range(n_classes):
        for j in range(n_classes):
            rows[k, j] = W[k, j]
            A[k, j] = (1.0 if k == j else 0.0) - a * W[k, j]
        for t in range(n_test):
            rows[n_classes + t, k] = H[k, t]
    if cholesky(A, n_classes) != 0:
        return 1
    cholesky_solve(A, n_classes, rows, n_classes + n_test)
    out[:] = 0.0
    for k in range(n_classes):
        constant = np.log(size[k] / m) - 0.5 * rows[k, k] / size[k]
        column, sign = (k, 1.0) if n_classes > 2 else (0, 1.0 if k == 1 else -1.0)
        for t in range(n_test):
            out[column, t] += sign * (rows[n_classes + t, k] / np.sqrt(size[k]) + constant)
    return 0


@helper
def _decode_fold(labellings, fold, n_classes, gamma, n_voxels, G, space, sums):
    """Add a fold's scores of all labellings to ``sums``, NaN for one that fails; returns 1 where all do."""
    n_labellings, n_columns = labellings.targets.shape[:2]
    S = np.flatnonzero(labellings.train[fold])
    tested = labellings.test[labellings.test_ptr[fold] : labellings.test_ptr[fold + 1]]
    m, n_test, together = S.shape[0], tested.shape[0], space.size.shape[0] // n_classes
    V, Vt, values = _cut(space.V, m, m), _cut(space.Vt, m, m), space.values[:m]
    K, B = _cut(space.K, m, n_test), _cut(space.B, m, n_test)
    _centre_fold(G, S, tested, V, K)
    if eigenvectors(V, values) != 0:
        return 1
    for i in range(m):
        values[i] = max(values[i], 0.0)  # rounding of what is positive semi-definite
        for j in range(m):
            Vt[i, j] = V[j, i]
    multiply(V, K, B)
    out, true = np.empty((n_columns, n_test)), np.empty(n_test)
    A, rows = np.empty((n_classes, n_classes)), np.empty((n_classes + n_test, n_classes))
    for start in range(0, n_labellings, together):
        stop = min(n_labellings, start + together)
        n_rows = (stop - start) * n_classes
        F, Y, H = _cut(space.F, n_rows, m), _cut(space.Y, n_rows, m), _cut(space.H, n_rows, n_test)
        _indicators(labellings.true[start:stop], S, n_classes, F, space.size)
        multiply(F, Vt, Y)
        for labelling in range(start, stop):
            own = slice((labelling - start) * n_classes, (labelling - start + 1) * n_classes)
            if _divide(Y[own], values, gamma, n_voxels, F[own], space.W[own]) != 0:
                F[own] = np.nan
                space.W[own] = np.nan
        multiply(F, B, H)
        for labelling in range(start, stop):
            own = slice((labelling - start) * n_classes, (labelling - start + 1) * n_classes)
            if _scores(space.W[own], H[own], space.size[own], (1.0 - gamma) / m, out, A, rows) != 0:
                out[:] = np.nan
            add_scores(labellings, fold, labelling, out, true, sums)
    return 0


@over_spheres
def lda_null(block, labellings, n_classes, gamma, null, status):
    """Scores ``null`` (n_centres, n_scores, n_labellings), means over folds; priors are the classes' parts.

    NaN for a labelling within whose classes nothing varies. Status 1: none has a score; -1: fewer than ``min_voxels``.
    """
    work, space = allocate(block, 0), _space(labellings, block.X.shape[1], n_classes)
    n_folds = labellings.train.shape[0]
    for b in block.order:
        n_voxels = block.indptr[b + 1] - block.indptr[b]
        status[b] = -1
        if n_voxels >= block.min_voxels:
            sphere = read_sphere(block, b, work)
            status[b] = 0
            null[b] = 0.0
            for fold in range(n_folds):
                if status[b] == 0:
                    status[b] = _decode_fold(labellings, fold, n_classes, gamma, n_voxels, sphere.Z, space, null[b])
        for s in range(null.shape[1]):
            for labelling in range(null.shape[2]):
                null[b, s, labelling] = null[b, s, labelling] / n_folds if status[b] == 0 else np.nan
        if status[b] == 0 and np.isnan(null[b]).all():
            status[b] = 1
