"""Nearest centroids of many labellings of one sphere: all distances are in its Gram matrix G.

With S the samples that a fold trains on, R the others, and t_k the indicator of the n_k samples of class k among S,

    |x_i|^2 - d_k(x_i) = 2 (G t_k)_i / n_k - t_k' G t_k / n_k^2

With a_k and r_k the indicators of the class among all samples and among R, G a_k is one product for all labellings and
folds, from which each fold takes what R adds to it:

    (G t_k)_R = (G a_k)_R - G_RR r_k,    t_k' G t_k = a_k' G a_k - 2 r_k' (G a_k)_R + r_k' G_RR r_k

Indicators are (1 + T_k) / 2 with targets T_k of +-1, so that of two classes one product serves both.

A sample whose classes differ by no more than rounding could do here is decoded from the voxels, as observed labels are:
a tie stays a tie, and a voxel that is loud in some samples costs no digits where it tells nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import allocate, read_sphere
from fastsl._kernels.labellings import add_fold, list_samples, most_tested, take_means
from fastsl._kernels.lapack import multiply
from fastsl._kernels.over_spheres import over_spheres
from fastsl._runtime.jit import helper

#: Targets that go through the matrix products together.
_TOGETHER = 128
_EPS = np.finfo(np.float64).eps


class Space(NamedTuple):
    """Work space for some labellings, with t targets in all. Flat arrays are cut to matrices without gaps."""

    W: NDArray[np.float64]  # (t, n) T G
    G_RR: NDArray[np.float64]  # (n * n,)
    T_R: NDArray[np.float64]  # (t * n,)
    F: NDArray[np.float64]  # (t * n,) T_R G_RR
    g: NDArray[np.float64]  # (2, n) sums of the rows of G, and of G_RR
    sizes: NDArray[np.float64]  # (2, t, 2) samples whose target is -1 and 1: all, and those that a fold trains on
    squares: NDArray[np.float64]  # (2, t, 2) a_k' G a_k and t_k' G t_k of the same
    values: NDArray[np.float64]  # (t, n_test)
    means: NDArray[np.float64]  # (n_voxels, n_classes)


@helper
def _space(labellings, largest):
    n_columns, n = labellings.targets.shape[1:]
    t = max(1, _TOGETHER // n_columns) * n_columns
    return Space(
        np.empty((t, n)),
        np.empty(n * n),
        np.empty(t * n),
        np.empty(t * n),
        np.empty((2, n)),
        np.empty((2, t, 2)),
        np.empty((2, t, 2)),
        np.empty((t, most_tested(labellings))),
        np.empty((largest, max(2, n_columns))),
    )


@helper
def _varies(X, members, train):
    """Whether any voxel takes more than one value in the training samples."""
    first = np.argmax(train)
    for v in members:
        for j in range(train.shape[0]):
            if train[j] and X[v, j] != X[v, first]:
                return True
    return False


@helper
def _add_whole(T, G, space):
    """T G, and the first halves of ``space.sizes`` and ``space.squares``."""
    multiply(T, G, space.W[: T.shape[0]])
    g, sizes, squares = space.g[0], space.sizes[0], space.squares[0]
    for row in range(T.shape[0]):
        t, w, difference, minus, plus = T[row], space.W[row], 0.0, 0.0, 0.0
        for j in range(t.shape[0]):
            difference += t[j]
            minus += (1.0 - t[j]) * (g[j] - w[j])
            plus += (1.0 + t[j]) * (g[j] + w[j])
        sizes[row, 0], sizes[row, 1] = 0.5 * (t.shape[0] - difference), 0.5 * (t.shape[0] + difference)
        squares[row, 0], squares[row, 1] = 0.25 * minus, 0.25 * plus


@helper
def _take_off(T, G, R, space):
    """What a fold leaves out: T_R G_RR, and the second halves of ``space.sizes`` and ``space.squares``."""
    t, r, g, g_R = T.shape[0], R.shape[0], space.g[0], space.g[1]
    G_RR, T_R = space.G_RR[: r * r].reshape(r, r), space.T_R[: t * r].reshape(t, r)
    F = space.F[: t * r].reshape(t, r)
    for a in range(r):
        for b in range(r):
            G_RR[a, b] = G[R[a], R[b]]
        g_R[a] = G_RR[a].sum()
    for row in range(t):
        for a in range(r):
            T_R[row, a] = T[row, R[a]]
    multiply(T_R, G_RR, F)
    sizes, squares = space.sizes, space.squares
    for row in range(t):
        w, difference, minus, plus = space.W[row], 0.0, 0.0, 0.0
        for a in range(r):
            difference += T_R[row, a]
            minus += (1.0 - T_R[row, a]) * (g_R[a] - F[row, a] - 2.0 * (g[R[a]] - w[R[a]]))
            plus += (1.0 + T_R[row, a]) * (g_R[a] + F[row, a] - 2.0 * (g[R[a]] + w[R[a]]))
        sizes[1, row, 0] = sizes[0, row, 0] - 0.5 * (r - difference)
        sizes[1, row, 1] = sizes[0, row, 1] - 0.5 * (r + difference)
        squares[1, row, 0] = squares[0, row, 0] + 0.25 * minus
        squares[1, row, 1] = squares[0, row, 1] + 0.25 * plus
    return F


@helper
def _nearness(F, two, tested, place, space):
    """Fill ``space.values`` with |x_i|^2 - d_k(x_i), of two classes with d_0(x_i) - d_1(x_i)."""
    g, g_R, sizes, squares = space.g[0], space.g[1], space.sizes[1], space.squares[1]
    for row in range(F.shape[0]):
        own = other = 1.0 / sizes[row, 1]
        square = squares[row, 1] * own**2
        if two:
            inverse = 1.0 / sizes[row, 0]
            own, other, square = own + inverse, other - inverse, square - squares[row, 0] * inverse**2
        w, f, values = space.W[row], F[row], space.values[row]
        for j in range(tested.shape[0]):
            i, a = tested[j], place[tested[j]]
            values[j] = own * (w[i] - f[a]) + other * (g[i] - g_R[a]) - square


@helper
def _is_certain(values, first, n_columns, j, error):
    """Whether no class of more than two but the nearest is within ``error`` of it."""
    largest, n_near = values[first, j], 0
    for row in range(first + 1, first + n_columns):
        largest = max(largest, values[row, j])
    for row in range(first, first + n_columns):
        n_near += values[row, j] >= largest - error
    return n_near == 1


@helper
def _are_certain(values, sizes, first, n_columns, n_test, error):
    """Whether rounding decides on no tested sample of the labelling with the rows from ``first``."""
    fewest = sizes[first, 1] if n_columns > 1 else min(sizes[first, 0], sizes[first, 1])
    for row in range(first + 1, first + n_columns):
        fewest = min(fewest, sizes[row, 1])
    error /= fewest**2
    n_certain = 0
    if n_columns == 1:
        for j in range(n_test):
            n_certain += abs(values[first, j]) > error
    else:
        for j in range(n_test):
            n_certain += _is_certain(values, first, n_columns, j, error)
    return n_certain == n_test


@helper
def _class_means(X, members, train, true, means):
    sizes = np.zeros(means.shape[1])
    for j in range(train.shape[0]):
        if train[j]:
            sizes[int(true[j])] += 1.0
    for q in range(members.shape[0]):
        means[q] = 0.0
        for j in range(train.shape[0]):
            if train[j]:
                means[q, int(true[j])] += np.float64(X[members[q], j])
        for k in range(sizes.shape[0]):
            means[q, k] /= sizes[k]


@helper
def _from_voxels(X, members, train, tested, true, values, means):
    """Fill ``values`` (n_columns, n_test) with d_0 - d_k, voxel by voxel, so that equal means give exactly 0."""
    n_columns = values.shape[0]
    _class_means(X, members, train, true, means)
    values[:] = 0.0
    for q in range(members.shape[0]):
        for j in range(tested.shape[0]):
            x = np.float64(X[members[q], tested[j]])
            first = (x - means[q, 0]) ** 2
            for k in range(1, means.shape[1]):
                values[k % n_columns, j] += first - (x - means[q, k]) ** 2


@helper
def _decode_fold(G, X, members, labellings, fold, T, start, error, places, space):
    """Fill ``space.values`` with held-out values of the labellings from ``start``, whose targets are T."""
    train, n_columns = labellings.train[fold], labellings.targets.shape[1]
    R, place = list_samples(train, False, places[0]), places[1]
    for a in range(R.shape[0]):
        place[R[a]] = a
    tested = labellings.test[labellings.test_ptr[fold] : labellings.test_ptr[fold + 1]]
    _nearness(_take_off(T, G, R, space), n_columns == 1, tested, place, space)
    for row in range(0, T.shape[0], n_columns):
        if not _are_certain(space.values, space.sizes[1], row, n_columns, tested.shape[0], error):
            true, values = labellings.true[start + row // n_columns], space.values[row : row + n_columns]
            _from_voxels(X, members, train, tested, true, values, space.means)


@helper
def _rounding(G, members, g):
    """Sums ``g`` of the rows of G; returns a bound on the error of a difference between classes, times n_k^2.

    Sums of voxels, then of samples, each rounded once a term; no product exceeds the square of the loudest sample, and
    what is added up comes to 16 (n / n_k)^2 of these at most.
    """
    loudest = 0.0
    for j in range(G.shape[0]):
        g[j] = G[j].sum()
        loudest = max(loudest, G[j, j])
    return 16.0 * _EPS * (members.shape[0] + G.shape[0]) * loudest * G.shape[0] ** 2


@helper
def _centroid_null_sphere(G, X, members, labellings, space, sums):
    """Scores (n_scores, n_labellings) of one sphere; returns 1 where no voxel of a fold's training samples varies."""
    n_labellings, n_columns, n = labellings.targets.shape
    n_folds, together = labellings.train.shape[0], space.W.shape[0] // n_columns
    places, true = np.empty((2, n), np.int64), np.empty(space.values.shape[1])
    for fold in range(n_folds):
        if not _varies(X, members, labellings.train[fold]):
            return 1
    error = _rounding(G, members, space.g[0])
    sums[:] = 0.0
    for start in range(0, n_labellings, together):
        stop = min(n_labellings, start + together)
        T = labellings.targets[start:stop].reshape((stop - start) * n_columns, n)
        _add_whole(T, G, space)
        for fold in range(n_folds):
            _decode_fold(G, X, members, labellings, fold, T, start, error, places, space)
            add_fold(labellings, fold, start, stop, space.values, true, sums)
    take_means(sums, n_folds)
    return 0


@over_spheres
def nearest_centroid_null(block, labellings, null, status):
    """Scores ``null`` (n_centres, n_scores, n_labellings) of what is nearest, means over folds.

    All spheres by their Gram matrix, with an infinite intercept. Status as in
    :func:`fastsl._kernels.centroid.nearest_centroid`.
    """
    work = allocate(block, 0)
    space = _space(labellings, work.B.shape[0])
    for b in block.order:
        status[b] = -1
        members = block.indices[block.indptr[b] : block.indptr[b + 1]]
        if members.shape[0] >= block.min_voxels:
            sphere = read_sphere(block, b, work)
            status[b] = _centroid_null_sphere(sphere.Z, block.X, members, labellings, space, null[b])
        if status[b] != 0:
            null[b] = np.nan
