"""Threshold-free cluster enhancement and clusters of a map whose centres have neighbours.

    tfce_v = sum_{k >= 1, k dh <= x_v} e_v(k dh)^E (k dh)^H dh        Smith and Nichols 2009, NeuroImage 44:83, eq. 1

``e_v(h)`` is the number of centres of the cluster of v among those with x >= h. Two centres share a cluster at every
height up to some level, so that all clusters of all heights are the nodes of one tree: the smaller hangs below the
one that it melts into as the threshold falls. With k_v the largest k such that k dh <= x_v, and S(k) the sum of
(j dh)^H dh over 1 <= j <= k, a node of level k and extent e adds e^E (S(k) - S(k of its parent)) to all centres above
it. The tree takes one visit of each centre, whatever the number of thresholds (Najman and Couprie 2006, IEEE
Transactions on Image Processing 15:3531), and sums that go down it never cancel.

Neighbours are compressed sparse rows, ``indices[indptr[v]:indptr[v + 1]]``, and mutual; v itself may be among them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._runtime.jit import helper, kernel

#: Heights of a map: beyond, dh is a mistake, or the map's values are.
MOST_LEVELS = 1 << 24
#: Maps that share one work space.
PER_TASK = 4


class Enhancement(NamedTuple):
    """The parameters of TFCE."""

    dh: float
    E: float
    H: float
    factor: float  # dh, or 1 where sums are left without it


class Work(NamedTuple):
    """Work space of a task, one entry a centre."""

    level: NDArray[np.int32]  # heights that a centre reaches, 0 none
    order: NDArray[np.int32]  # centres of level 1 and more, from the highest down
    parent: NDArray[np.int32]  # in the tree; a centre's own where it is a root
    top: NDArray[np.int32]  # a short way to the root
    extent: NDArray[np.int32]
    value: NDArray[np.float64]  # of the statistic
    z: NDArray[np.float64]


@helper
def _allocate(n):
    return Work(
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n),
        np.empty(n),
    )


@helper
def _root(top, v):
    """Root of v's tree; halves the way there."""
    while top[v] != v:
        top[v] = top[top[v]]
        v = top[v]
    return v


@helper
def _find_levels(values, dh, level):
    """level_v = max {k : k dh <= x_v}, 0 for NaN; returns the largest, or -1 for one beyond MOST_LEVELS."""
    highest = 0
    for v in range(values.shape[0]):
        x = values[v]
        level[v] = 0
        if x >= dh:
            if not x / dh < MOST_LEVELS:
                return -1
            k = int(x / dh)
            if (k + 1) * dh <= x:  # the quotient may round to the other side of a multiple
                k += 1
            elif k * dh > x:
                k -= 1
            level[v] = k
            highest = max(highest, k)
    return highest


@helper
def _sort_by_level(level, highest, order):
    """Write the centres of level 1 and more to ``order``, highest first, in their own order within a level."""
    place = np.zeros(highest + 2, np.int64)
    for k in level:
        place[highest - k + 1] += 1
    for k in range(1, highest + 1):
        place[k] += place[k - 1]
    for v in range(level.shape[0]):
        k = level[v]
        if k > 0:
            order[place[highest - k]] = v
            place[highest - k] += 1
    return place[highest]


@helper
def _grow_tree(indptr, indices, work, n):
    """Make each centre the root of what its neighbours above it belong to, from the highest down."""
    level, parent, top, extent = work.level, work.parent, work.top, work.extent
    for place in range(n):
        v = work.order[place]
        parent[v], top[v], extent[v] = v, v, 1
        for e in range(indptr[v], indptr[v + 1]):
            u = indices[e]
            if level[u] > level[v] or (level[u] == level[v] and u < v):
                root = _root(top, u)
                if root != v:
                    parent[root], top[root] = v, v
                    extent[v] += extent[root]


