"""Discriminant analysis with fixed shrinkage g, from the Gram matrix G of all samples: one factor a fold.

With S the training samples, Z (m, k) the indicators of their classes, and tr_k the scatter within class k,

    A = (1 - g) G_SS + diag(b n_k / pi_k),    b = g / n_voxels sum_k pi_k / n_k tr_k,
    B = A^-1 Z (Z' A^-1 Z)^-1,                N = A^-1 - B Z' A^-1

serve for the covariance matrix C = (1 - g) sum_k pi_k C_k + b I. Its samples are centred by class, which is the
constraint Z' beta = 0 on their coefficients, and Woodbury's formula gives

    C^-1 (m_1, ..., m_k) = X_S' B / b,    C^-1 v = (v - (1 - g) X_S' N X_S v) / b

With A = R' R and Y = R'^-1 Z, which the factor takes along, Z' A^-1 Z = Y' Y and B = R^-1 Y (Y' Y)^-1: one system with
R for each vector.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.discriminant import write_scores
from fastsl._kernels.matrices import cholesky, cholesky_beside, cholesky_solve, solve_triangle
from fastsl._kernels.rows import add, cut, dot
from fastsl._runtime.jit import helper

#: b below this part of what the largest sample would give is rounding: the covariance matrix is singular.
_SINGULAR = 1e-13


class GroupSums(NamedTuple):
    """What the groups of samples that all folds keep together have of G."""

    rows: NDArray[np.float64]  # (n_groups, n_samples) its rows, summed
    products: NDArray[np.float64]  # (n_groups, n_groups) those summed over groups again
    trace: NDArray[np.float64]  # (n_groups,)
    largest: NDArray[np.float64]  # (n_groups,) on the diagonal


class GramSpace(NamedTuple):
    """Work space of a task, flat: every fold cuts its own matrices from it."""

    A: NDArray[np.float64]  # the system, and what stands beside it
    Y: NDArray[np.float64]  # (n_beside, n_training) that again, a column a row
    rows: NDArray[np.float64]  # (n_vectors, n_training)
    F: NDArray[np.float64]  # (n_vectors, n_samples)
    C: NDArray[np.float64]  # (n_classes, n_classes)
    T: NDArray[np.float64]  # (n_vectors, n_classes)
    at_mean: NDArray[np.float64]  # (n_vectors, n_classes)
    beta: NDArray[np.float64]  # (n_samples,)
    means: NDArray[np.float64]  # (n_classes, n_samples)


@helper
def allocate_gram_space(n, most):
    """Work space for folds of n samples and at most so many classes."""
    return GramSpace(
        np.empty(n * _row_length(n + most + 1)),
        np.empty(n * (most + 1)),
        np.empty(n * (most + 1)),
        np.empty(n * (most + 1)),
        np.empty(most * most),
        np.empty(most * (most + 1)),
        np.empty(most * (most + 1)),
        np.empty(n),
        np.empty(n * most),
    )


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
def group_sums(G, groups):
    """Sums over G, both triangles of it."""
    n_groups, n = groups.ptr.shape[0] - 1, G.shape[0]
    sums = GroupSums(np.zeros((n_groups, n)), np.zeros((n_groups, n_groups)), np.zeros(n_groups), np.zeros(n_groups))
    for g in range(n_groups):
        for i in groups.samples[groups.ptr[g] : groups.ptr[g + 1]]:
            add(1.0, G[i], sums.rows[g])
            sums.trace[g] += G[i, i]
            sums.largest[g] = max(sums.largest[g], G[i, i])
        for h in range(n_groups):
            for i in groups.samples[groups.ptr[h] : groups.ptr[h + 1]]:
                sums.products[g, h] += sums.rows[g, i]
    return sums


@helper
def _spread_of_classes(sums, n_voxels, folds, first, k, gamma):
    """b, or 0 where nothing varies within classes."""
    b, largest = 0.0, 0.0
    for c in range(first, first + k):
        weights, n_k = folds.groups.weight[c], folds.class_ptr[c + 1] - folds.class_ptr[c]
        trace = 0.0
        for g in range(weights.shape[0]):
            if weights[g] > 0.0:
                trace += sums.trace[g] - dot(sums.products[g], weights) / n_k
                largest = max(largest, gamma * sums.largest[g] / n_voxels)
        b += gamma * folds.prior[c] / n_k * trace / n_voxels
    return b if b > _SINGULAR * largest else 0.0


@helper
def _row_length(end):
    """Numbers from row to row of a system with what stands beside it, ``end`` columns.

    An odd number of a cache's lines of 64 bytes, so that a column is not in the same few places of the cache.
    """
    return ((end + 7) // 8 | 1) * 8


@helper
def _copy_scaled(factor, row, target):
    for j in range(target.shape[0]):
        target[j] = factor * row[j]


@helper
def _system(G, S, label, ends, b, folds, first, k, gamma, A):
    """A, its upper triangle, and beside it Z."""
    m = S.shape[0]
    for r in range(m):
        place, c = r, label[r]
        while place < m:  # stretches of samples that follow each other, which are copied at once
            part = slice(S[place], S[place] + ends[place] - place)
            _copy_scaled(1.0 - gamma, G[S[r], part], A[r, place : ends[place]])
            place = ends[place]
        A[r, r] += b * (folds.class_ptr[first + c + 1] - folds.class_ptr[first + c]) / folds.prior[first + c]
        for d in range(k):
            A[r, m + d] = 1.0 if d == c else 0.0


@helper
def _right_sides(Y, C, T, rows):
    """Y (Y' Y)^-1 of what the vectors are made of, one a row; the last row of Y is perhaps R'^-1 X_S m.

    For two classes the difference of their means; for more these means, and then Y' R'^-1 X_S m, less R'^-1 X_S m.
    Returns 0, or 1.
    """
    k, n_vectors = C.shape[0], rows.shape[0]
    for c in range(k):
        for d in range(c, k):
            C[c, d] = dot(Y[c], Y[d])
        for t in range(n_vectors):
            T[t, c] = dot(Y[c], Y[k]) if t == k else (1.0 if t == c else 0.0)
    if k == 2:
        T[0, 0], T[0, 1] = -1.0, 1.0
    if cholesky(C, k) != 0:
        return 1
    cholesky_solve(C, k, T, n_vectors)
    for t in range(n_vectors):
        for r in range(rows.shape[1]):
            rows[t, r] = -Y[k, r] if t == k else 0.0
        for c in range(k):
            add(T[t, c], Y[c], rows[t])
    return 0


@helper
def _class_means(sums, folds, first, means):
    """Means of the rows of G over each class of a fold."""
    for c in range(means.shape[0]):
        n_k, weights = folds.class_ptr[first + c + 1] - folds.class_ptr[first + c], folds.groups.weight[first + c]
        for i in range(means.shape[1]):
            means[c, i] = 0.0
        for g in range(weights.shape[0]):
            if weights[g] > 0.0:
                add(1.0 / n_k, sums.rows[g], means[c])


@helper
def _evaluate(beta, G, means, test, f, at_mean):
    """G beta of the test samples, and of the means of classes."""
    for i in test:
        f[i] = dot(G[i], beta)
    for c in range(means.shape[0]):
        at_mean[c] = dot(means[c], beta)


@helper
def gram_fold(G, sums, a, square, n_voxels, folds, fold, gamma, space, out):
    """Write the scores of a fold. Returns 0, or 1 where the covariance matrix is singular.

    ``sums`` are of :func:`group_sums`; ``a`` and ``square`` of :func:`products_with_means`, for three classes or more:
    with two their difference does not notice.
    """
    first, n = folds.of_fold[fold], G.shape[0]
    k, start = folds.of_fold[fold + 1] - first, folds.class_ptr[first]
    shifted = k > 2 and square > 0.0
    n_vectors = 1 if k == 2 else (k + 1 if shifted else k)
    part = slice(start, folds.class_ptr[first + k])
    S, label, ends = folds.ordered.samples[part], folds.ordered.label[part], folds.ordered.ends[part]
    m = S.shape[0]
    end = m + k + (1 if shifted else 0)
    A, rows = cut(space.A, m, _row_length(end)), cut(space.rows, n_vectors, m)
    b = _spread_of_classes(sums, n_voxels, folds, first, k, gamma)
    _system(G, S, label, ends, b, folds, first, k, gamma, A)
    if shifted:
        for r in range(m):
            A[r, m + k] = a[S[r]]
    if not b > 0.0 or cholesky_beside(A, m, end) != 0:
        return 1
    Y = cut(space.Y, end - m, m)
    for r in range(m):
        for c in range(end - m):
            Y[c, r] = A[r, m + c]
    if _right_sides(Y, cut(space.C, k, k), cut(space.T, n_vectors, k), rows) != 0:
        return 1
    solve_triangle(A, m, rows, n_vectors)
    F, at_mean, beta = cut(space.F, n_vectors, n), cut(space.at_mean, n_vectors, k), space.beta
    means, test = cut(space.means, k, n), folds.test[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]
    _class_means(sums, folds, first, means)
    half_square = 0.5 * square / b
    for i in range(n):
        beta[i] = 0.0
    for t in range(n_vectors):
        for r in range(m):
            beta[S[r]] = ((1.0 - gamma) if t == k else 1.0) * rows[t, r] / b
        _evaluate(beta, G, means, test, F[t], at_mean[t])
        if t == k:
            half_square += 0.5 * dot(beta, a)
            add(1.0 / b, a, F[t])
    write_scores(folds, fold, F, at_mean, half_square, out)
    return 0
