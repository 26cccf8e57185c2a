"""Discriminant analysis with fixed shrinkage g, from the Gram matrix G of all samples: one factor a fold.

With S the training samples, Z (m, k) the indicators of their classes, and tr_k the scatter within class k,

    A = (1 - g) G_SS + diag(b n_k / pi_k),    b = g / n_voxels sum_k pi_k / n_k tr_k,
    B = A^-1 Z (Z' A^-1 Z)^-1,                N = A^-1 - B Z' A^-1

serve for the covariance matrix C = (1 - g) sum_k pi_k C_k + b I. Its samples are centred by class, which is the
constraint Z' beta = 0 on their coefficients, and Woodbury's formula gives

    C^-1 (m_1, ..., m_k) = X_S' B / b,    C^-1 v = (v - (1 - g) X_S' N X_S v) / b
"""

import numpy as np

from fastsl._kernels.discriminant import class_mean, means_at, write_scores
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._kernels.rows import add
from fastsl._runtime.jit import helper

#: b below this part of what the largest sample would give is rounding: the covariance matrix is singular.
_SINGULAR = 1e-13


@helper
def products_with_means(X, members, means, a):
    """a_i = z_i . m; returns m . m."""
    square = 0.0
    for i in range(a.shape[0]):
        a[i] = 0.0
    for voxel in members:
        if means[voxel] != 0.0:
            square += means[voxel] ** 2
            add(means[voxel], X[voxel], a)
    return square


@helper
def _system(G, n_voxels, folds, fold, gamma, A, Z):
    """A and Z, a class a row; returns b, or 0 where nothing varies within classes."""
    first, last = folds.of_fold[fold], folds.of_fold[fold + 1]
    start, m = folds.class_ptr[first], folds.class_ptr[last] - folds.class_ptr[first]
    S, mean, ridge = folds.train[start : start + m], np.empty(G.shape[0]), np.empty(m)
    b, largest = 0.0, 0.0
    for c in range(first, last):
        begin, end = folds.class_ptr[c] - start, folds.class_ptr[c + 1] - start
        class_mean(G, S[begin:end], mean)
        trace = 0.0
        for i in range(m):
            Z[c - first, i] = 0.0
        for i in range(begin, end):
            Z[c - first, i] = 1.0
            ridge[i] = (end - begin) / folds.prior[c]
            trace += G[S[i], S[i]] - mean[S[i]]
            largest = max(largest, gamma * G[S[i], S[i]] / n_voxels)
        b += gamma * folds.prior[c] / (end - begin) * trace / n_voxels
    for i in range(m):
        row = G[S[i]]
        for j in range(i, m):
            A[i, j] = (1.0 - gamma) * row[S[j]]
        A[i, i] += b * ridge[i]
    return b if b > _SINGULAR * largest else 0.0


@helper
def _of_classes(solved, folds, first, T):
    """(Z' A^-1 Z)^-1 of what the vectors are made of, one a row of T. ``solved`` has A^-1 Z and perhaps A^-1 X_S m.

    For two classes the difference of their means; for more these means, and then Z' A^-1 X_S m. Returns 0, or 1.
    """
    k, start = T.shape[1], folds.class_ptr[first]
    C = np.empty((k, k))
    for c in range(k):
        begin, end = folds.class_ptr[first + c] - start, folds.class_ptr[first + c + 1] - start
        for d in range(k):
            C[c, d] = solved[d, begin:end].sum()
        for t in range(T.shape[0]):
            if t == k:
                T[t, c] = solved[k, begin:end].sum()
            else:
                T[t, c] = 1.0 if c == (1 if k == 2 else t) else (-1.0 if k == 2 else 0.0)
    if cholesky(C, k) != 0:
        return 1
    cholesky_solve(C, k, T, T.shape[0])
    return 0


@helper
def gram_fold(G, a, square, n_voxels, folds, fold, gamma, A, rows, out):
    """Write the scores of a fold. Returns 0, or 1 where the covariance matrix is singular.

    ``a`` and ``square`` are of :func:`products_with_means`, for three classes or more: with two their difference does
    not notice. ``A`` and ``rows`` are work space.
    """
    first, n = folds.of_fold[fold], G.shape[0]
    k, start = folds.of_fold[fold + 1] - first, folds.class_ptr[first]
    m = folds.class_ptr[first + k] - start
    S, shifted = folds.train[start : start + m], k > 2 and square > 0.0
    n_vectors = 1 if k == 2 else (k + 1 if shifted else k)
    F, at_mean, T = np.zeros((n_vectors, n)), np.empty((n_vectors, k)), np.empty((n_vectors, k))
    b = _system(G, n_voxels, folds, fold, gamma, A, rows)
    if shifted:
        for i in range(m):
            rows[k, i] = a[S[i]]
    if not b > 0.0 or cholesky(A, m) != 0:
        return 1
    cholesky_solve(A, m, rows, k + 1 if shifted else k)
    if _of_classes(rows, folds, first, T) != 0:
        return 1
    half_square = 0.5 * square / b
    for t in range(n_vectors):
        for i in range(m):
            beta = 0.0
            for c in range(k):
                beta += T[t, c] * rows[c, i]
            if t == k:
                beta = (1.0 - gamma) * (beta - rows[k, i])
                half_square += 0.5 * beta * a[S[i]] / b
            add(beta, G[S[i]], F[t])
        if t == k:
            add(1.0, a, F[t])
        for i in range(n):
            F[t, i] /= b
        means_at(folds, first, F[t], at_mean[t])
    write_scores(folds, fold, F, at_mean, half_square, out)
    return 0
