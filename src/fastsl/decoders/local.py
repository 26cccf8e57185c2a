"""The voxels of a block of spheres, for what is computed once a voxel and block instead of once a sphere."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.additive import SEGMENT, mark_segments
from fastsl._kernels.block import Block, part_of

#: A table of voxels may take so much. Following blocks of a 2 mm brain share what they need below 130 MB: with 96 MB
#: GaussianNB and NearestCentroid take half as long again (8 mm spheres, 120 volumes, two classes).
TABLE_BYTES = 128 * 2**20


def localise(block: Block) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Voxels that are in any sphere, ascending, and ``block.indices`` as places among them."""
    inside = np.zeros(len(block.X), bool)
    inside[block.indices] = True
    voxels = np.flatnonzero(inside)
    place = np.zeros(len(block.X), np.int32)
    place[voxels] = np.arange(len(voxels), dtype=np.int32)
    return voxels, place[block.indices]


def localise_segments(block: Block) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """As :func:`localise`, with all voxels of the segments of X that any sphere touches.

    Segments of what is made of these voxels are then segments of X, whatever the block.
    """
    touched = np.zeros(-(-len(block.X) // SEGMENT), bool)
    mark_segments(block.indices, touched)
    segments = np.flatnonzero(touched)
    voxels = (segments[:, None] * SEGMENT + np.arange(SEGMENT)).ravel()
    shift = np.zeros(len(touched), np.int64)
    shift[segments] = (np.arange(len(segments)) - segments) * SEGMENT
    places = block.indices + shift[block.indices // SEGMENT]
    return voxels[voxels < len(block.X)], places.astype(np.int32)


class SegmentTable:
    """Which segments of the data matrix X (n_voxels, n_samples) a table holds, and in which of its rows.

    Spheres of following blocks share most of their voxels: what is tabulated stays until its place is needed.

    Attributes
    ----------
    shift : ndarray of int64, shape (n_segments,)
        Voxel v has the row ``v + shift[v // SEGMENT]``, if its segment is held.
    n_rows : int
        Of the table.
    """

    def __init__(self, X: NDArray[np.float32], bytes_per_voxel: int) -> None:
        self.X = X
        n_segments = -(-len(X) // SEGMENT)
        self._most = max(1, min(n_segments, TABLE_BYTES // (SEGMENT * bytes_per_voxel)))
        self.shift = np.zeros(n_segments, np.int64)
        self._held = np.full(self._most, -1, np.int64)  # segment in each place, -1 for none

    def forget(self) -> None:
        """Hold nothing."""
        self._held[:] = -1

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return self._most * SEGMENT

    def parts(self, block: Block) -> Iterator[tuple[Block, slice, NDArray[np.int64]]]:
        """Parts of a block whose segments the table can hold, the centres, and the segments that are new in it.

        A single sphere with more segments than that makes the table larger, and all of its segments are new then.
        """
        waiting = [(0, len(block.indptr) - 1)]
        while waiting:
            start, stop = waiting.pop()
            touched = np.zeros(len(self.shift), bool)
            mark_segments(block.indices[block.indptr[start] : block.indptr[stop]], touched)
            needed = np.flatnonzero(touched)
            if stop - start > 1 and len(needed) > self._most:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
                continue
            yield part_of(block, start, stop), slice(start, stop), self._take_in(needed, touched)

    def _take_in(self, needed: NDArray[np.int64], touched: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Give every needed segment a place; return those that had none."""
        if len(needed) > self._most:
            self._most = len(needed)
            self._held = np.full(self._most, -1, np.int64)
        new = np.setdiff1d(needed, self._held, assume_unique=True)
        free = np.flatnonzero((self._held < 0) | ~touched[self._held])[: len(new)]
        self._held[free] = new
        self.shift[new] = (free - new) * SEGMENT
        return new
