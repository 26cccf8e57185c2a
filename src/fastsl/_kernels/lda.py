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
    cut,
    make_vector,
    read_samples,
    write_from_weights,
)
from fastsl._kernels.lapack import cholesky, cholesky_solve, syrk, syrk_rows
from fastsl._kernels.lda_gram import gram_fold, products_with_means
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.rows import dot
from fastsl._runtime.jit import helper

#: A pivot below this part of its diagonal entry is rounding: the covariance matrix is singular.
_SINGULAR_PIVOT = 1e-13
#: So is a diagonal of S below this part of the voxel's variance, where rounding decides whether it is above zero.
_SINGULAR_DIAGONAL = 1e-10


@helper
def ledoit_wolf(squares, fourth, trace, m, p):
    """Shrinkage of m centred samples of p voxels, from squares = |X'X|^2, fourth = sum_i |x_i|^4 and trace = tr(X'X).

    delta = |X'X / m - mu I|^2 / p,   beta = (sum_i |x_i|^4 / m - |X'X / m|^2) / (m p),   min(beta, delta) / delta
    """
    if p == 1:
        return 0.0
    mu = trace / m / p
    delta = (squares / m**2 - p * mu**2) / p
    beta = min((fourth / m - squares / m**2) / (m * p), delta)
    return beta / delta if beta > 0.0 else 0.0


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


@helper
def _features_fold(Z, folds, fold, gamma, space, out):
    """S itself, of the order of the voxels. A negative ``gamma``: automatic shrinkage."""
    first, last = folds.of_fold[fold], folds.of_fold[fold + 1]
    k, p, nv = last - first, Z.shape[1], count_vectors(Z, last - first)
    S, C, weights = cut(space.A, p, p), cut(space.C, p, p), cut(space.rows, nv, p)
    mean, scale, diagonal = np.empty((k, p)), np.empty(p), np.empty(p)
    for q in range(p):
        for r in range(q, p):
            S[q, r] = 0.0
    for c in range(k):
        samples = folds.train[folds.class_ptr[first + c] : folds.class_ptr[first + c + 1]]
        m = samples.shape[0]
        R = cut(space.R, m, p)
        _centre_class(Z, samples, gamma < 0.0, mean[c], scale, R)
        syrk(R, C)
        squares, fourth, trace = 0.0, 0.0, 0.0
        for q in range(p):
            squares += 2.0 * dot(C[q, q + 1 :], C[q, q + 1 :]) + C[q, q] ** 2
            trace += C[q, q]
        for a in range(m):
            fourth += dot(R[a], R[a]) ** 2
        g = gamma if gamma >= 0.0 else ledoit_wolf(squares, fourth, trace, m, p)
        for q in range(p):
            for r in range(q, p):
                S[q, r] += folds.prior[first + c] * (1.0 - g) / m * scale[q] * scale[r] * C[q, r]
            S[q, q] += folds.prior[first + c] * g * trace / m / p * scale[q] ** 2
    for q in range(p):
        diagonal[q] = S[q, q]
    if cholesky(S, p) != 0:
        return 1
    for q in range(p):
        if not S[q, q] ** 2 > _SINGULAR_PIVOT * diagonal[q]:
            return 1
    for t in range(nv):
        make_vector(t, k, mean, Z, weights[t])
    cholesky_solve(S, p, weights, nv)
    write_from_weights(folds, fold, Z, mean, weights, out)
    return 0


@helper
def _fixed_sphere(block, b, folds, gamma, work, space, out):
    """Every fold of one sphere; returns the first status that is not 0. G is made once for all folds."""
    members = block.indices[block.indptr[b] : block.indptr[b + 1]]
    few_voxels = members.shape[0] < block.features_below
    Z, G = space.Z[:0].reshape(0, 0), work.G
    a, square = np.empty(0 if folds.most == 2 else block.X.shape[1]), 0.0
    if few_voxels:
        Z = read_samples(block, b, space)
    else:
        read_sphere(block, b, work)
        square = products_with_means(block.X, members, block.means, a) if folds.most > 2 else 0.0
    for fold in range(folds.of_fold.shape[0] - 1):
        if folds.of_fold[fold] < folds.of_fold[fold + 1]:
            if few_voxels:
                code = _features_fold(Z, folds, fold, gamma, space, out)
            else:
                code = gram_fold(G, a, square, len(members), folds, fold, gamma, work.A, work.rows, out)
            if code != 0:
                return code
    return 0


@helper
def _auto_sphere(Z, few_voxels, folds, space, out):
    """Every fold of one sphere; returns the first status that is not 0."""
    for fold in range(folds.of_fold.shape[0] - 1):
        if folds.of_fold[fold] < folds.of_fold[fold + 1]:
            if few_voxels:
                code = _features_fold(Z, folds, fold, -1.0, space, out)
            else:
                code = _auto_gram_fold(Z, folds, fold, space, out)
            if code != 0:
                return code
    return 0


@over_spheres
def lda_fixed(block, folds, gamma, out, status):
    """Held-out scores ``out`` (n_centres, n_out) with shrinkage ``gamma``, NaN where ``status`` (n_centres,) is not 0.

    Status 1: the covariance matrix is singular; -1: fewer than ``min_voxels``.
    """
    space, work = allocate_space(block, folds), allocate(block, folds.most + 1)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _fixed_sphere(block, b, folds, gamma, work, space, out[b])
            if status[b] != 0:
                out[b] = np.nan


@over_spheres
def lda_auto(block, folds, out, status):
    """As :func:`lda_fixed`, with the shrinkage that Ledoit and Wolf choose for each class of each fold."""
    space = allocate_space(block, folds)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        p = block.indptr[b + 1] - block.indptr[b]
        if p >= block.min_voxels:
            Z = read_samples(block, b, space)
            status[b] = _auto_sphere(Z, p < block.features_below, folds, space, out[b])
            if status[b] != 0:
                out[b] = np.nan
