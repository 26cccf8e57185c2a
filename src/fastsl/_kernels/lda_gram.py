"""Discriminant analysis with fixed shrinkage g, from the Gram matrix G of all samples: one factor a fold.

With S the training samples, Z (m, k) the indicators of their classes, and tr_k the scatter within class k,

    A = (1 - g) G_SS + diag(b n_k / pi_k),    b = g / n_voxels sum_k pi_k / n_k tr_k,
    B = A^-1 Z (Z' A^-1 Z)^-1,                N = A^-1 - B Z' A^-1

serve for the covariance matrix C = (1 - g) sum_k pi_k C_k + b I. Its samples are centred by class, which is the
constraint Z' beta = 0 on their coefficients, and Woodbury's formula gives

    C^-1 (m_1, ..., m_k) = X_S' B / b,    C^-1 v = (v - (1 - g) X_S' N X_S v) / b
"""

import numpy as np

from fastsl._kernels.discriminant import write_scores
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._kernels.rows import add, dot
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
def group_rows(G, groups):
    """Rows of G summed over each group of samples that all folds keep together, (n_groups, n_samples)."""
    sums = np.zeros((groups.ptr.shape[0] - 1, G.shape[0]))
    for g in range(sums.shape[0]):
        for i in groups.samples[groups.ptr[g] : groups.ptr[g + 1]]:
            add(1.0, G[i], sums[g])
    return sums


@helper
def _class_means(sums, folds, first, means):
    """Means of the rows of G over each class of a fold."""
    for c in range(means.shape[0]):
        n_k, weight = folds.class_ptr[first + c + 1] - folds.class_ptr[first + c], folds.groups.weight[first + c]
        for i in range(means.shape[1]):
            means[c, i] = 0.0
        for g in range(sums.shape[0]):
            if weight[g] > 0.0:
                add(1.0 / n_k, sums[g], means[c])


@helper
def _list_samples(folds, first, k, S, label, ends):
    """Training samples S in their order, the class of each, and where those that follow each other end.

    Returns how many; ``label`` is of all samples.
    """
    for i in range(label.shape[0]):
        label[i] = -1
    for c in range(k):
        for i in folds.train[folds.class_ptr[first + c] : folds.class_ptr[first + c + 1]]:
            label[i] = c
    m = 0
    for i in range(label.shape[0]):
        if label[i] >= 0:
            S[m] = i
            m += 1
    for r in range(m - 1, -1, -1):
        ends[r] = ends[r + 1] if r + 1 < m and S[r + 1] == S[r] + 1 else r + 1
    return m


@helper
def _spread_of_classes(G, S, label, means, n_voxels, folds, first, gamma):
    """b, or 0 where nothing varies within classes."""
    b, largest = 0.0, 0.0
    for i in S:
        c, square = label[i], G[i, i]
        n_k = folds.class_ptr[first + c + 1] - folds.class_ptr[first + c]
        largest = max(largest, gamma * square / n_voxels)
        b += gamma * folds.prior[first + c] / n_k * (square - means[c, i]) / n_voxels
    return b if b > _SINGULAR * largest else 0.0


@helper
def _copy_scaled(factor, row, target):
    for j in range(target.shape[0]):
        target[j] = factor * row[j]


@helper
def _system(G, S, ends, label, b, folds, first, gamma, A, Z):
    """A, its upper triangle, and Z, a class a row."""
    m = S.shape[0]
    for r in range(m):
        place, c = r, label[S[r]]
        while place < m:  # stretches of samples that follow each other, which are copied at once
            part = slice(S[place], S[place] + ends[place] - place)
            _copy_scaled(1.0 - gamma, G[S[r], part], A[r, place : ends[place]])
            place = ends[place]
        A[r, r] += b * (folds.class_ptr[first + c + 1] - folds.class_ptr[first + c]) / folds.prior[first + c]
        for d in range(Z.shape[0]):
            Z[d, r] = 1.0 if d == c else 0.0


@helper
def _of_classes(solved, S, label, T):
    """(Z' A^-1 Z)^-1 of what the vectors are made of, one a row of T. ``solved`` has A^-1 Z and perhaps A^-1 X_S m.

    For two classes the difference of their means; for more these means, and then Z' A^-1 X_S m. Returns 0, or 1.
    """
    k = T.shape[1]
    C, last = np.zeros((k, k)), np.zeros(k)
    for r in range(S.shape[0]):
        for d in range(k):
            C[label[S[r]], d] += solved[d, r]
        if T.shape[0] > k:
            last[label[S[r]]] += solved[k, r]
    for c in range(k):
        for t in range(T.shape[0]):
            if t == k:
                T[t, c] = last[c]
            else:
                T[t, c] = 1.0 if c == (1 if k == 2 else t) else (-1.0 if k == 2 else 0.0)
    if cholesky(C, k) != 0:
        return 1
    cholesky_solve(C, k, T, T.shape[0])
    return 0


@helper
def _at_samples(beta, G, folds, fold, means, f, at_mean):
    """G beta of the test samples, and of the means of classes."""
    for i in folds.test[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]:
        f[i] = dot(G[i], beta)
    for c in range(means.shape[0]):
        at_mean[c] = dot(means[c], beta)


@helper
def gram_fold(G, sums, a, square, n_voxels, folds, fold, gamma, A, rows, out):
    """Write the scores of a fold. Returns 0, or 1 where the covariance matrix is singular.

    ``sums`` are of :func:`group_rows`; ``a`` and ``square`` of :func:`products_with_means`, for three classes or more:
    with two their difference does not notice. ``A`` and ``rows`` are work space.
    """
    first, n = folds.of_fold[fold], G.shape[0]
    k = folds.of_fold[fold + 1] - first
    shifted = k > 2 and square > 0.0
    n_vectors = 1 if k == 2 else (k + 1 if shifted else k)
    means, label, S, ends = np.empty((k, n)), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    _class_means(sums, folds, first, means)
    m = _list_samples(folds, first, k, S, label, ends)
    b = _spread_of_classes(G, S[:m], label, means, n_voxels, folds, first, gamma)
    _system(G, S[:m], ends, label, b, folds, first, gamma, A, rows[:k])
    if shifted:
        for r in range(m):
            rows[k, r] = a[S[r]]
    if not b > 0.0 or cholesky(A, m) != 0:
        return 1
    cholesky_solve(A, m, rows, k + 1 if shifted else k)
    F, at_mean, T = np.zeros((n_vectors, n)), np.empty((n_vectors, k)), np.empty((n_vectors, k))
    if _of_classes(rows, S[:m], label, T) != 0:
        return 1
    half_square, beta = 0.5 * square / b, np.zeros(n)
    for t in range(n_vectors):
        for r in range(m):
            total = 0.0
            for c in range(k):
                total += T[t, c] * rows[c, r]
            beta[S[r]] = total / b if t < k else (1.0 - gamma) * (total - rows[k, r]) / b
        _at_samples(beta, G, folds, fold, means, F[t], at_mean[t])
        if t == k:
            half_square += 0.5 * dot(beta, a)
            add(1.0 / b, a, F[t])
    write_scores(folds, fold, F, at_mean, half_square, out)
    return 0
