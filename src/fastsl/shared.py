"""Which voxels neighbouring spheres have in common, so that what is summed over voxels is summed once for all of them.

See :mod:`fastsl._kernels.shared_gram`. Centres on the grid with the same (x, y // 2, z // 2) are a quad, those with the
same (x, y, z // 2) a pair. Of a sphere of 257 voxels 168 are in all four of its quad, 40 more in both of its pair.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

#: Spheres of fewer voxels than this are summed alone: to add 13 voxels to the sum of 20 takes as long as to add all 33.
_WORTH_SHARING = 60
_PLACES = np.array(list(itertools.product([0], [0, 1], [0, 1])))


def shared_levels(offsets: NDArray[np.int32]) -> NDArray[np.int8]:
    """For each place of a centre in its quad, (y % 2, z % 2), what each offset is, shape (4, n_offsets).

    2: a voxel of all spheres of the quad, 1: of both of the pair, 0: of others or none. Empty where sharing is not
    worth it.
    """
    if len(offsets) < _WORTH_SHARING:
        return np.empty((4, 0), np.int8)
    reach = np.abs(offsets).max() + 2
    has = np.zeros((2 * reach + 1,) * 3, bool)
    has[tuple((offsets + reach).T)] = True
    levels = np.empty((len(_PLACES), len(offsets)), np.int8)
    for levels_here, here in zip(levels, _PLACES, strict=True):
        # A voxel at this offset from here is at the offset plus (here - there) from there.
        of_all = [has[tuple((offsets + here - there + reach).T)] for there in _PLACES]
        of_pair = [has_it for has_it, there in zip(of_all, _PLACES, strict=True) if there[1] == here[1]]
        levels_here[:] = np.where(np.all(of_all, axis=0), 2, np.where(np.all(of_pair, axis=0), 1, 0))
    return levels


def group_spheres(
    centres: NDArray[np.float64], levels: NDArray[np.int8]
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]:
    """Order, levels and groups of :class:`fastsl._kernels.block.Block`: pairs and quads after each other."""
    if not len(levels):
        return np.arange(len(centres)), levels, np.empty((0, 2), np.int64)
    x, y, z = np.rint(centres).astype(np.int64).T
    pair, quad = (x << 42) + (y << 21) + (z >> 1), (x << 42) + (y >> 1 << 21) + (z >> 1)
    return np.lexsort((z, pair, quad)), levels, np.stack([pair, quad], axis=1)
