"""Gaussian naive Bayes: with the mean m and the variance s2 of each voxel v over a fold's training samples of class k,

    log p(x, k) = log prior_k + sum_v E_kv(x),    E = -1/2 [ log(2 pi s2) + (x - m)^2 / s2 ]

E does not depend on the sphere: it is tabulated once for the voxels of a block of spheres, as prefix sums
(:mod:`fastsl._kernels.additive`). Only one thing does: scikit-learn adds to every variance a = 1e-9 times the largest
variance of a voxel of the sphere. The first order of a is summed beside,

    E(a) = E + a dE,    dE = 1/2 [ (x - m)^2 / s2 - 1 ] / s2

Classes are told apart by the contrasts E_k - E_0, which alone are summed in float64. In float32: their derivatives, of
which a leaves 1e-16, and E_0, which only says how probabilities are rounded, as scikit-learn's are: to the spacing of
float64 at the joint log-likelihood. Spheres where a is not small against every variance (1e-5, so that what is left out
is 1e-10) are computed voxel by voxel. Where nothing but classes is asked for: :mod:`fastsl._kernels.bayes_classes`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.additive import (
    SEGMENT,
    accumulate,
    add_stretches,
    find_stretches,
    room_for_stretches,
    rough_part,
    typical,
)
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.voxels import add_squares, measure_moments, take_tested
from fastsl._runtime.jit import helper, kernel

_LOG_TWO_PI = np.log(2.0 * np.pi)
#: Products of variances are turned into logarithms before they leave this range.
_SMALL, _LARGE = 1e-150, 1e150
#: Largest part of a variance that may be added to it in first order.
_FIRST_ORDER = 1e-5
#: Larger squares (a test sample some hundred deviations off) would cost a voxel's neighbours in a prefix sum digits,
#: and so would a variance below this part of the segment's typical one, or so small that dE is beyond float32.
LARGEST_SQUARE, _SMALLEST_PART, _SMALLEST_VARIANCE = 1e5, 1e-4, 1e-30


class Sums(NamedTuple):
    """Of each voxel of a block of spheres; the layout of a row is :mod:`fastsl._kernels.additive`'s."""

    rows: NDArray[np.float64]  # (n_voxels, n_columns) prefix sums
    n_exact: int  # float64 values of a row: contrasts, entry after entry; then in float32 all E_0, and the derivatives
    least: NDArray[np.float64]  # (n_voxels,) smallest variance of a class; 0 for a voxel that is left out of the sums
    most: NDArray[np.float64]  # (n_voxels,) largest variance of a fold


@helper
def _first_evidence(x, mean, var, first):
    """E_0 for the test samples x; returns how many of them are too far off."""
    inverse, beyond = 1.0 / var, 0
    constant = -0.5 * (np.log(var) + _LOG_TWO_PI)
    for i in range(x.shape[0]):
        d = np.float64(x[i]) - mean
        q = d * d * inverse
        first[i] = constant - 0.5 * q
        beyond += q > LARGEST_SQUARE
    return beyond


@helper
def _contrast(x, mean_0, var_0, mean, var, row, slope):
    """E_k - E_0, exactly 0 for equal classes, and its derivative; returns how many test samples are too far off."""
    inverse_0, inverse, beyond = 1.0 / var_0, 1.0 / var, 0
    constant = -0.5 * np.log(var / var_0)
    for i in range(x.shape[0]):
        d_0, d = np.float64(x[i]) - mean_0, np.float64(x[i]) - mean
        q_0, q = d_0 * d_0 * inverse_0, d * d * inverse
        row[i] = constant - 0.5 * (q - q_0)
        slope[i] = 0.5 * ((q - 1.0) * inverse - (q_0 - 1.0) * inverse_0)
        beyond += q > LARGEST_SQUARE
    return beyond


