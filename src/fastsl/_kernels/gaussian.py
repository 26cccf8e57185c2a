"""Decoders that are sums over voxels: Gaussian naive Bayes and nearest centroids.

For class k of a fold, with mean m and variance s2 of each voxel v over its training samples:

    naive Bayes          log p(x, k) = log prior_k - 1/2 sum_v [ log(2 pi s2_kv) + (x_v - m_kv)^2 / s2_kv ]
    nearest centroid     d_k(x) = sum_v (x_v - m_kv)^2

A voxel's means and variances do not depend on the sphere: they are tabulated once for the voxels of a block of spheres,
and the loop over a sphere's voxels reads them. Products of float32 data and sums are float64.
"""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from fastsl._runtime.jit import entry, helper

_LOG_TWO_PI = np.log(2.0 * np.pi)
#: Products of variances are turned into logarithms before they leave this range.
_SMALL, _LARGE = 1e-150, 1e150


class ClassFolds(NamedTuple):
    """Classes of the training samples, and the test samples, of every fold. Entry e is one class of one fold."""

    code: NDArray[np.int32]  # (n_folds, n_samples) entry of each training sample, -1 where it does not train
    first: NDArray[np.int64]  # (n_folds + 1,) entries of a fold
    size: NDArray[np.int64]  # (n_entries,) training samples
    test: NDArray[np.int64]  # test samples, fold after fold
    test_ptr: NDArray[np.int64]  # (n_folds + 1,) into test
    start: NDArray[np.int64]  # (n_entries,) of an entry's results in the row of a sphere


class Tables(NamedTuple):
    """What the spheres of a block need to know of each of its voxels."""

    X: NDArray[np.float32]  # (n_voxels, n_test) test samples, fold after fold
    mean: NDArray[np.float64]  # (n_voxels, n_entries)
    var: NDArray[np.float64]  # (n_voxels, n_entries)
    total: NDArray[np.float64]  # (n_voxels, n_folds) variance over all training samples of a fold


@helper
def _moments(x, folds, tables, v):
    """Means and variances of one voxel, in two passes."""
    mean, var, total = tables.mean[v], tables.var[v], tables.total[v]
    mean[:] = 0.0
    var[:] = 0.0
    for fold in range(folds.code.shape[0]):
        n, grand = 0, 0.0
        for i in range(x.shape[0]):
            e = folds.code[fold, i]
            if e >= 0:
                mean[e] += x[i]
                grand += x[i]
                n += 1
        for e in range(folds.first[fold], folds.first[fold + 1]):
            mean[e] /= folds.size[e]
        grand /= max(n, 1)
        total[fold] = 0.0
        for i in range(x.shape[0]):
            e = folds.code[fold, i]
            if e >= 0:
                var[e] += (x[i] - mean[e]) ** 2
                total[fold] += (x[i] - grand) ** 2
        for e in range(folds.first[fold], folds.first[fold + 1]):
            var[e] /= folds.size[e]
        total[fold] /= max(n, 1)


@helper
def _tabulate_voxel(x, folds, tables, v):
    _moments(x.astype(np.float64), folds, tables, v)
    for place in range(folds.test.shape[0]):
        tables.X[v, place] = x[folds.test[place]]


@entry
def tabulate(X, voxels, folds, tables):
    """Fill the tables for the ``voxels`` of X (n_voxels, n_samples)."""
    # A write to an array of a named tuple is lost in the body of a prange (numba 0.68), so that the body is one call.
    for v in nb.prange(voxels.shape[0]):
        _tabulate_voxel(X[voxels[v]], folds, tables, v)


@helper
def _add_squares(x, mean, weight, row):
    """row_i += weight (x_i - mean)^2"""
    for i in range(x.shape[0]):
        d = np.float64(x[i]) - mean
        row[i] += weight * d * d


