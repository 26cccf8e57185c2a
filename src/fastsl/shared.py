"""Which voxels neighbouring spheres have in common, so that what is summed over voxels is summed once for all of them.

See :mod:`fastsl._kernels.shared_gram`, which says what groups of centres there are.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.shared_gram import EXTENTS, N_LEVELS

#: Spheres of fewer voxels than this are summed alone: to add 13 voxels to the sum of 20 takes as long as to add all 33.
_WORTH_SHARING = 60
_FIRST_ALONE = 1 << 62
_PLACES = np.array(list(itertools.product(*(range(extent) for extent in EXTENTS[-1]))))


def shared_levels(offsets: NDArray[np.int32]) -> NDArray[np.int8]:
    """For each place of a centre in its largest group, (y, z), what each offset is, shape (8, n_offsets).

    3, 2, 1: a voxel of all spheres of the group of eight, of the quad, of the pair; 0: of others or none. Empty where
    sharing is not worth it.
    """
    if len(offsets) < _WORTH_SHARING:
        return np.empty((len(_PLACES), 0), np.int8)
    reach = np.abs(offsets).max() + max(EXTENTS[-1])
    width = 2 * reach + 1
    has = np.zeros(width**3, bool)
    place = np.ravel_multi_index((offsets + reach).T, (width,) * 3)
    has[place] = True
    levels = np.zeros((len(_PLACES), len(offsets)), np.int8)
    for levels_here, here in zip(levels, _PLACES, strict=True):
        # A voxel at this offset from here is at the offset plus (here - there) from there.
        has_it = has[place + ((here - _PLACES) @ [width, 1])[:, None]]
        for level, extent in enumerate(EXTENTS, start=1):
            together = (_PLACES // extent == here // extent).all(axis=1)
            levels_here[has_it[together].all(axis=0)] = level
    return levels


def group_spheres(
    centres: NDArray[np.float64], levels: NDArray[np.int8]
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]:
    """Order, levels and groups of :class:`fastsl._kernels.block.Block`: what shares sums, after each other.

    A centre between voxels shares nothing: it has groups of its own, whose numbers no centre on the grid has.
    """
    if not len(levels):
        return np.arange(len(centres)), levels, np.empty((0, N_LEVELS), np.int64)
    x, y, z = np.rint(centres).astype(np.int64).T
    alone, own = (centres != np.rint(centres)).any(axis=1), _FIRST_ALONE + np.arange(len(centres))
    groups = [np.where(alone, own, (x << 42) + (y // along_y << 21) + z // along_z) for along_y, along_z in EXTENTS]
    return np.lexsort((z, *groups)), levels, np.stack(groups, axis=1)
