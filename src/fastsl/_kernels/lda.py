"""Linear discriminant analysis with a shrunk covariance matrix.

    score_k(x) = x' S^-1 m_k - 1/2 m_k' S^-1 m_k + log pi_k       two classes: score_1 - score_0
    S = sum_k pi_k D_k [(1 - g_k) C_k + g_k mu_k I] D_k,           mu_k = tr(C_k) / n_voxels

with C_k the covariance (divided by n_k) of the class's data, m_k its mean and pi_k its prior. Fixed shrinkage: D_k = I
and every g_k the same. Automatic shrinkage: D_k holds the standard deviations of the class, C_k is what remains when
they are divided out, and g_k is chosen by Ledoit and Wolf (2004, J. Multivariate Anal. 88:365).

S is low rank plus diagonal, so spheres with many voxels solve a system of the order of the training samples (Woodbury):
see :mod:`fastsl._kernels.lda_gram` for fixed shrinkage.
"""

import numpy as np

from fastsl._kernels.block import allocate, read_sphere
from fastsl._kernels.discriminant import (
    allocate_space,
    class_mean,
    count_vectors,
    ledoit_wolf,
    make_vector,
    read_samples,
    write_from_weights,
)
from fastsl._kernels.lapack import syrk_rows
from fastsl._kernels.lda_features import auto_covariance, features_sphere, fixed_covariance, scatter_space
from fastsl._kernels.lda_gram import allocate_gram_space, gram_fold, group_sums, products_with_means
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.rows import cut, dot
from fastsl._runtime.jit import helper, inlined

#: A diagonal of S below this part of the voxel's variance is rounding: the covariance matrix is singular.
_SINGULAR_DIAGONAL = 1e-10


@helper
def _centre_class(Z, S, standardise, mean, scale, R):
    """R: the rows ``S`` of Z less their mean, divided by their standard deviation where that is not 0."""
    n_voxels = Z.shape[1]
    class_mean(Z, S, mean)
    for q in range(n_voxels):
        scale[q] = 0.0
    for a in range(S.shape[0]):
        for q in range(n_voxels):
            R[a, q] = Z[S[a], q] - mean[q]
            scale[q] += R[a, q] ** 2
    for q in range(n_voxels):
        scale[q] = np.sqrt(scale[q] / S.shape[0]) if standardise and scale[q] > 0.0 else 1.0
    if standardise:
        for a in range(S.shape[0]):
            for q in range(n_voxels):
                R[a, q] /= scale[q]


@helper
def _shrinkage_of_rows(R, space):
    """Ledoit and Wolf's shrinkage of a class, and tr(R R'), from R R': fewer samples than voxels."""
    m = R.shape[0]
    C = cut(space.C, m, m)
    syrk_rows(R, C)
    squares, fourth, trace = 0.0, 0.0, 0.0
    for i in range(m):
        squares += 2.0 * dot(C[i, i + 1 :], C[i, i + 1 :]) + C[i, i] ** 2
        fourth += C[i, i] ** 2
        trace += C[i, i]
    return ledoit_wolf(squares, fourth, trace, m, R.shape[1]), trace