@helper
def _bayes_parts(tested, voxels, folds, v, exact, first, slope):
    """Contrasts, E_0 and derivatives of one voxel; returns how many of ``tested`` are too far off for a class."""
    place, beyond = 0, 0
    mean, var = voxels.mean[v], voxels.var[v]
    for fold in range(folds.first.shape[0] - 1):
        own = slice(folds.test_ptr[fold], folds.test_ptr[fold + 1])
        x, e_0 = tested[own], folds.first[fold]
        if folds.first[fold + 1] > e_0:
            beyond += _first_evidence(x, mean[e_0], var[e_0], first[own])
        for e in range(e_0 + 1, folds.first[fold + 1]):
            there = slice(place, place + x.shape[0])
            beyond += _contrast(x, mean[e_0], var[e_0], mean[e], var[e], exact[there], slope[there])
            place += x.shape[0]
    return beyond


@helper
def range_of_variances(voxels, v):
    """Smallest variance of a class of one voxel, 0 for none or for what is no number, and the largest of a fold."""
    least, most = np.inf, 0.0
    for e in range(voxels.var.shape[1]):
        least = min(least, voxels.var[v, e])
    for fold in range(voxels.total.shape[1]):
        most = max(most, voxels.total[v, fold])
    return (least if least > 0.0 else 0.0), most


@helper
def smallest_in_sums(least):
    """Variances below this are too small beside those of their neighbours in a segment."""
    return max(_SMALLEST_VARIANCE, _SMALLEST_PART * typical(least))


@helper
def _bayes_row(tested, voxels, sums, folds, v):
    """A voxel's row of the table; zeros, and ``least`` 0, where it is out of bounds."""
    n_test = folds.test.shape[0]
    exact, rough = sums.rows[v][: sums.n_exact], rough_part(sums.rows[v], sums.n_exact)
    sums.least[v], sums.most[v] = range_of_variances(voxels, v)
    rough[:] = 0.0
    if sums.least[v] > 0.0 and _bayes_parts(tested, voxels, folds, v, exact, rough[:n_test], rough[n_test:]) > 0:
        sums.least[v] = 0.0
    if sums.least[v] == 0.0:
        sums.rows[v] = 0.0


@helper
def _leave_out(sums, start, stop):
    """Take voxels out of the sums of a segment whose variances are too small for their neighbours'."""
    limit = smallest_in_sums(sums.least[start:stop])
    for v in range(start, stop):
        if sums.least[v] < limit:
            sums.least[v] = 0.0
            sums.rows[v] = 0.0


@helper
def _bayes_segment(X, segment, place, folds, voxels, sums):
    first, last = segment * SEGMENT, min(X.shape[0], (segment + 1) * SEGMENT)
    tested = np.empty(folds.test.shape[0], np.float32)
    for v in range(first, last):
        measure_moments(X[v], folds, voxels, v + place)
        take_tested(X[v], folds, tested)
        _bayes_row(tested, voxels, sums, folds, v + place)
    _leave_out(sums, first + place, last + place)
    accumulate(sums.rows[first + place : last + place], sums.n_exact)


@kernel
def tabulate_bayes(X, segments, shift, folds, voxels, sums):
    """Fill ``voxels`` and ``sums`` for some ``segments`` of X (n_voxels, n_samples)."""
    for segment in segments:
        _bayes_segment(X, segment, shift[segment], folds, voxels, sums)


@helper
def added_variances(stretches, voxels, sums, smoothing, added):
    """What is added to the variances of each fold; returns the most of it."""
    least_added, most = -1.0, -np.inf
    added[:] = -1.0
    for s in range(stretches.shape[0]):
        for v in range(stretches[s, 0], stretches[s, 1] + 1):
            if sums.most[v] > least_added:  # else no fold has its largest variance here
                least_added = _raise_to(voxels.total[v], added)
    for fold in range(added.shape[0]):
        added[fold] *= smoothing
        most = max(most, added[fold])
    return most


@helper
def _smallest_variance(stretches, sums):
    least = np.inf
    for s in range(stretches.shape[0]):
        for v in range(stretches[s, 0], stretches[s, 1] + 1):
            least = min(least, sums.least[v])
    return least


@helper
def _raise_to(total, added):
    """Raise ``added`` to the variances of a voxel; returns the smallest."""
    least = np.inf
    for fold in range(added.shape[0]):
        added[fold] = max(added[fold], total[fold])
        least = min(least, added[fold])
    return least


