"""Linear discriminant analysis without shrinkage, on the directions in which the classes vary: solver ``svd``.

    R_i = (z_i - m_k) / (s sqrt(d)) = U diag(sigma) V'         s: standard deviation within classes, voxel by voxel
    P = V diag(sigma)^-2 V' over sigma > tol,                  A = diag(1/s) P diag(1/s)
    score_k(x) = (x - c)' A (m_k - c) - 1/2 (m_k - c)' A (m_k - c) + log pi_k,       c = sum_k pi_k m_k

with m_k - c first projected on the directions in which the means differ by more than ``tol`` of the largest difference.
d is n training samples less ``lost`` for each class: scikit-learn takes 1 before its version 1.9, and none since.

Where every sigma but those of the classes' own means is well above ``tol``, P comes from a Cholesky factor of R R' or
R'R. Squaring loses the small sigma (relative error 1e-16 / sigma^2), so elsewhere R itself is decomposed.
"""

import numpy as np

from fastsl._kernels.discriminant import allocate_space, class_mean, read_samples, write_scores
from fastsl._kernels.lapack import cholesky, cholesky_solve, singular_vectors, syrk, syrk_rows
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.rows import cut, dot
from fastsl._runtime.jit import helper

#: Where a sigma^2 is below this part of the sum of all of them, R itself is decomposed, in eight times the time.
#: Measured against scikit-learn (257 voxels, 100 training samples): with the smallest at 4e-7 squaring moves scores by
#: 2e-11 of the largest one, at 2e-8 by 3e-10, at 4e-9 by 6e-10, at 1e-10 by 2e-7. Noise smoothed with a sigma of 1,
#: 1.5, 2 and 3 voxels has 3e-5, 6e-7, 2e-8 and 3e-11.
_SAFE_TO_SQUARE = 1e-8


@helper
def _scaled_rows(Z, folds, fold, lost, mean, s, R):
    """Fill R (training samples, n_voxels), the class means and s; s is 1 where a voxel does not vary within classes."""
    first, start = folds.of_fold[fold], folds.class_ptr[folds.of_fold[fold]]
    m, p = R.shape
    for q in range(p):
        s[q] = 0.0
    for c in range(mean.shape[0]):
        a, b = folds.class_ptr[first + c], folds.class_ptr[first + c + 1]
        class_mean(Z, folds.train[a:b], mean[c])
        for i in range(a, b):
            for q in range(p):
                R[i - start, q] = Z[folds.train[i], q] - mean[c, q]
                s[q] += R[i - start, q] ** 2
    for q in range(p):
        s[q] = np.sqrt(s[q] / m) if s[q] > 0.0 else 1.0
    d = max(m - lost * mean.shape[0], 1)
    for i in range(m):
        for q in range(p):
            R[i, q] /= s[q] * np.sqrt(d)


@helper
def _square(R, folds, fold, H):
    """R'R; or R R' with ones where it has zeros: the averages over each class, which R has subtracted."""
    if H.shape[0] == R.shape[1]:
        syrk(R, H)
        return
    syrk_rows(R, H)
    start = folds.class_ptr[folds.of_fold[fold]]
    for c in range(folds.of_fold[fold], folds.of_fold[fold + 1]):
        a, b = folds.class_ptr[c] - start, folds.class_ptr[c + 1] - start
        for i in range(a, b):
            for j in range(i, b):
                H[i, j] += 1.0 / (b - a)


@helper
def _solve_by_square(R, folds, fold, tol, space, V):
    """Replace the rows of V by P v, from a Cholesky factor. Returns 1, V as it was, where that is not safe.

    H - limit I has a Cholesky factor exactly where every sigma^2 is above the limit.
    """
    m, p = R.shape
    k, by_voxels = folds.of_fold[fold + 1] - folds.of_fold[fold], p <= m
    order = p if by_voxels else m
    if not by_voxels and p < m - k:
        return 1
    H, rows = cut(space.A, order, order), cut(space.rows, V.shape[0], order)
    limit = max(tol**2, _SAFE_TO_SQUARE * p)
    _square(R, folds, fold, H)
    for i in range(order):
        H[i, i] -= limit
    if limit >= 1.0 or cholesky(H, order) != 0:
        return 1
    _square(R, folds, fold, H)
    if cholesky(H, order) != 0:
        return 1
    if by_voxels:
        cholesky_solve(H, order, V, V.shape[0])
        return 0
    for t in range(V.shape[0]):
        for i in range(m):
            rows[t, i] = dot(R[i], V[t])
    cholesky_solve(H, order, rows, V.shape[0])
    cholesky_solve(H, order, rows, V.shape[0])
    for t in range(V.shape[0]):
        for q in range(p):
            V[t, q] = 0.0
        for i in range(m):
            for q in range(p):
                V[t, q] += rows[t, i] * R[i, q]
    return 0


