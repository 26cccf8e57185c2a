"""Parts of an analysis: which centres belong to the i-th of n shards."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

#: Work of a sphere that does not depend on its voxels, in units of one voxel's: solving against gathering.
#: Measured between 100 (ridge) and 1,000 (LinearSVC) at 120 volumes; shards differ little over that range.
CONSTANT_WORK = 300


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``of`` shards, counted from 1.

    Examples
    --------
    >>> Shard.parse("2/8")
    Shard(number=2, of=8)
    >>> Shard.parse((1, 4)).folder
    'shard-1-of-4'
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def folder(self) -> str:
        """Name of the folder of its checkpoint."""
        return f"shard-{self.number}-of-{self.of}"

    @classmethod
    def parse(cls, given: Any) -> "Shard":
        """Read "I/N", or a pair (i, n).

        Raises
        ------
        TypeError, ValueError
            For what is neither, or counts beyond 1 to n.
        """
        if isinstance(given, Shard):
            return given
        if isinstance(given, str):
            match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", given)
            if match is None:
                raise ValueError(f"shard must be I/N, such as 1/8 for the first of eight, got {given!r}.")
            number, of = int(match[1]), int(match[2])
        else:
            try:
                number, of = given
            except (TypeError, ValueError):
                raise TypeError(f"shard must be a pair (i, n), such as (1, 8), got {given!r}.") from None
            if any(isinstance(one, bool) or not isinstance(one, int | np.integer) for one in (number, of)):
                raise TypeError(f"shard must be a pair of whole numbers (i, n), such as (1, 8), got {given!r}.")
        if not 1 <= number <= of:
            raise ValueError(f"shard {number}/{of} does not exist: the first of {of} is 1/{of}, the last {of}/{of}.")
        return cls(int(number), int(of))

    @classmethod
    def of_folder(cls, name: str) -> "Shard | None":
        """Shard whose checkpoint has a folder of this name; None where it is none's."""
        match = re.fullmatch(r"shard-(\d+)-of-(\d+)", name)
        return None if match is None else cls(int(match[1]), int(match[2]))

    def centres(self, sizes: ArrayLike) -> tuple[int, int]:
        """First centre of the shard, and the one after its last, where spheres have ``sizes`` voxels.

        Shards are ranges of centres in C order, cut so that each has the same share of ``sum(300 + size)``, to half a
        sphere. They depend on nothing but the sizes: every process cuts alike. With more shards than centres some are
        empty.
        """
        work = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64) + CONSTANT_WORK)])
        # Whole numbers throughout, so that no machine rounds otherwise: edge k is where k/n of the work lies below.
        first, stop = (int(np.searchsorted(work * self.of, work[-1] * k)) for k in (self.number - 1, self.number))
        return first, stop


#: An analysis that is not cut.
WHOLE = Shard(1, 1)
