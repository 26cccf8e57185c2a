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

from fastsl._kernels.additive import SEGMENT, add_stretches, find_stretches, room_for_stretches
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
    steep: NDArray[np.float64]  # (n_voxels,); infinite for a voxel that is left out of the sums
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
    least = np.empty(last - first)
    for v in range(first, last):
        measure_moments(X[v], folds, voxels, v + place)
        least[v - first], sums.most[v + place] = range_of_variances(voxels, v + place)
    limit, highest = smallest_in_sums(least), 0.0
    for v in range(first, last):
        largest = np.inf
        if least[v - first] >= limit:
            take_tested(X[v], folds, tested)
            largest, sums.steep[v + place] = _contrasts(tested, voxels, folds, v + place, contrasts)
        if not largest <= LARGEST_SQUARE:
            sums.steep[v + place] = np.inf
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
def largest_error(stretches, sums, smoothing):
    """How far a contrast of one sphere may be off; infinite where a voxel is left out of the sums."""
    rounded, steep, most = 0.0, 0.0, 0.0
    for s in range(stretches.shape[0]):
        first, last = stretches[s, 0], stretches[s, 1]
        rounded += sums.reach[last]
        if first % SEGMENT != 0:
            rounded += sums.reach[first - 1]
        of_stretch = 0.0  # a sum that waits for no other stretch's
        for v in range(first, last + 1):
            of_stretch += sums.steep[v]
            most = max(most, sums.most[v])
        steep += of_stretch
    return _ROUNDING * rounded + smoothing * most * steep if steep < np.inf else np.inf


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
def _all_are_certain(folds, fold, error, row, ranked):
    """Whether :func:`_is_certain` of all test samples of a fold; ``ranked`` (2, n_test) is room for two of each.

    In loops that LLVM vectorises: one sample after the other took 2.8 us of the 7.9 of a sphere.
    """
    first, last = folds.first[fold], folds.first[fold + 1]
    n, n_doubtful = folds.test_ptr[fold + 1] - folds.test_ptr[fold], 0
    if last - first < 2:
        return True
    if last - first == 2:
        contrast = row[folds.start[first] : folds.start[first] + n]
        for i in range(n):
            n_doubtful += not abs(contrast[i]) > error
        return n_doubtful == 0
    largest, second = ranked[0, :n], ranked[1, :n]
    largest[:] = -np.inf
    second[:] = -np.inf
    for e in range(first, last):
        _rank(row[folds.start[e] : folds.start[e] + n], largest, second)
    for i in range(n):
        n_doubtful += not largest[i] - second[i] > 2.0 * error
    return n_doubtful == 0


@helper
def _rank(values, largest, second):
    """Take one class more into the largest and the second largest value of each sample."""
    for i in range(values.shape[0]):
        lower = values[i] if values[i] < largest[i] else largest[i]
        second[i] = lower if lower > second[i] else second[i]
        largest[i] = values[i] if values[i] > largest[i] else largest[i]


@helper
def _some_variance_is_zero(stretches, voxels, folds, added):
    for s in range(stretches.shape[0]):
        for v in range(stretches[s, 0], stretches[s, 1] + 1):
            for fold in range(added.shape[0]):
                for e in range(folds.first[fold], folds.first[fold + 1]):
                    if not voxels.var[v, e] + added[fold] > 0.0:
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
    total, ranked = np.empty(sums.rows.shape[1]), np.empty((2, folds.test.shape[0]))
    added, room = np.empty(folds.first.shape[0] - 1), room_for_stretches(block)
    for b in block.order:
        members = block.indices[block.indptr[b] : block.indptr[b + 1]]
        stretches = find_stretches(members, shift, room)
        status[b], error = -1, np.inf
        if members.shape[0] >= block.min_voxels:
            status[b], error = 0, largest_error(stretches, sums, smoothing)
            if error == np.inf:
                added_variances(stretches, voxels, sums, smoothing, added)
                status[b] = _some_variance_is_zero(stretches, voxels, folds, added)
        if status[b] != 0:
            out[b] = np.nan
            continue
        total[:] = 0.0
        add_stretches(sums.rows, stretches, total[:0], total)
        _write_contrasts(total, folds, log_prior, out[b])
        for fold in range(added.shape[0]):
            if not _all_are_certain(folds, fold, error, out[b], ranked):
                added_variances(stretches, voxels, sums, smoothing, added)
                _settle(block.X, members, shift, voxels, folds, fold, log_prior, added[fold], error, out[b])
