"""What decoders that are sums over voxels need to know of each voxel, whatever sphere it is in.

Means and variances of classes, computed once for the voxels of a block of spheres, in float64.
"""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from fastsl._runtime.jit import entry, helper


class ClassFolds(NamedTuple):
    """Classes of the training samples, and the test samples, of every fold. Entry e is one class of one fold."""

    member: NDArray[np.float64]  # (n_samples, n_entries) 1 for the training samples of an entry, else 0
    first: NDArray[np.int64]  # (n_folds + 1,) entries of a fold
    size: NDArray[np.int64]  # (n_entries,) training samples
    test: NDArray[np.int64]  # test samples, fold after fold
    test_ptr: NDArray[np.int64]  # (n_folds + 1,) into test
    start: NDArray[np.int64]  # (n_entries,) of an entry's results in the row of a sphere


class Voxels(NamedTuple):
    """Of each voxel of a block of spheres."""

    X: NDArray[np.float32]  # (n_voxels, n_test) test samples, fold after fold
    mean: NDArray[np.float64]  # (n_voxels, n_entries)
    var: NDArray[np.float64]  # (n_voxels, n_entries)
    total: NDArray[np.float64]  # (n_voxels, n_folds) variance over all training samples of a fold


@helper
def _add(member, x, mean):
    for e in range(mean.shape[0]):
        mean[e] += member[e] * x


@helper
def _add_deviations(member, x, mean, var):
    for e in range(mean.shape[0]):
        d = x - mean[e]
        var[e] += member[e] * d * d


@helper
def _moments(x, folds, voxels, v):
    """Means and variances of one voxel, in two passes."""
    mean, var, total = voxels.mean[v], voxels.var[v], voxels.total[v]
    mean[:] = 0.0
    var[:] = 0.0
    for i in range(x.shape[0]):
        _add(folds.member[i], x[i], mean)
    for e in range(mean.shape[0]):
        mean[e] /= folds.size[e]
    for i in range(x.shape[0]):
        _add_deviations(folds.member[i], x[i], mean, var)
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
def measure_voxel(x, folds, voxels, v):
    """Fill row v with what is known of the voxel with the samples x."""
    _moments(x.astype(np.float64), folds, voxels, v)
    for place in range(folds.test.shape[0]):
        voxels.X[v, place] = x[folds.test[place]]


@entry
def measure_voxels(X, chosen, folds, voxels):
    """Fill ``voxels`` for the rows ``chosen`` of X (n_voxels, n_samples)."""
    # A write to an array of a named tuple is lost in the body of a prange (numba 0.68), so that the body is one call.
    for v in nb.prange(chosen.shape[0]):
        measure_voxel(X[chosen[v]], folds, voxels, v)


@helper
def add_squares(x, mean, weight, row):
    """row_i += weight (x_i - mean)^2"""
    for i in range(x.shape[0]):
        d = np.float64(x[i]) - mean
        row[i] += weight * d * d
