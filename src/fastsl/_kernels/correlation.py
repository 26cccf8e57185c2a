"""Correlation of test patterns with the mean patterns of classes, over the voxels of a sphere.

    r_k(x) = sum_v (x_v - x_bar)(m_kv - m_bar_k) / sqrt(sum_v (x_v - x_bar)^2  sum_v (m_kv - m_bar_k)^2)

with x and m_k less a pattern that they share. Sums over voxels of what is tabulated once a voxel, as in naive Bayes.
"""

import numpy as np

from fastsl._kernels.over_spheres import over_spheres
from fastsl._runtime.jit import helper

#: A pattern varies where its variance is more than this part of its mean square: else it is rounding.
_FLAT = 1e-13


@helper
def _add_moments(x, shift, sums, squares):
    """sums_i += x_i - shift, and the square of it."""
    for i in range(x.shape[0]):
        value = np.float64(x[i]) - shift
        sums[i] += value
        squares[i] += value * value


@helper
def _add_products(x, shift, m, row):
    """row_i += (x_i - shift) m"""
    for i in range(x.shape[0]):
        row[i] += (np.float64(x[i]) - shift) * m


@helper
def _correlate_fold(members, voxels, tested, shared, folds, fold, row):
    """Correlations of one fold's test samples with its classes; NaN where a pattern does not vary."""
    first, last, p = folds.first[fold], folds.first[fold + 1], members.shape[0]
    place, n_test = folds.test_ptr[fold], folds.test_ptr[fold + 1] - folds.test_ptr[fold]
    x_sum, x_square = np.zeros(n_test), np.zeros(n_test)
    m_sum, m_square = np.zeros(last - first), np.zeros(last - first)
    for v in members:
        x, shift = tested[v, place : place + n_test], shared[v, fold]
        _add_moments(x, shift, x_sum, x_square)
        for e in range(first, last):
            m = voxels.mean[v, e] - shift
            m_sum[e - first] += m
            m_square[e - first] += m * m
            _add_products(x, shift, m, row[folds.start[e] : folds.start[e] + n_test])
    for e in range(first, last):
        m_mean = m_sum[e - first] / p
        m_var = m_square[e - first] - m_mean * m_sum[e - first]
        for i in range(n_test):
            x_var = x_square[i] - x_sum[i] ** 2 / p
            varies = x_var > _FLAT * x_square[i] and m_var > _FLAT * m_square[e - first]
            together = row[folds.start[e] + i] - x_sum[i] * m_mean
            row[folds.start[e] + i] = together / np.sqrt(x_var * m_var) if varies and p > 1 else np.nan


@helper
def _correlate_sphere(members, voxels, tested, shared, folds, row):
    row[:] = 0.0
    for fold in range(folds.first.shape[0] - 1):
        _correlate_fold(members, voxels, tested, shared, folds, fold, row)


@over_spheres
def correlations(block, voxels, tested, shared, folds, out, status):
    """Correlations ``out`` (n_centres, n_out); ``block.indices`` are rows of ``voxels``, ``tested`` and ``shared``.

    ``tested`` (n_voxels, n_test) are the test samples, fold after fold; ``shared`` (n_voxels, n_folds) is subtracted
    from every pattern. Status -1: fewer than ``min_voxels``.
    """
    for b in block.order:
        members = block.indices[block.indptr[b] : block.indptr[b + 1]]
        status[b] = -1
        out[b] = np.nan
        if members.shape[0] >= block.min_voxels:
            status[b] = 0
            _correlate_sphere(members, voxels, tested, shared, folds, out[b])
