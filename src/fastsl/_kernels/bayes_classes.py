"""Classes that Gaussian naive Bayes predicts, and nothing else: the signs of contrasts, from sums in float32.

Which class is likelier is told by c_k(x) = log prior_k - log prior_0 + sum_v (E_kv(x) - E_0v(x)), in the words of
:mod:`fastsl._kernels.bayes`. Sums are bound by reading rows, and here rows have a quarter of the bytes: neither E_0 nor
derivatives, and float32. How far a contrast may be off is known: prefix sums P are carried in float64 and rounded once,
by at most 2^-24 of the largest of a row, ``reach``, and the difference of two rows by as much again; and a, which a
sphere adds to the variances, moves a voxel's contrast by at most ``steep``, as derivatives of E become smaller with a,

    steep = 1/2 (1 / s2_0 + 1 / s2_k) (1 + largest (x - m)^2 / s2)
    | error of c | <= 2^-23 sum over rows read of reach_v + a sum over voxels of steep_v

Test samples whose contrasts do not differ by more are compared voxel by voxel in float64; in spheres with voxels that
are left out of the sums, all of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.additive import SEGMENT, add_members
from fastsl._kernels.bayes import LARGEST_SQUARE, added_variances, range_of_variances, smallest_in_sums
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.voxels import measure_moments, take_tested
from fastsl._runtime.jit import helper, kernel

#: A little more than 2^-23, for products of two roundings; and what 64 additions leave in sums that then became small.
_ROUNDING, _CARRIED = 1.2e-7, 2.0**-22


class RoundedSums(NamedTuple):
    """Of each voxel of some segments."""

    rows: NDArray[np.float32]  # (n_voxels, n_contrasts) prefix sums of contrasts, entry after entry
    reach: NDArray[np.float64]  # (n_voxels,) largest of a row before it was rounded, and a little
    steep: NDArray[np.float64]  # (n_voxels,)
    least: NDArray[np.float64]  # (n_voxels,) smallest variance of a class; 0 for a voxel that is left out of the sums
    most: NDArray[np.float64]  # (n_voxels,) largest variance of a fold


@helper
def _contrast(x, mean_0, var_0, mean, var, row):
    """E_k - E_0 for the test samples x, exactly 0 for equal classes; returns the largest square, in variances."""
    inverse_0, inverse, largest = 1.0 / var_0, 1.0 / var, 0.0
    constant = -0.5 * np.log(var / var_0)
    for i in range(x.shape[0]):
        d_0, d = np.float64(x[i]) - mean_0, np.float64(x[i]) - mean
        q_0, q = d_0 * d_0 * inverse_0, d * d * inverse
        row[i] = constant - 0.5 * (q - q_0)
        largest = max(largest, max(q, q_0))
    return largest


@helper
def _contrasts(tested, voxels, folds, v, row):
    """All contrasts of one voxel, entry after entry; returns the largest square, and ``steep``."""
    place, largest, steep = 0, 0.0, 0.0
    mean, var = voxels.mean[v], voxels.var[v]
    for fold in range(folds.first.shape[0] - 1):
        x, e_0 = tested[folds.test_ptr[fold] : folds.test_ptr[fold + 1]], folds.first[fold]
        for e in range(e_0 + 1, folds.first[fold + 1]):
            square = _contrast(x, mean[e_0], var[e_0], mean[e], var[e], row[place : place + x.shape[0]])
            largest, steep = max(largest, square), max(steep, 0.5 * (1.0 / var[e_0] + 1.0 / var[e]) * (1.0 + square))
            place += x.shape[0]
    return largest, steep


@helper
def _add_and_round(contrasts, carried, row):
    """Add a voxel to the sums of its segment; returns the largest of them."""
    reach = 0.0
    for j in range(row.shape[0]):
        carried[j] += contrasts[j]
        row[j] = carried[j]
        reach = max(reach, abs(carried[j]))
    return reach


@helper
def _classes_segment(X, segment, place, folds, voxels, sums):
    first, last = segment * SEGMENT, min(X.shape[0], (segment + 1) * SEGMENT)
    n_columns = sums.rows.shape[1]
    tested, contrasts, carried = np.empty(folds.test.shape[0], np.float32), np.empty(n_columns), np.zeros(n_columns)
    for v in range(first, last):
        measure_moments(X[v], folds, voxels, v + place)
        sums.least[v + place], sums.most[v + place] = range_of_variances(voxels, v + place)
    limit, highest = smallest_in_sums(sums.least[first + place : last + place]), 0.0
    for v in range(first, last):
        largest, sums.steep[v + place] = np.inf, 0.0
        if sums.least[v + place] >= limit:
            take_tested(X[v], folds, tested)
            largest, sums.steep[v + place] = _contrasts(tested, voxels, folds, v + place, contrasts)
        if not largest <= LARGEST_SQUARE:
            sums.least[v + place] = 0.0
            contrasts[:] = 0.0
        reach = _add_and_round(contrasts, carried, sums.rows[v + place])
        highest = max(highest, reach)
        sums.reach[v + place] = reach + _CARRIED * highest


@kernel
def tabulate_classes(X, segments, shift, folds, voxels, sums):
    """As :func:`fastsl._kernels.bayes.tabulate_bayes`."""
    for segment in segments:
        _classes_segment(X, segment, shift[segment], folds, voxels, sums)


@helper
def largest_error(members, shift, sums, most):
    """How far a contrast of one sphere may be off, if at most ``most`` is added to variances."""
    rounded, steep, n = 0.0, 0.0, members.shape[0]
    for k in range(n):
        v, place = members[k], members[k] + shift[members[k] // SEGMENT]
        steep += sums.steep[place]
        if k + 1 == n or members[k + 1] != v + 1 or members[k + 1] % SEGMENT == 0:
            rounded += sums.reach[place]
        if v % SEGMENT != 0 and (k == 0 or members[k - 1] != v - 1):
            rounded += sums.reach[place - 1]
    return _ROUNDING * rounded + most * steep


@helper
def _write_contrasts(total, folds, log_prior, row):
    """Contrasts to where the results of entries are; a class that is told apart from none has 0."""
    place = 0
    for fold in range(folds.first.shape[0] - 1):
        e_0, n = folds.first[fold], folds.test_ptr[fold + 1] - folds.test_ptr[fold]
        for e in range(e_0, folds.first[fold + 1]):
            own = row[folds.start[e] : folds.start[e] + n]
            if e == e_0:
                own[:] = 0.0
                continue
            for i in range(n):
                own[i] = log_prior[e] - log_prior[e_0] + total[place + i]
            place += n


@helper
def _is_certain(folds, fold, i, error, row):
    """Whether the likeliest class of a test sample is known, if no contrast is off by more than ``error``."""
    first, last = folds.first[fold], folds.first[fold + 1]
    if last - first == 2:
        return abs(row[folds.start[first] + i]) > error
    largest, second = -np.inf, -np.inf
    for e in range(first, last):
        value = row[folds.start[e] + i]
        second = max(second, min(value, largest))
        largest = max(largest, value)
    return largest - second > 2.0 * error


@helper
def _some_variance_is_zero(members, shift, voxels, folds, added):
    for fold in range(added.shape[0]):
        for e in range(folds.first[fold], folds.first[fold + 1]):
            for v in members:
                if not voxels.var[v + shift[v // SEGMENT], e] + added[fold] > 0.0:
                    return True
    return False


@helper
def _two_classes(members, shift, voxels, e_0, e, added, classes):
    """Means and half the inverse variances of two classes, in ``classes`` (n_voxels, 4).

    Returns half the logarithm of the ratio of their determinants.
    """
    half = 0.0
    for k in range(members.shape[0]):
        v = members[k] + shift[members[k] // SEGMENT]
        var_0, var = voxels.var[v, e_0] + added, voxels.var[v, e] + added
        half += 0.5 * np.log(var / var_0)
        classes[k, 0], classes[k, 1] = voxels.mean[v, e_0], 0.5 / var_0
        classes[k, 2], classes[k, 3] = voxels.mean[v, e], 0.5 / var
    return half


@helper
def _settle(X, members, shift, voxels, folds, fold, log_prior, added, error, row):
    """Contrasts of the test samples of one fold whose class is not certain, in float64."""
    e_0, first, n = folds.first[fold], folds.test_ptr[fold], folds.test_ptr[fold + 1] - folds.test_ptr[fold]
    doubtful, n_doubtful = np.empty(n, np.int64), 0
    for i in range(n):
        if not _is_certain(folds, fold, i, error, row):
            doubtful[n_doubtful] = i
            n_doubtful += 1
    if n_doubtful == 0:
        return
    classes = np.empty((members.shape[0], 4))
    for e in range(e_0 + 1, folds.first[fold + 1]):
        half = _two_classes(members, shift, voxels, e_0, e, added, classes)
        for i in doubtful[:n_doubtful]:
            squares = 0.0
            for k in range(members.shape[0]):
                x = np.float64(X[members[k], folds.test[first + i]])
                d_0, d = x - classes[k, 0], x - classes[k, 2]
                squares += d * d * classes[k, 3] - d_0 * d_0 * classes[k, 1]
            row[folds.start[e] + i] = log_prior[e] - log_prior[e_0] - half - squares


@over_spheres
def classes_of_bayes(block, shift, voxels, sums, folds, log_prior, smoothing, out, status):
    """Contrasts ``out`` (n_centres, n_out), of which only the largest means something: what is predicted.

    One column for two classes, else one a class, that of the first 0. Status as in
    :func:`fastsl._kernels.bayes.naive_bayes`.
    """
    added, total = np.empty(folds.first.shape[0] - 1), np.empty(sums.rows.shape[1])
    for b in block.order:
        members = block.indices[block.indptr[b] : block.indptr[b + 1]]
        status[b] = -1
        if members.shape[0] >= block.min_voxels:
            status[b], error = 0, np.inf
            least, most = added_variances(members, shift, voxels, sums, smoothing, added)
            if least > 0.0:
                error = largest_error(members, shift, sums, most)
            elif _some_variance_is_zero(members, shift, voxels, folds, added):
                status[b] = 1
        if status[b] != 0:
            out[b] = np.nan
            continue
        total[:] = 0.0
        add_members(sums.rows, shift, members, total[:0], total)
        _write_contrasts(total, folds, log_prior, out[b])
        for fold in range(added.shape[0]):
            _settle(block.X, members, shift, voxels, folds, fold, log_prior, added[fold], error, out[b])