@helper
def _sum_down_the_tree(work, n, highest, how):
    """Add up what the nodes between a centre and its root contribute; parents come first."""
    S = np.zeros(highest + 1)
    for k in range(1, highest + 1):
        S[k] = S[k - 1] + (k * how.dh) ** how.H * how.factor
    largest = 0.0
    for place in range(n - 1, -1, -1):
        v = work.order[place]
        u, k = work.parent[v], work.level[v]
        if u == v:
            work.value[v] = work.extent[v] ** how.E * S[k]
        elif work.level[u] == k:
            work.value[v] = work.value[u]
        else:
            work.value[v] = work.value[u] + work.extent[v] ** how.E * (S[k] - S[work.level[u]])
        largest = max(largest, work.value[v])
    return largest


@helper
def _enhance(x, indptr, indices, how, work):
    """TFCE of one map in ``work.value``, defined where ``work.level`` is not 0; returns the largest.

    NaN, not a map without any: x / dh goes beyond MOST_LEVELS.
    """
    highest = _find_levels(x, how.dh, work.level)
    if highest < 0:
        return np.nan
    n = _sort_by_level(work.level, highest, work.order)
    _grow_tree(indptr, indices, work, n)
    return _sum_down_the_tree(work, n, highest, how)


@helper
def _unite(x, indptr, indices, threshold, first, extent, mass):
    """Clusters of x > threshold: first_v is v's cluster's first centre, -1 none, where its extent and mass stand.

    mass = sum over the cluster of (x_v - threshold), in the order of centres. Returns the largest extent and mass.
    """
    for v in range(x.shape[0]):
        first[v] = v if x[v] > threshold else -1
        extent[v], mass[v] = 0, 0.0
        if first[v] < 0:
            continue
        for e in range(indptr[v], indptr[v + 1]):
            u = indices[e]
            if u < v and first[u] >= 0:
                a, b = _root(first, u), _root(first, v)
                first[max(a, b)] = min(a, b)
    largest, heaviest = 0, 0.0
    for v in range(x.shape[0]):
        if first[v] >= 0:
            root = _root(first, v)
            first[v] = root
            extent[root] += 1
            mass[root] += x[v] - threshold
            largest, heaviest = max(largest, extent[root]), max(heaviest, mass[root])
    return largest, heaviest


@helper
def _enhance_one(x, indptr, indices, how, out):
    work = _allocate(x.shape[0])
    largest = _enhance(x, indptr, indices, how, work)
    for v in range(x.shape[0]):
        out[v] = work.value[v] if work.level[v] > 0 else 0.0
        if np.isnan(x[v]) or np.isnan(largest):
            out[v] = np.nan
    return largest


@kernel
def enhance(maps, indptr, indices, how, out, largest):
    """TFCE of ``maps`` (n_maps, n_centres), float64, and its ``largest`` value (n_maps,), NaN for one that failed.

    NaN of a map stays NaN.
    """
    for m in range(maps.shape[0]):
        largest[m] = _enhance_one(maps[m], indptr, indices, how, out[m])


@kernel
def unite(maps, indptr, indices, threshold, first, extent, mass):
    """Clusters of ``maps`` (n_maps, n_centres), float64: see _unite."""
    for m in range(maps.shape[0]):
        _unite(maps[m], indptr, indices, threshold, first[m], extent[m], mass[m])


@kernel
def null_maxima(maps, mean, sd, indptr, indices, how, threshold, out):
    """Largest TFCE, cluster extent and cluster mass ``out`` (n_maps, 3) of z = (maps - mean) / sd.

    An infinite ``sd`` makes z 0. ``how.dh`` of 0 leaves out TFCE, a ``threshold`` of NaN leaves out clusters.
    """
    work = _allocate(mean.shape[0])
    for m in range(maps.shape[0]):
        for v in range(mean.shape[0]):
            z = (np.float64(maps[m, v]) - mean[v]) / sd[v]
            work.z[v] = z if np.isfinite(z) else np.nan
        if how.dh > 0.0:
            out[m, 0] = _enhance(work.z, indptr, indices, how, work)
        if not np.isnan(threshold):
            out[m, 1], out[m, 2] = _unite(work.z, indptr, indices, threshold, work.top, work.extent, work.value)
