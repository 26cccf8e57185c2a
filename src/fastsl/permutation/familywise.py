"""Family-wise p values of threshold-free cluster enhancement and of clusters, from permuted maps."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsl._kernels import clusters as _kernels
from fastsl._runtime.cpus import resolve_n_jobs
from fastsl._runtime.launch import in_parts, kernel_threads, max_threads
from fastsl.neighbours import Neighbours
from fastsl.permutation.clusters import (
    Clusters,
    check_levels,
    check_threshold,
    cluster_extents_and_masses,
    enhancement,
    tfce,
)
from fastsl.permutation.inference import (
    check_map,
    check_null,
    null_batches,
    null_moments,
    p_fwe,
    usable_moments,
    z_scores,
)


@dataclass(frozen=True, eq=False)
class NullMaxima:
    """The largest value of each statistic in each permuted map; None for one that was not asked for.

    Attributes
    ----------
    tfce, extent, mass : ndarray of float64, shape (n_permutations,), or None
        0 where a map has no cluster.
    """

    tfce: NDArray[np.float64] | None
    extent: NDArray[np.float64] | None
    mass: NDArray[np.float64] | None


def null_maxima(
    null: Any,
    mean: ArrayLike,
    sd: ArrayLike,
    adjacency: Neighbours,
    *,
    dh: float | None = 0.1,
    E: float = 0.5,
    H: float = 2.0,
    with_dh: bool = True,
    cluster_threshold: float | None = 3.1,
    n_jobs: int = -1,
) -> NullMaxima:
    """Largest TFCE, cluster extent and cluster mass of every permuted map, as z = (score - mean) / sd.

    Parameters
    ----------
    null : array_like, shape (n_permutations, n_centres)
        Scores under permuted labels, read some rows at a time: a memory map of any length will do.
    mean, sd : array_like, shape (n_centres,)
        Of each centre's null: see :func:`fastsl.permutation.inference.null_moments`. Where sd is 0 or NaN, z is 0.
    adjacency : Neighbours
        Of the centres.
    dh, E, H, with_dh
        As in :func:`fastsl.tfce`; ``dh=None`` leaves out TFCE.
    cluster_threshold : float or None
        For z; None leaves out clusters.
    n_jobs : int
        Threads, -1 for all; results do not depend on it. Each takes 36 bytes a centre and has four maps read for it.

    Returns
    -------
    NullMaxima

    Raises
    ------
    TypeError, ValueError
        For shapes that do not go together, and parameters as in :func:`fastsl.tfce` and
        :func:`fastsl.permutation.clusters.cluster_extents_and_masses`.
    """
    n_permutations, n_centres = check_null(null)
    if not n_centres == len(adjacency) or not np.shape(mean) == np.shape(sd) == (n_centres,):
        raise ValueError(
            f"null, mean, sd and adjacency are of different centres: {n_centres}, shape {np.shape(mean)}, shape "
            f"{np.shape(sd)} and {len(adjacency)}."
        )
    m, s = usable_moments(mean, sd)
    how = _kernels.Enhancement(0.0, 0.0, 0.0, 0.0) if dh is None else enhancement(dh, E, H, with_dh=with_dh)
    limit = math.nan if cluster_threshold is None else check_threshold(cluster_threshold)
    found = np.zeros((n_permutations, 3))
    start = 0
    n_threads = resolve_n_jobs(n_jobs, max_threads())
    with kernel_threads(n_threads):
        for maps in null_batches(null, n_threads * _kernels.PER_TASK):
            out = found[start : start + len(maps)]

            def work(part: slice, maps: NDArray[Any] = maps, out: NDArray[np.float64] = out) -> None:
                _kernels.null_maxima(maps[part], m, s, adjacency.indptr, adjacency.indices, how, limit, out[part])

            in_parts(len(maps), _kernels.PER_TASK, work)
            start += len(maps)
    if dh is not None:
        check_levels(found[:, 0], dh)
    highest, extent, mass = found.T.copy()
    clusters = cluster_threshold is not None
    return NullMaxima(None if dh is None else highest, extent if clusters else None, mass if clusters else None)


@dataclass(frozen=True, eq=False)
class ClusterInference:
    """An observed map against its permuted maps.

    Attributes
    ----------
    z : ndarray of float64, shape (n_centres,)
        Scores against the null of each centre.
    tfce, p_tfce : ndarray of float64, shape (n_centres,), or None
        TFCE of z, and its family-wise p values.
    labels : ndarray of int32, shape (n_centres,), or None
        Cluster of each centre, 0 outside.
    clusters : Clusters or None
        Extent, mass and peak (of z) of each, and their family-wise p values.
    null : NullMaxima
        What they were compared with.
    """

    z: NDArray[np.float64]
    tfce: NDArray[np.float64] | None
    p_tfce: NDArray[np.float64] | None
    labels: NDArray[np.int32] | None
    clusters: Clusters | None
    null: NullMaxima


def cluster_inference(
    scores: ArrayLike,
    null: Any,
    adjacency: Neighbours,
    *,
    mean: ArrayLike | None = None,
    sd: ArrayLike | None = None,
    dh: float | None = 0.1,
    E: float = 0.5,
    H: float = 2.0,
    with_dh: bool = True,
    cluster_threshold: float | None = 3.1,
    n_jobs: int = -1,
) -> ClusterInference:
    """Family-wise p values of TFCE and of clusters, by the largest of each permuted map.

    Spheres differ in size and their nulls in width, so that scores of different places mean different things. Every
    map, observed or permuted, is therefore first brought to z = (score - mean) / sd of each centre's null. Then p =
    (r + 1) / (n + 1), r being the number of permutations whose largest value anywhere is at least the observed one.

    Parameters
    ----------
    scores : array_like, shape (n_centres,)
        The observed map. It is rounded to the precision of the null, so that ties are ties.
    null : array_like, shape (n_permutations, n_centres)
        Scores under permuted labels; may be a memory map.
    adjacency : Neighbours
        Of the centres: see :func:`fastsl.voxel_adjacency`.
    mean, sd : array_like, shape (n_centres,), optional
        Of the null. By default over all n + 1 maps, the observed one among them: the maps are then exchangeable after
        the division as before, the test is exact for any n, and no z exceeds n / sqrt(n + 1). Moments of the permuted
        maps alone make p too small: much so for tens of permutations, hardly for thousands.
    dh, E, H, with_dh, cluster_threshold, n_jobs
        As in :func:`null_maxima`.

    Returns
    -------
    ClusterInference

    Raises
    ------
    TypeError, ValueError
        As :func:`null_maxima`; for a mean without an sd.

    Examples
    --------
    >>> from fastsl import voxel_adjacency
    >>> rng = np.random.default_rng(0)
    >>> mask = np.ones((6, 6, 6), bool)
    >>> null = rng.normal(0.5, 0.05, (99, 216)).astype(np.float32)
    >>> scores = rng.normal(0.5, 0.05, mask.shape)
    >>> scores[1:3, 1:3, 1:3] = 0.8
    >>> result = cluster_inference(scores[mask], null, voxel_adjacency(mask))
    >>> result.clusters.extent, result.clusters.p_extent
    (array([8]), array([0.01]))
    """
    check_null(null)
    observed = check_map(scores, null)
    if (mean is None) != (sd is None):
        raise ValueError("mean and sd belong together: give both, or neither to have them computed.")
    if mean is None or sd is None:
        mean, sd = null_moments(null, observed)
    maxima = null_maxima(
        null,
        mean,
        sd,
        adjacency,
        dh=dh,
        E=E,
        H=H,
        with_dh=with_dh,
        cluster_threshold=cluster_threshold,
        n_jobs=n_jobs,
    )
    z = z_scores(observed, mean, sd)
    enhanced, p_tfce, labels, clusters = None, None, None, None
    if dh is not None and maxima.tfce is not None:
        enhanced = tfce(z, adjacency, dh=dh, E=E, H=H, with_dh=with_dh)
        p_tfce = p_fwe(enhanced, maxima.tfce)
    if cluster_threshold is not None and maxima.extent is not None and maxima.mass is not None:
        labels, found = cluster_extents_and_masses(z, adjacency, cluster_threshold)
        clusters = replace(found, p_extent=p_fwe(found.extent, maxima.extent), p_mass=p_fwe(found.mass, maxima.mass))
    return ClusterInference(z, enhanced, p_tfce, labels, clusters, maxima)
