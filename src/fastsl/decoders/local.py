"""The voxels of a block of spheres, for what is computed once a voxel and block instead of once a sphere."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.additive import SEGMENT, mark_segments
from fastsl._kernels.block import Block, part_of
from fastsl._runtime.launch import in_parts

#: A table of voxels may take so much. Centres of following planes share all but a plane of what they need: of 8 mm in a
#: 2 mm brain eight planes and the one that is left behind, at most 41,900 voxels. For probabilities of GaussianNB, two
#: classes and 120 volumes, they take 84 MB with four folds, 88 with six; 28 for classes alone. With 4 MB less voxels
#: are tabulated 1.2 times, with 14 less twice.
TABLE_BYTES = 96 * 2**20
#: And so much for blocks of fewer spheres than this, which come of few spheres altogether: 1,000 of them, all over that
#: brain, have some three times as many voxels tabulated then, 0.4 s more.
FEW_BYTES, FEW = 44 * 2**20, 1024
#: Members that are worth a part: a thread marks them in a tenth of a millisecond.
_FEWEST_MEMBERS = 2**17


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
    touched = _touched(block.indices, -(-len(block.X) // SEGMENT))
    segments = np.flatnonzero(touched)
    voxels = (segments[:, None] * SEGMENT + np.arange(SEGMENT)).ravel()
    shift = np.zeros(len(touched), np.int64)
    shift[segments] = (np.arange(len(segments)) - segments) * SEGMENT
    places = block.indices + shift[block.indices // SEGMENT]
    return voxels[voxels < len(block.X)], places.astype(np.int32)


def _touched(members: NDArray[np.int32], n_segments: int) -> NDArray[np.bool_]:
    """Which segments ``members`` are in."""
    touched = np.zeros(n_segments, bool)
    in_parts(len(members), _FEWEST_MEMBERS, lambda part: mark_segments(members[part], touched))
    return touched


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
        self.shift = np.zeros(-(-len(X) // SEGMENT), np.int64)
        self._bytes_per_segment = SEGMENT * bytes_per_voxel
        self._most = self._room(FEW_BYTES)
        self._held = np.full(self._most, -1, np.int64)  # segment in each place, -1 for none

    def _room(self, n_bytes: int) -> int:
        """Segments that a table of so many bytes holds."""
        return max(1, min(len(self.shift), min(n_bytes, TABLE_BYTES) // self._bytes_per_segment))

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
        n_spheres = len(block.indptr) - 1
        if n_spheres >= FEW:
            self._grow(self._room(TABLE_BYTES))
        waiting = [(0, n_spheres)]
        while waiting:
            start, stop = waiting.pop()
            touched = _touched(block.indices[block.indptr[start] : block.indptr[stop]], len(self.shift))
            needed = np.flatnonzero(touched)
            if stop - start > 1 and len(needed) > self._most:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
                continue
            yield part_of(block, start, stop), slice(start, stop), self._take_in(needed, touched)

    def _grow(self, n_segments: int) -> None:
        """Have room for so many segments; where that is new, nothing is held any more."""
        if n_segments > self._most:
            self._most = n_segments
            self._held = np.full(n_segments, -1, np.int64)

    def _take_in(self, needed: NDArray[np.int64], touched: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Give every needed segment a place; return those that had none."""
        self._grow(len(needed))
        new = np.setdiff1d(needed, self._held, assume_unique=True)
        # Centres come in C order, as voxels do. First goes what lies behind all that is needed, for it never is again:
        # so a table takes no more memory than it must. Then what was never used, then what lies furthest behind.
        is_empty = self._held < 0
        places = np.argsort(np.where(is_empty, needed[:1], self._held), kind="stable")
        free = places[(is_empty | ~touched[self._held])[places]][: len(new)]
        self._held[free] = new
        self.shift[new] = (free - new) * SEGMENT
        return new
