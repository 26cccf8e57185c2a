"""Nearest centroids: with the mean m_k of class k over a fold's training samples,

    d_k(x) = sum_v (x_v - m_kv)^2

and the discriminant scores, the same in units of each voxel's deviation within classes. What a voxel adds does not
depend on the sphere: it is tabulated once for the voxels of a block of spheres, as prefix sums
(:mod:`fastsl._kernels.additive`).

Of two classes only the contrasts have a meaning, d_0 - d_1 and the difference of the scores: their entries share
their columns, to which they add with opposite signs, so that equal classes give exactly 0.
"""

import numpy as np

from fastsl._kernels.additive import (
    SEGMENT,
    accumulate,
    add_stretches,
    find_stretches,
    room_for_stretches,
    typical,
)
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.voxels import add_squares, measure_moments, take_tested
from fastsl._runtime.jit import helper, kernel

#: A voxel whose largest square is more than this times the segment's median is added to a sphere by itself.
_LARGEST_TIMES = 1e6
#: And one whose variance is less than this times the segment's typical one.
_SMALLEST_PART = 1e-4


@helper
def _sign(first, last, e):
    """Sign of entry e in its columns: of two classes the first is subtracted."""
    return -1.0 if last - first == 2 and e == first else 1.0


@helper
def _width(first, last, n_test):
    """From an entry's first column to its second."""
    return n_test if last - first == 2 else (last - first) * n_test


@helper
def _centroid_row(tested, voxels, folds, v, row):
    """A voxel's part of what predicts, and of the scores: in units of its deviation within classes."""
    row[:] = 0.0
    for fold in range(folds.first.shape[0] - 1):
        first, last = folds.first[fold], folds.first[fold + 1]
        n, n_test, within = 0, folds.test_ptr[fold + 1] - folds.test_ptr[fold], 0.0
        for e in range(first, last):
            n += folds.size[e]
        for e in range(first, last):
            within += folds.size[e] * voxels.var[v, e] / (n - (last - first))
        weight = 1.0 / within if within > 0.0 else 1.0
        width = _width(first, last, n_test)
        x = tested[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]
        for e in range(first, last):
            place, sign = folds.start[e], _sign(first, last, e)
            add_squares(x, voxels.mean[v, e], -sign, row[place : place + n_test])
            add_squares(x, voxels.mean[v, e], -sign * weight, row[place + width : place + width + n_test])


@helper
def _leave_out(voxels, sums, start, stop):
    """Take voxels out of the sums of a segment beside whose squares those of their neighbours would lose digits.

    And those that would lose their own beside their neighbours. ``sums.least`` is 0 for these, else 1.
    """
    largest, spread = np.zeros(stop - start), np.zeros(stop - start)
    for v in range(start, stop):
        for fold in range(voxels.total.shape[1]):
            spread[v - start] = max(spread[v - start], voxels.total[v, fold])
        for j in range(sums.rows.shape[1]):
            largest[v - start] = max(largest[v - start], abs(sums.rows[v, j]))
    limit, quiet = _LARGEST_TIMES * np.median(largest), _SMALLEST_PART * typical(spread)
    for v in range(start, stop):
        lost = 0.0 < largest[v - start] and spread[v - start] < quiet
        sums.least[v] = 0.0 if lost or largest[v - start] > limit else 1.0
        if sums.least[v] == 0.0:
            sums.rows[v] = 0.0


@helper
def _centroid_segment(X, segment, place, folds, voxels, sums):
    first, last = segment * SEGMENT, min(X.shape[0], (segment + 1) * SEGMENT)
    tested = np.empty(folds.test.shape[0], np.float32)
    for v in range(first, last):
        measure_moments(X[v], folds, voxels, v + place)
        take_tested(X[v], folds, tested)
        _centroid_row(tested, voxels, folds, v + place, sums.rows[v + place])
    _leave_out(voxels, sums, first + place, last + place)
    accumulate(sums.rows[first + place : last + place], sums.n_exact)


@kernel
def tabulate_centroids(X, segments, shift, folds, voxels, sums):
    """As :func:`fastsl._kernels.bayes.tabulate_bayes`, for centroids; all float64."""
    for segment in segments:
        _centroid_segment(X, segment, shift[segment], folds, voxels, sums)


@helper
def _centroid_sphere(X, members, shift, room, voxels, sums, folds, log_prior, by_distance, row):
    """What predicts, -d_k or the scores, and the scores: voxels in units of their deviation within classes.

        score_k(x) = 2 log prior_k - sum_v (x_v - m_kv)^2 / s2_v,    s2_v = sum_k n_k s2_kv / (n - n_classes)

    Returns 1 where no voxel of a fold's training samples varies.
    """
    row[:] = 0.0
    add_stretches(sums.rows, find_stretches(members, shift, room), row, row[:0])
    for v in members:
        place = v + shift[v // SEGMENT]
        if sums.least[place] == 0.0:
            own, tested = np.empty(row.shape[0]), np.empty(folds.test.shape[0], np.float32)
            take_tested(X[v], folds, tested)
            _centroid_row(tested, voxels, folds, place, own)
            row += own
    for fold in range(folds.first.shape[0] - 1):
        first, last = folds.first[fold], folds.first[fold + 1]
        n_test, varies = folds.test_ptr[fold + 1] - folds.test_ptr[fold], False
        for v in members:
            if voxels.total[v + shift[v // SEGMENT], fold] > 0.0:
                varies = True
                break
        if last > first and not varies:
            return 1
        width = _width(first, last, n_test)
        for e in range(first, last):
            for i in range(folds.start[e], folds.start[e] + n_test):
                row[i + width] += _sign(first, last, e) * 2.0 * log_prior[e]
                if not by_distance[fold]:
                    row[i] = row[i + width]
    return 0


@over_spheres
def nearest_centroid(block, shift, voxels, sums, folds, log_prior, by_distance, out, status):
    """What predicts and scores ``out`` (n_centres, n_out); status as in :func:`fastsl._kernels.bayes.naive_bayes`."""
    room = room_for_stretches(block)
    for b in block.order:
        members = block.indices[block.indptr[b] : block.indptr[b + 1]]
        status[b] = -1
        if members.shape[0] >= block.min_voxels:
            status[b] = _centroid_sphere(
                block.X, members, shift, room, voxels, sums, folds, log_prior, by_distance, out[b]
            )
        if status[b] != 0:
            out[b] = np.nan