@helper
def _solve_by_svd(R, tol, V):
    """Replace the rows of V by P v; R is overwritten. Returns 1 where no sigma is above tol."""
    m, p = R.shape
    sigma, right, left = np.empty(min(m, p)), np.empty((min(m, p), p)), np.empty((m, min(m, p)))
    if singular_vectors(R, sigma, left, right) != 0 or not sigma[0] > tol:
        return 1
    for t in range(V.shape[0]):
        v = V[t].copy()
        for q in range(p):
            V[t, q] = 0.0
        for r in range(sigma.shape[0]):
            if sigma[r] > tol:
                part = dot(right[r], v) / sigma[r] ** 2
                for q in range(p):
                    V[t, q] += part * right[r, q]
    return 0


@helper
def _project(weights, away, prior, tol):
    """Weights of means that are projected on the directions in which they differ.

    With B_jk = (m_j - c)' A (m_k - c) and w = sqrt(pi), the eigenvectors U of w_j B_jk w_k whose singular value is over
    ``tol`` of the largest give    A (m_k - c) -> sum_j (U U')_kj w_j / w_k A (m_j - c).
    """
    k, p = weights.shape
    B, U, right, squares = np.empty((k, k)), np.empty((k, k)), np.empty((k, k)), np.empty(k)
    for i in range(k):
        for j in range(k):
            B[i, j] = np.sqrt(prior[i] * prior[j]) * dot(away[i], weights[j])
    for i in range(k):
        for j in range(i):
            B[i, j] = B[j, i]
    if singular_vectors(B, squares, U, right) != 0:
        return 1
    old = weights.copy()
    for i in range(k):
        for q in range(p):
            weights[i, q] = 0.0
        for j in range(k):
            part = 0.0
            for r in range(k):
                if np.sqrt(squares[r]) > tol * np.sqrt(squares[0]):
                    part += U[i, r] * U[j, r]
            part *= np.sqrt(prior[j] / prior[i])
            for q in range(p):
                weights[i, q] += part * old[j, q]
    return 0


@helper
def _fold(Z, folds, fold, tol, lost, space, out):
    first, last = folds.of_fold[fold], folds.of_fold[fold + 1]
    k, m, p = last - first, folds.class_ptr[last] - folds.class_ptr[first], Z.shape[1]
    nv = 1 if k == 2 else k
    R, mean, s, centre = cut(space.R, m, p), np.empty((k, p)), np.empty(p), np.zeros(p)
    _scaled_rows(Z, folds, fold, lost, mean, s, R)
    for c in range(k):
        for q in range(p):
            centre[q] += folds.prior[first + c] * mean[c, q]
    weights, F, at_mean = np.empty((nv, p)), np.empty((nv, Z.shape[0])), np.empty((nv, k))
    for c in range(k):
        for q in range(p):
            mean[c, q] -= centre[q]
    for t in range(nv):
        for q in range(p):
            weights[t, q] = (mean[1, q] - mean[0, q] if k == 2 else mean[t, q]) / s[q]
    if _solve_by_square(R, folds, fold, tol, space, weights) != 0 and _solve_by_svd(R, tol, weights) != 0:
        return 1
    for t in range(nv):
        for q in range(p):
            weights[t, q] /= s[q]
    if k > 2 and _project(weights, mean, folds.prior[first:last], tol) != 0:
        return 1
    for t in range(nv):
        for i in folds.test[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]:
            F[t, i] = dot(Z[i], weights[t]) - dot(centre, weights[t])
        for c in range(k):
            at_mean[t, c] = dot(mean[c], weights[t])
    write_scores(folds, fold, F, at_mean, 0.0, out)
    return 0


@over_spheres
def lda_svd(block, folds, tol, lost, out, status):
    """Held-out scores ``out`` (n_centres, n_out), NaN where ``status`` (n_centres,) is not 0.

    Status 1: the samples do not vary within classes, or the decomposition failed; -1: fewer than ``min_voxels``.
    """
    space = allocate_space(block, folds)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            Z = read_samples(block, b, space)
            status[b] = 0
            for fold in range(folds.of_fold.shape[0] - 1):
                if status[b] == 0 and folds.of_fold[fold] < folds.of_fold[fold + 1]:
                    status[b] = _fold(Z, folds, fold, tol, lost, space, out[b])
            if status[b] != 0:
                out[b] = np.nan