@helper
def _bayes_sphere(members, tables, folds, log_prior, smoothing, row):
    """Joint log-likelihoods of one sphere; returns 1 where a variance is 0.

    scikit-learn adds to every variance ``smoothing`` times the largest variance of a voxel of the sphere.
    """
    n_folds, n_entries = folds.code.shape[0], folds.size.shape[0]
    added, logdet, product = np.zeros(n_folds), np.zeros(n_entries), np.ones(n_entries)
    for v in members:
        for fold in range(n_folds):
            added[fold] = max(added[fold], tables.total[v, fold])
    row[:] = 0.0
    for v in members:
        for fold in range(n_folds):
            x = tables.X[v, folds.test_ptr[fold] : folds.test_ptr[fold + 1]]
            for e in range(folds.first[fold], folds.first[fold + 1]):
                var = tables.var[v, e] + smoothing * added[fold]
                if not var > 0.0:
                    return 1
                product[e] *= var
                if not _SMALL < product[e] < _LARGE:
                    logdet[e] += np.log(product[e])
                    product[e] = 1.0
                _add_squares(x, tables.mean[v, e], 1.0 / var, row[folds.start[e] : folds.start[e] + x.shape[0]])
    p = members.shape[0]
    for fold in range(n_folds):
        for e in range(folds.first[fold], folds.first[fold + 1]):
            constant = log_prior[e] - 0.5 * (p * _LOG_TWO_PI + logdet[e] + np.log(product[e]))
            for i in range(folds.start[e], folds.start[e] + folds.test_ptr[fold + 1] - folds.test_ptr[fold]):
                row[i] = constant - 0.5 * row[i]
    return 0


@entry
def naive_bayes(block, tables, folds, log_prior, smoothing, out, status):
    """Joint log-likelihoods ``out`` (n_centres, n_out); ``block.indices`` are rows of the tables.

    Status 1: a variance is zero; -1: fewer than ``min_voxels``.
    """
    for b in nb.prange(block.indptr.shape[0] - 1):
        members = block.indices[block.indptr[b] : block.indptr[b + 1]]
        status[b] = -1
        if members.shape[0] >= block.min_voxels:
            status[b] = _bayes_sphere(members, tables, folds, log_prior, smoothing, out[b])
        if status[b] != 0:
            out[b] = np.nan


@helper
def _centroid_sphere(members, tables, folds, log_prior, by_distance, row):
    """What predicts, -d_k or the scores, and the scores: voxels in units of their deviation within classes.

        score_k(x) = 2 log prior_k - sum_v (x_v - m_kv)^2 / s2_v,    s2_v = sum_k n_k s2_kv / (n - n_classes)

    Returns 1 where no voxel of a fold's training samples varies.
    """
    row[:] = 0.0
    for fold in range(folds.code.shape[0]):
        first, last = folds.first[fold], folds.first[fold + 1]
        n, n_test = 0, folds.test_ptr[fold + 1] - folds.test_ptr[fold]
        for e in range(first, last):
            n += folds.size[e]
        width = (last - first) * n_test  # from an entry's first column to its second
        varies = 0.0
        for v in members:
            within = 0.0
            varies += tables.total[v, fold]
            for e in range(first, last):
                within += folds.size[e] * tables.var[v, e] / (n - (last - first))
            weight = 1.0 / within if within > 0.0 else 1.0
            x = tables.X[v, folds.test_ptr[fold] : folds.test_ptr[fold + 1]]
            for e in range(first, last):
                place = folds.start[e]
                _add_squares(x, tables.mean[v, e], -1.0, row[place : place + n_test])
                _add_squares(x, tables.mean[v, e], -weight, row[place + width : place + width + n_test])
        if last > first and not varies > 0.0:
            return 1
        for e in range(first, last):
            for i in range(folds.start[e], folds.start[e] + n_test):
                row[i + width] += 2.0 * log_prior[e]
                if not by_distance[fold]:
                    row[i] = row[i + width]
    return 0


@entry
def nearest_centroid(block, tables, folds, log_prior, by_distance, out, status):
    """As :func:`naive_bayes`, for centroids."""
    for b in nb.prange(block.indptr.shape[0] - 1):
        members = block.indices[block.indptr[b] : block.indptr[b + 1]]
        status[b] = -1
        if members.shape[0] >= block.min_voxels:
            status[b] = _centroid_sphere(members, tables, folds, log_prior, by_distance, out[b])
        if status[b] != 0:
            out[b] = np.nan