@helper
def _auto_gram_fold(Z, folds, fold, space, out):
    """Automatic shrinkage: S = R' R + diag(w) with rows R_i = (pi_k (1 - g_k) / n_k)^1/2 (z_i - m_k), so with

        Q = R diag(w)^-1/2 and y = diag(w)^-1/2 v,     S^-1 v = diag(w)^-1/2 [y - Q' (I + Q Q')^-1 Q y]

    where w = sum_k pi_k g_k mu_k d_k^2 differs from voxel to voxel. The vectors y are rows of the same Gram as Q.
    """
    first, last = folds.of_fold[fold], folds.of_fold[fold + 1]
    k, start, p = last - first, folds.class_ptr[first], Z.shape[1]
    m, nv = folds.class_ptr[last] - start, count_vectors(Z, last - first)
    R, H, rows = cut(space.R, m + nv, p), cut(space.A, m + nv, m + nv), cut(space.rows, nv, m)
    mean, scale, w, least = np.empty((k, p)), np.empty((k, p)), np.zeros(p), np.zeros(p)
    weight = np.empty(k)
    for c in range(k):
        a, b = folds.class_ptr[first + c] - start, folds.class_ptr[first + c + 1] - start
        _centre_class(Z, folds.train[start + a : start + b], True, mean[c], scale[c], R[a:b])
        g, trace = _shrinkage_of_rows(R[a:b], space)
        weight[c] = folds.prior[first + c] * (1.0 - g) / (b - a)
        ridge = folds.prior[first + c] * g * trace / (b - a) / p
        for q in range(p):
            w[q] += ridge * scale[c, q] ** 2
            least[q] += _SINGULAR_DIAGONAL * folds.prior[first + c] * scale[c, q] ** 2
    for q in range(p):
        if not w[q] > least[q]:
            return 1
        w[q] = 1.0 / np.sqrt(w[q])
    for c in range(k):
        for q in range(p):
            scale[c, q] *= np.sqrt(weight[c]) * w[q]
        for i in range(folds.class_ptr[first + c] - start, folds.class_ptr[first + c + 1] - start):
            for q in range(p):
                R[i, q] *= scale[c, q]
    for t in range(nv):
        make_vector(t, k, mean, Z, R[m + t])
        for q in range(p):
            R[m + t, q] *= w[q]
    syrk_rows(R, H)
    for i in range(m):
        for t in range(nv):
            rows[t, i] = H[i, m + t]
        H[i, i] += 1.0
    if cholesky(H, m) != 0:
        return 1
    cholesky_solve(H, m, rows, nv)
    for t in range(nv):
        for i in range(m):
            for q in range(p):
                R[m + t, q] -= rows[t, i] * R[i, q]
        for q in range(p):
            R[m + t, q] *= w[q]
    write_from_weights(folds, fold, Z, mean, R[m:], out)
    return 0


@inlined
def _fixed_gram_sphere(block, b, folds, gamma, work, space, out):
    """Every fold of one sphere from one G; returns the first status that is not 0."""
    members = block.indices[block.indptr[b] : block.indptr[b + 1]]
    a, square = np.empty(0 if folds.most == 2 else block.X.shape[1]), 0.0
    read_sphere(block, b, work)
    if folds.most > 2:
        square = products_with_means(block.X, members, block.means, a)
    sums = group_sums(work.G, folds.groups)
    for fold in range(folds.of_fold.shape[0] - 1):
        if folds.of_fold[fold] < folds.of_fold[fold + 1]:
            code = gram_fold(work.G, sums, a, square, len(members), folds, fold, gamma, space, out)
            if code != 0:
                return code
    return 0


@inlined
def _auto_gram_sphere(block, b, folds, space, out):
    """Every fold of one sphere; returns the first status that is not 0."""
    Z = read_samples(block, b, space)
    for fold in range(folds.of_fold.shape[0] - 1):
        if folds.of_fold[fold] < folds.of_fold[fold + 1]:
            code = _auto_gram_fold(Z, folds, fold, space, out)
            if code != 0:
                return code
    return 0


@over_spheres
def lda_fixed(block, folds, gamma, out, status):
    """Held-out scores ``out`` (n_centres, n_out) with shrinkage ``gamma``, NaN where ``status`` (n_centres,) is not 0.

    Status 1: the covariance matrix is singular; -1: fewer than ``min_voxels``.
    """
    few, work = scatter_space(block, folds), allocate(block, 1)
    space = allocate_gram_space(block.X.shape[1], folds.most)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        p = block.indptr[b + 1] - block.indptr[b]
        if p >= block.min_voxels:
            if p < block.features_below:
                status[b] = features_sphere(block, b, folds, fixed_covariance, gamma, few, out[b])
            else:
                status[b] = _fixed_gram_sphere(block, b, folds, gamma, work, space, out[b])
            if status[b] != 0:
                out[b] = np.nan


@over_spheres
def lda_auto(block, folds, out, status):
    """As :func:`lda_fixed`, with the shrinkage that Ledoit and Wolf choose for each class of each fold."""
    few, space = scatter_space(block, folds), allocate_space(block, folds, block.features_below)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        p = block.indptr[b + 1] - block.indptr[b]
        if p >= block.min_voxels:
            if p < block.features_below:
                status[b] = features_sphere(block, b, folds, auto_covariance, 0.0, few, out[b])
            else:
                status[b] = _auto_gram_sphere(block, b, folds, space, out[b])
            if status[b] != 0:
                out[b] = np.nan
