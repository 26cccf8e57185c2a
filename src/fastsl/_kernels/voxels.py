"""What decoders that are sums over voxels need to know of each voxel, whatever sphere it is in.

Means and variances of classes, computed once for the voxels of a block of spheres, in float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._runtime.jit import helper, kernel


class ClassFolds(NamedTuple):
    """Classes of the training samples, and the test samples, of every fold. Entry e is one class of one fold.

    A group are samples that are together in every entry: of a class and a run, where folds leave out runs.
    """

    grouped: NDArray[np.int64]  # samples that are in any entry, group after group
    group_ptr: NDArray[np.int64]  # (n_groups + 1,) into grouped
    member: NDArray[np.float64]  # (n_groups, n_entries) how often an entry has each sample of a group: 1 or 0
    first: NDArray[np.int64]  # (n_folds + 1,) entries of a fold
    size: NDArray[np.int64]  # (n_entries,) training samples
    test: NDArray[np.int64]  # test samples, fold after fold
    test_ptr: NDArray[np.int64]  # (n_folds + 1,) into test
    start: NDArray[np.int64]  # (n_entries,) of an entry's results in the row of a sphere


class Voxels(NamedTuple):
    """Of each voxel of a block of spheres."""

    mean: NDArray[np.float64]  # (n_voxels, n_entries)
    var: NDArray[np.float64]  # (n_voxels, n_entries)
    total: NDArray[np.float64]  # (n_voxels, n_folds) variance over all training samples of a fold


@helper
def _group_moments(x, group):
    """Sum of the samples of a group, and of the squared deviations from their mean."""
    total, squares = 0.0, 0.0
    for i in group:
        total += np.float64(x[i])
    mean = total / group.shape[0]
    for i in group:
        d = np.float64(x[i]) - mean
        squares += d * d
    return total, squares


@helper
def _add_sums(member, total, mean):
    for e in range(mean.shape[0]):
        mean[e] += member[e] * total


@helper
def _add_deviations(member, n, group_mean, squares, mean, var):
    for e in range(mean.shape[0]):
        d = group_mean - mean[e]
        var[e] += member[e] * (squares + n * d * d)


@helper
def measure_moments(x, folds, voxels, v):
    """Means and variances of the voxel with the samples x, row v: of groups, and of entries from those."""
    mean, var, total = voxels.mean[v], voxels.var[v], voxels.total[v]
    n_groups = folds.member.shape[0]
    group_mean, squares = np.empty(n_groups), np.empty(n_groups)
    mean[:] = 0.0
    var[:] = 0.0
    for g in range(n_groups):
        group = folds.grouped[folds.group_ptr[g] : folds.group_ptr[g + 1]]
        total_g, squares[g] = _group_moments(x, group)
        group_mean[g] = total_g / group.shape[0]
        _add_sums(folds.member[g], total_g, mean)
    for e in range(mean.shape[0]):
        mean[e] /= folds.size[e]
    for g in range(n_groups):
        n = folds.group_ptr[g + 1] - folds.group_ptr[g]
        _add_deviations(folds.member[g], n, group_mean[g], squares[g], mean, var)
    for e in range(mean.shape[0]):
        var[e] /= folds.size[e]
    for fold in range(total.shape[0]):
        n, grand, spread = 0, 0.0, 0.0
        for e in range(folds.first[fold], folds.first[fold + 1]):
            n += folds.size[e]
            grand += folds.size[e] * mean[e]
        for e in range(folds.first[fold], folds.first[fold + 1]):
            spread += folds.size[e] * (var[e] + (mean[e] - grand / n) ** 2)
        total[fold] = spread / max(n, 1)


@helper
def take_tested(x, folds, tested):
    """The test samples of a voxel, fold after fold."""
    for place in range(folds.test.shape[0]):
        tested[place] = x[folds.test[place]]


@kernel
def measure_voxels(first, last, X, chosen, folds, voxels, tested):
    """Fill rows ``first`` to ``last - 1`` of ``voxels`` and ``tested`` (n_voxels, n_test) for ``chosen`` rows of X."""
    for v in range(first, last):
        measure_moments(X[chosen[v]], folds, voxels, v)
        take_tested(X[chosen[v]], folds, tested[v])


@helper
def add_squares(x, mean, weight, row):
    """row_i += weight (x_i - mean)^2"""
    for i in range(x.shape[0]):
        d = np.float64(x[i]) - mean
        row[i] += weight * d * d
