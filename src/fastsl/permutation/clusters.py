"""Clusters of a map, and threshold-free cluster enhancement.

A map is one value a centre. Which centres are neighbours is a :class:`~fastsl.neighbours.Neighbours` of its own:
:func:`voxel_adjacency` makes that of a volume.
"""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsl._kernels import clusters as _kernels
from fastsl.neighbours import Neighbours, sphere_neighbours

#: Voxels that share a face, also an edge, also a corner: the spheres of these radii on a grid of 1 mm.
_RADIUS = {6: 1.0, 18: math.sqrt(2.0), 26: math.sqrt(3.0)}


def voxel_adjacency(mask: ArrayLike, connectivity: int = 26) -> Neighbours:
    """Which voxels of a mask touch each other.

    Parameters
    ----------
    mask : array_like, shape (nx, ny, nz)
        Non-zero is inside. Of a searchlight: the process mask, where the centres are.
    connectivity : {26, 18, 6}
        Neighbours share a corner, an edge or a face; an edge or a face; a face.

    Returns
    -------
    Neighbours
        A voxel's neighbours and itself, in C order of the mask.

    Raises
    ------
    ValueError
        For another connectivity, a mask that is not three-dimensional or is empty.

    Examples
    --------
    >>> voxel_adjacency(np.ones((3, 3, 3)), connectivity=6)[0]
    array([0, 1, 3, 9], dtype=int32)
    """
    if connectivity not in _RADIUS:
        raise ValueError(
            f"connectivity must be 6 (voxels share a face), 18 (or an edge) or 26 (or a corner), got {connectivity!r}."
        )
    return sphere_neighbours(mask, np.eye(4), _RADIUS[connectivity])


