"""Tables of what voxels add to a sphere, as prefix sums, and how a kernel decodes spheres from one."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels import bayes, bayes_classes
from fastsl._kernels.block import Block
from fastsl._kernels.voxels import ClassFolds, Voxels
from fastsl._runtime.launch import in_parts
from fastsl.decoders.local import SegmentTable

#: Fewest segments that are worth a part: half a millisecond.
FEWEST_SEGMENTS = 4


def room_for_voxels(n_voxels: int, entries: ClassFolds) -> Voxels:
    """Means and variances to be filled in."""
    n_entries, n_folds = len(entries.size), len(entries.first) - 1
    return Voxels(
        np.empty((n_voxels, n_entries)),
        np.empty((n_voxels, n_entries)),
        np.empty((n_voxels, n_folds)),
    )


@dataclass(frozen=True)
class ExactRows:
    """Prefix sums in rows of ``n_exact`` float64 values and ``n_rough`` float32 ones."""

    n_exact: int
    n_rough: int

    @property
    def n_columns(self) -> int:
        """Of the table, in values of 8 bytes."""
        return self.n_exact + -(-self.n_rough // 2)

    @property
    def n_bytes(self) -> int:
        """Of a voxel."""
        return 8 * self.n_columns + 16

    def allocate(self, n_rows: int) -> bayes.Sums:
        """An empty table."""
        rows = _aligned(n_rows, self.n_columns, np.dtype(np.float64))
        return bayes.Sums(rows, self.n_exact, np.empty(n_rows), np.empty(n_rows))


@dataclass(frozen=True)
class RoundedRows:
    """Prefix sums in rows of float32, and what they may be wrong by."""

    n_columns: int

    @property
    def n_bytes(self) -> int:
        """Of a voxel."""
        return 4 * self.n_columns + 24

    def allocate(self, n_rows: int) -> bayes_classes.RoundedSums:
        """An empty table."""
        rows = _aligned(n_rows, self.n_columns, np.dtype(np.float32))
        return bayes_classes.RoundedSums(rows, *(np.empty(n_rows) for _ in range(3)))


def _aligned(n_rows: int, n_columns: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Empty array that begins with a cache line, as its rows then do where they have a multiple of 64 bytes."""
    line = 64 // dtype.itemsize
    values = np.empty(n_rows * n_columns + line, dtype)
    begin = -(values.ctypes.data // dtype.itemsize) % line
    return values[begin : begin + n_rows * n_columns].reshape(n_rows, n_columns)


class PrefixSums(SegmentTable):
    """What is known of the voxels of some segments, and prefix sums of their parts of what a sphere sums up."""

    def __init__(self, X: NDArray[np.float32], entries: ClassFolds, row: ExactRows | RoundedRows) -> None:
        self._entries, self._row = entries, row
        super().__init__(X, 16 * len(entries.size) + 8 * len(entries.first) + row.n_bytes)
        self._allocate()

    def restart(self, X: NDArray[np.float32], entries: ClassFolds, row: ExactRows | RoundedRows) -> bool:
        """Serve other data or labels, where they need a table of the same shape; False: they do not."""
        same = len(X) == len(self.X) and row == self._row
        same = same and entries.size.shape == self._entries.size.shape
        same = same and entries.first.shape == self._entries.first.shape
        same = same and entries.test.shape == self._entries.test.shape
        if same:
            self.X, self._entries = X, entries
            self.forget()
        return same

    def _allocate(self) -> None:
        self.voxels = room_for_voxels(self.n_rows, self._entries)
        self.sums = self._row.allocate(self.n_rows)

    def parts(self, block: Block) -> Iterator[tuple[Block, slice, NDArray[np.int64]]]:
        """As in :class:`fastsl.decoders.local.SegmentTable`."""
        for part in super().parts(block):
            if len(self.sums.rows) != self.n_rows:
                self._allocate()
            yield part


class BySums:
    """``run`` of a plan: the rows of spheres are sums of what ``tabulate`` fills in for their voxels.

    Only one of them has a table at a time, since many take turns (folds that scale, permutations) and tables are large.
    """

    _holder: "weakref.ref[BySums] | None" = None

    def __init__(
        self,
        entries: ClassFolds,
        row: ExactRows | RoundedRows,
        tabulate: Callable[..., None],
        decode: Callable[..., None],
    ) -> None:
        self._needs = entries, row
        self._tabulate, self._decode = tabulate, decode
        self._table: PrefixSums | None = None

    def __call__(self, block: Block, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        """Decode a block, part by part."""
        table = self._take_table(block.X)
        for part, centres, new in table.parts(block):
            self._fill(table, new)
            self._decode(part, table, out[centres], status[centres])

    def _fill(self, table: PrefixSums, segments: NDArray[np.int64]) -> None:
        def work(part: slice) -> None:
            self._tabulate(table.X, segments[part], table.shift, self._needs[0], table.voxels, table.sums)

        in_parts(len(segments), FEWEST_SEGMENTS, work)

    def _take_table(self, X: NDArray[np.float32]) -> PrefixSums:
        """Table for X: the one at hand, or that of whoever had one before, emptied, where it has the same shape."""
        holder = None if BySums._holder is None else BySums._holder()
        if self._table is None or self._table.X is not X:
            handed_on = None if holder is None else holder._table
            if handed_on is None or not handed_on.restart(X, *self._needs):
                handed_on = PrefixSums(X, *self._needs)
            if holder is not None:
                holder._table = None
            self._table = handed_on
        BySums._holder = weakref.ref(self)
        return self._table
