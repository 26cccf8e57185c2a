"""The voxels of a block of spheres, for what is computed once a voxel and block instead of once a sphere."""

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import Block


def localise(block: Block) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Voxels that are in any sphere, ascending, and ``block.indices`` as places among them."""
    inside = np.zeros(len(block.X), bool)
    inside[block.indices] = True
    voxels = np.flatnonzero(inside)
    place = np.zeros(len(block.X), np.int32)
    place[voxels] = np.arange(len(voxels), dtype=np.int32)
    return voxels, place[block.indices]