def tfce(
    values: ArrayLike,
    adjacency: Neighbours,
    *,
    dh: float = 0.1,
    E: float = 0.5,
    H: float = 2.0,
    with_dh: bool = True,
) -> NDArray[np.float64]:
    """Threshold-free cluster enhancement of a map, one-sided.

        tfce_v = sum over h = dh, 2 dh, ... <= x_v of e_v(h)^E h^H dh

    where e_v(h) is the number of centres of the cluster that v belongs to among the centres with x >= h (Smith and
    Nichols 2009, NeuroImage 44:83, eq. 1). The time does not depend on dh.

    Parameters
    ----------
    values : array_like, shape (n_centres,)
        z or t values, ``volume[mask]``. Values below dh, so also negative ones, get 0; NaN belongs to no cluster and
        stays NaN.
    adjacency : Neighbours
        Of the centres: see :func:`voxel_adjacency`. Any mutual neighbourhood will do.
    dh : float
        Step between heights, in units of the map. Heights are k dh, each computed by one product.
    E, H : float
        Exponents of extent and height.
    with_dh : bool
        False leaves out the factor dh, as nilearn and fslmaths do. It does not change p values, as long as dh is the
        same for all maps.

    Returns
    -------
    ndarray of float64, shape (n_centres,)

    Raises
    ------
    TypeError, ValueError
        For a map of another shape, infinite values, parameters that are not positive, and a dh so small that the
        largest value would have more than 16,777,216 heights.

    Examples
    --------
    >>> line = voxel_adjacency(np.ones((5, 1, 1)))
    >>> tfce([1.0, 2.0, 0.0, 3.0, np.nan], line, dh=1, E=1)  # 2 * 1 + 1 * 4 in the second place
    array([ 2.,  6.,  0., 14., nan])
    """
    x = _check_values(values, adjacency)
    how = enhancement(dh, E, H, with_dh=with_dh)
    out, largest = np.empty((1, len(x))), np.empty(1)
    _kernels.enhance(x[None], adjacency.indptr, adjacency.indices, how, out, largest)
    check_levels(largest, dh)
    return out[0]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of a map, the largest first, one entry each; of equal extent, the heavier, then the one found first.

    ``vars(clusters)`` is a dict of columns, for instance for ``pandas.DataFrame``.

    Attributes
    ----------
    label : ndarray of int32, shape (n_clusters,)
        1, 2, ...: its number in the map of labels.
    extent : ndarray of int64
        Number of centres.
    mass : ndarray of float64
        Sum of (value - threshold) over its centres.
    peak : ndarray of int64
        The centre of the largest value; the first of equals.
    peak_value : ndarray of float64
    p_extent, p_mass : ndarray of float64
        Family-wise p values of extent and mass; NaN without a null.
    """

    label: NDArray[np.int32]
    extent: NDArray[np.int64]
    mass: NDArray[np.float64]
    peak: NDArray[np.int64]
    peak_value: NDArray[np.float64]
    p_extent: NDArray[np.float64]
    p_mass: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.label)


def cluster_extents_and_masses(
    values: ArrayLike, adjacency: Neighbours, threshold: float
) -> tuple[NDArray[np.int32], Clusters]:
    """Clusters of neighbouring centres whose value is above a threshold.

    Parameters
    ----------
    values : array_like, shape (n_centres,)
        NaN belongs to no cluster.
    adjacency : Neighbours
        Of the centres: see :func:`voxel_adjacency`.
    threshold : float
        Not negative. A centre is in a cluster when its value is larger (SPM and nilearn; equal values are out).

    Returns
    -------
    labels : ndarray of int32, shape (n_centres,)
        Of each centre's cluster, 0 outside.
    clusters : Clusters
        Extent, mass and peak of each; mass is the sum of (value - threshold), as Bullmore et al. 1999 (IEEE
        Transactions on Medical Imaging 18:32) and nilearn have it. PALM and CoSMoMVPA sum the values themselves: mass +
        threshold * extent.

    Raises
    ------
    TypeError, ValueError
        For a map of another shape, infinite values, a threshold that is negative or not finite.

    Examples
    --------
    >>> line = voxel_adjacency(np.ones((6, 1, 1)))
    >>> labels, clusters = cluster_extents_and_masses([4, 3, 5, 0, 4, 4.5], line, threshold=3)
    >>> labels
    array([3, 0, 2, 0, 1, 1], dtype=int32)
    >>> clusters.extent, clusters.mass, clusters.peak
    (array([2, 1, 1]), array([2.5, 2. , 1. ]), array([5, 2, 0]))
    """
    x = _check_values(values, adjacency)
    limit = check_threshold(threshold)
    first, extent, mass = np.empty((1, len(x)), np.int32), np.empty((1, len(x)), np.int32), np.empty((1, len(x)))
    _kernels.unite(x[None], adjacency.indptr, adjacency.indices, limit, first, extent, mass)
    roots = np.flatnonzero(extent[0])
    roots = roots[np.lexsort((roots, -mass[0, roots], -extent[0, roots]))]
    number = np.zeros(len(x) + 1, np.int32)  # the last entry is that of -1, no cluster
    number[roots] = np.arange(1, len(roots) + 1)
    labels = number[first[0]]
    inside = np.flatnonzero(labels)
    # Of each cluster the largest value, then the first centre, comes first.
    order = inside[np.lexsort((inside, -x[inside], labels[inside]))]
    peak = order[np.searchsorted(labels[order], number[roots])]
    unknown = np.full(len(roots), np.nan)
    return labels, Clusters(
        number[roots], extent[0, roots].astype(np.int64), mass[0, roots], peak, x[peak], unknown, unknown
    )


def _check_values(values: ArrayLike, adjacency: Neighbours) -> NDArray[np.float64]:
    x = np.array(values, np.float64, order="C")
    if x.shape != (len(adjacency),):
        raise ValueError(
            f"values have shape {x.shape} but the adjacency is of {len(adjacency)} centres; give one value a centre, "
            "of a volume volume[mask]."
        )
    infinite = np.flatnonzero(np.isinf(x))
    if infinite.size:
        raise ValueError(f"values must be finite or NaN, got {x[infinite[0]]} at centre {infinite[0]}.")
    return x


def _check_number(value: Any, name: str, what: str, *, zero: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}, {what}, must be a number, got {value!r}.")
    number = float(value)
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name}, {what}, must be finite and {'not negative' if zero else 'positive'}, got {number}.")
    return number


def check_threshold(threshold: Any) -> float:
    """Return a cluster threshold as a float; raise where it is none."""
    return _check_number(threshold, "the cluster threshold", "a z value such as 3.1", zero=True)


def enhancement(dh: Any, E: Any, H: Any, *, with_dh: bool) -> _kernels.Enhancement:
    """Parameters of TFCE as the kernels take them; raise where one has no meaning."""
    step = _check_number(dh, "dh", "the step between heights")
    extent = _check_number(E, "E", "the exponent of the extent", zero=True)
    height = _check_number(H, "H", "the exponent of the height", zero=True)
    return _kernels.Enhancement(step, extent, height, step if with_dh else 1.0)


def check_levels(largest: NDArray[np.float64], dh: float) -> None:
    """Raise where the largest TFCE of a map is NaN: the map goes too high for dh."""
    failed = np.flatnonzero(np.isnan(largest))
    if failed.size:
        raise ValueError(
            f"dh={dh} is too small for map {failed[0]}: its largest value is beyond {_kernels.MOST_LEVELS} steps of "
            "it. dh is meant for z values, where 0.1 is usual."
        )