@helper
def _to_first_order(constant, contrast, added, slope, row):
    for i in range(row.shape[0]):
        row[i] = constant + contrast[i] + added * slope[i]


@helper
def _bayes_by_sums(stretches, sums, folds, log_prior, added, exact, rough, row):
    """Evidence of one sphere to first order in ``added``."""
    exact[:] = 0.0
    rough[:] = 0.0
    add_stretches(sums.rows, stretches, exact, rough)
    n_test, place = folds.test.shape[0], 0
    for fold in range(added.shape[0]):
        e_0, n = folds.first[fold], folds.test_ptr[fold + 1] - folds.test_ptr[fold]
        for e in range(e_0, folds.first[fold + 1]):
            own = row[folds.start[e] : folds.start[e] + n]
            if e == e_0:
                for i in range(n):
                    own[i] = log_prior[e] + rough[folds.test_ptr[fold] + i]
                continue
            constant, slope = log_prior[e] - log_prior[e_0], rough[n_test + place : n_test + place + n]
            _to_first_order(constant, exact[place : place + n], added[fold], slope, own)
            place += n


@helper
def _bayes_by_voxels(X, members, shift, voxels, folds, log_prior, added, row):
    """Evidence of one sphere; returns 1 where a variance is 0."""
    n_folds, n_entries, p = added.shape[0], folds.size.shape[0], members.shape[0]
    logdet, product = np.zeros(n_entries), np.ones(n_entries)
    tested = np.empty(folds.test.shape[0], np.float32)
    row[:] = 0.0
    for member in members:
        v = member + shift[member // SEGMENT]
        take_tested(X[member], folds, tested)
        for fold in range(n_folds):
            x = tested[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]
            for e in range(folds.first[fold], folds.first[fold + 1]):
                var = voxels.var[v, e] + added[fold]
                if not var > 0.0:
                    return 1
                product[e] *= var
                if not _SMALL < product[e] < _LARGE:
                    logdet[e] += np.log(product[e])
                    product[e] = 1.0
                add_squares(x, voxels.mean[v, e], 1.0 / var, row[folds.start[e] : folds.start[e] + x.shape[0]])
    for fold in range(n_folds):
        e_0, n = folds.first[fold], folds.test_ptr[fold + 1] - folds.test_ptr[fold]
        for e in range(e_0, folds.first[fold + 1]):
            constant = log_prior[e] - 0.5 * (p * _LOG_TWO_PI + logdet[e] + np.log(product[e]))
            own, first = row[folds.start[e] : folds.start[e] + n], row[folds.start[e_0] : folds.start[e_0] + n]
            for i in range(n):
                own[i] = constant - 0.5 * own[i]
                if e > e_0:
                    own[i] -= first[i]
    return 0


@over_spheres
def naive_bayes(block, shift, voxels, sums, folds, log_prior, smoothing, out, status):
    """Evidence ``out`` (n_centres, n_out); see :mod:`fastsl._kernels.additive` for ``shift``.

    Of a fold's first class the joint log-likelihood, of the others what they exceed it by. Status 1: a variance is
    zero; -1: fewer than ``min_voxels``.
    """
    added, exact = np.empty(folds.first.shape[0] - 1), np.empty(sums.n_exact)
    rough, room = np.empty(folds.test.shape[0] + sums.n_exact), room_for_stretches(block)
    for b in block.order:
        members = block.indices[block.indptr[b] : block.indptr[b + 1]]
        status[b] = -1
        if members.shape[0] >= block.min_voxels:
            stretches = find_stretches(members, shift, room)
            most = added_variances(stretches, voxels, sums, smoothing, added)
            least = _smallest_variance(stretches, sums)
            if least > 0.0 and most <= _FIRST_ORDER * least:
                status[b] = 0
                _bayes_by_sums(stretches, sums, folds, log_prior, added, exact, rough, out[b])
            else:
                status[b] = _bayes_by_voxels(block.X, members, shift, voxels, folds, log_prior, added, out[b])
        if status[b] != 0:
            out[b] = np.nan
