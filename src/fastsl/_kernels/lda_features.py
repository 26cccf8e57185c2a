"""Discriminant analysis with shrinkage in spheres of few voxels: S itself, of the order of the voxels.

The scatter of a class in a fold is made of those of the groups g that it is made of, each about its own mean m_g:

    T_k = sum_g [P_g + n_g (m_g - m_k)(m_g - m_k)'],    P_g = sum_(i in g) (z_i - m_g)(z_i - m_g)'

    fixed shrinkage      S = sum_k pi_k / n_k [(1 - g) T_k + g tr(T_k) / n_voxels I]
    Ledoit and Wolf's    S = sum_k pi_k / n_k [(1 - g_k) T_k + g_k tr(D^-1 T_k D^-1) / n_voxels D^2]

with D^2 = diag(T_k) / n_k.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.discriminant import (
    class_mean,
    count_vectors,
    ledoit_wolf,
    make_vector,
    read_samples,
    write_from_weights,
)
from fastsl._kernels.groups import flat_sums, fold_sum, group_sums
from fastsl._kernels.matrices import add_syrk, cholesky, cholesky_solve
from fastsl._kernels.rows import add, copy_row, cut, dot
from fastsl._runtime.jit import helper, inlined

#: A pivot below this part of its diagonal entry is rounding: the covariance matrix is singular.
_SINGULAR_PIVOT = 1e-13


class ScatterSpace(NamedTuple):
    """Work space for the spheres of a part with few voxels, flat: each cuts its own matrices from it."""

    Z: NDArray[np.float64]  # samples, and the voxels' means as one row more
    W: NDArray[np.float64]  # samples less the mean of their group, sorted by group
    scaled: NDArray[np.float64]  # as W
    P: NDArray[np.float64]  # sums of groups
    C: NDArray[np.float64]  # of a class; then what is solved for
    S: NDArray[np.float64]
    means: NDArray[np.float64]  # of groups
    away: NDArray[np.float64]  # of groups, from the mean of their class


class Scatter(NamedTuple):
    """What all folds share of a sphere."""

    W: NDArray[np.float64]  # (n_samples, n_voxels)
    P: NDArray[np.float64]  # (n_groups, n_voxels, n_voxels), or empty
    means: NDArray[np.float64]  # (n_groups, n_voxels)
    traces: NDArray[np.float64]  # (n_groups,)


@helper
def scatter_space(block, folds):
    """Work space for the spheres ``block.order``."""
    n, n_groups, p = folds.groups.samples.shape[0], folds.groups.ptr.shape[0] - 1, 0
    for b in block.order:
        n_voxels = block.indptr[b + 1] - block.indptr[b]
        if n_voxels < block.features_below:
            p = max(p, n_voxels)
    return ScatterSpace(
        np.empty((block.X.shape[1] + 1) * p),
        np.empty(n * p),
        np.empty(n * p),
        flat_sums(folds.groups, p),
        np.empty(max(p, folds.most + 1) * p),
        np.empty(p * p),
        np.empty(n_groups * p),
        np.empty(n_groups * p),
    )


@helper
def _group_scatter(Z, groups, space):
    n_groups, p = groups.ptr.shape[0] - 1, Z.shape[1]
    W, means, traces = cut(space.W, groups.samples.shape[0], p), cut(space.means, n_groups, p), np.zeros(n_groups)
    for g in range(n_groups):
        first, last = groups.ptr[g], groups.ptr[g + 1]
        class_mean(Z, groups.samples[first:last], means[g])
        for a in range(first, last):
            copy_row(Z[groups.samples[a]], W[a])
            add(-1.0, means[g], W[a])
            traces[g] += dot(W[a], W[a])
    return Scatter(W, group_sums(W, groups, space.P), means, traces)


@helper
def _class_away(scatter, groups, entry, mean, away):
    """The mean m_k of a class, and its rows n_g^1/2 (m_g - m_k). Returns how many these are, and the trace of T_k."""
    a, m, trace = 0, 0.0, 0.0
    for q in range(mean.shape[0]):
        mean[q] = 0.0
    for g in range(scatter.means.shape[0]):
        size = groups.weight[entry, g] * (groups.ptr[g + 1] - groups.ptr[g])
        add(size, scatter.means[g], mean)
        m += size
    for q in range(mean.shape[0]):
        mean[q] /= m
    for g in range(scatter.means.shape[0]):
        if groups.weight[entry, g] > 0.0:
            size, row = groups.ptr[g + 1] - groups.ptr[g], away[a]
            for q in range(mean.shape[0]):
                row[q] = np.sqrt(size) * (scatter.means[g, q] - mean[q])
            trace += scatter.traces[g] + dot(row, row)
            a += 1
    return a, trace


@helper
def _write_fold(Z, folds, fold, mean, S, space, out):
    """Scores from the covariance matrix; returns 1 where it is singular."""
    k, p = mean.shape
    weights, diagonal = cut(space.C, count_vectors(Z, k), p), np.empty(p)
    for q in range(p):
        diagonal[q] = S[q, q]
    if cholesky(S, p) != 0:
        return 1
    for q in range(p):
        if not S[q, q] ** 2 > _SINGULAR_PIVOT * diagonal[q]:
            return 1
    for t in range(weights.shape[0]):
        make_vector(t, k, mean, Z, weights[t])
    cholesky_solve(S, p, weights, weights.shape[0])
    write_from_weights(folds, fold, Z, mean, weights, out)
    return 0


@helper
def fixed_covariance(scatter, folds, fold, gamma, space, mean, S):
    """S with shrinkage ``gamma``, and the means of the classes."""
    first, k, p, groups = folds.of_fold[fold], mean.shape[0], mean.shape[1], folds.groups
    weights, away, n_away, ridge = np.zeros(scatter.means.shape[0]), cut(space.away, *scatter.means.shape), 0, 0.0
    for c in range(k):
        of_class = folds.prior[first + c] / (folds.class_ptr[first + c + 1] - folds.class_ptr[first + c])
        add((1.0 - gamma) * of_class, groups.weight[first + c], weights)
        own, trace = _class_away(scatter, groups, first + c, mean[c], away[n_away:])
        for a in range(n_away, n_away + own):
            for q in range(p):
                away[a, q] *= np.sqrt((1.0 - gamma) * of_class)
        n_away += own
        ridge += gamma * of_class * trace / p
    fold_sum(scatter.W, groups.ptr, weights, scatter.P, cut(space.scaled, *scatter.W.shape), S)
    add_syrk(away[:n_away], S)
    for q in range(p):
        S[q, q] += ridge


@helper
def auto_covariance(scatter, folds, fold, gamma, space, mean, S):
    """S with the shrinkage that Ledoit and Wolf choose for each class, whatever ``gamma``, and the means of these."""
    first, k, p, groups = folds.of_fold[fold], mean.shape[0], mean.shape[1], folds.groups
    away, C, scale = cut(space.away, *scatter.means.shape), cut(space.C, p, p), np.empty(p)
    scaled = cut(space.scaled, *scatter.W.shape)
    for q in range(p):
        for r in range(q, p):
            S[q, r] = 0.0
    for c in range(k):
        m = folds.class_ptr[first + c + 1] - folds.class_ptr[first + c]
        n_away, _ = _class_away(scatter, groups, first + c, mean[c], away)
        fold_sum(scatter.W, groups.ptr, groups.weight[first + c], scatter.P, scaled, C)
        add_syrk(away[:n_away], C)
        for q in range(p):
            scale[q] = np.sqrt(C[q, q] / m) if C[q, q] > 0.0 else 1.0
        g, trace = _shrinkage(scatter, groups, first + c, m, mean[c], scale, C)
        of_class = folds.prior[first + c] / m
        for q in range(p):
            add(of_class * (1.0 - g), C[q, q:], S[q, q:])
            S[q, q] += of_class * g * trace / p * scale[q] ** 2


@helper
def _shrinkage(scatter, groups, entry, m, mean, scale, C):
    """Ledoit and Wolf's of a class that is divided by ``scale``, and the trace of its T_k."""
    squares, fourth, trace, row = 0.0, 0.0, 0.0, np.empty(scale.shape[0])
    for q in range(scale.shape[0]):
        for r in range(q, scale.shape[0]):
            row[r] = C[q, r] / (scale[q] * scale[r])
        squares += 2.0 * dot(row[q + 1 :], row[q + 1 :]) + row[q] ** 2
        trace += row[q]
    for g in range(scatter.means.shape[0]):
        if groups.weight[entry, g] > 0.0:
            for a in range(groups.ptr[g], groups.ptr[g + 1]):
                for q in range(scale.shape[0]):
                    row[q] = (scatter.W[a, q] + (scatter.means[g, q] - mean[q])) / scale[q]
                fourth += dot(row, row) ** 2
    return ledoit_wolf(squares, fourth, trace, m, scale.shape[0]), trace


@inlined
def features_sphere(block, b, folds, covariance, gamma, space, out):
    """Every fold of sphere b, by one of the two functions above. Returns the first status that is not 0."""
    Z = read_samples(block, b, space)
    scatter, p = _group_scatter(Z, folds.groups, space), Z.shape[1]
    S = cut(space.S, p, p)
    for fold in range(folds.of_fold.shape[0] - 1):
        if folds.of_fold[fold] < folds.of_fold[fold + 1]:
            mean = np.empty((folds.of_fold[fold + 1] - folds.of_fold[fold], p))
            covariance(scatter, folds, fold, gamma, space, mean, S)
            code = _write_fold(Z, folds, fold, mean, S, space, out)
            if code != 0:
                return code
    return 0
