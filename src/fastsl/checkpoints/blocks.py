"""Decoded blocks of spheres as files: .npz without pickles, each named after its centres and the checksum of its bytes.

What is stored of a block is every array of :class:`fastsl.outcome.Decoded` that there is, whatever it is called, so
that reading a block gives what the engine gave.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl.outcome import Decoded, Troubles
from fastsl.record import npz_bytes, write_whole

_NAME = re.compile(r"centres-(\d+)-(\d+)-([0-9a-f]{32})\.npz")


class Block(NamedTuple):
    """Results of the spheres from ``start`` on, whose sizes are ``sizes``."""

    start: int
    sizes: NDArray[Any]
    decoded: Decoded

    @property
    def stop(self) -> int:
        """The centre after the last."""
        return self.start + len(self.sizes)

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return sum(array.nbytes for array in _arrays(self.decoded).values()) + self.sizes.nbytes


class DamagedError(Exception):
    """A file is not what was written."""


@dataclass(frozen=True)
class BlockFile:
    """A file of blocks, known by its name: nothing of it has been read."""

    path: Path
    start: int
    stop: int
    checksum: str

    def read(self) -> tuple[list[Block], dict[str, Any]]:
        """Return the blocks, and what was said about them.

        Raises
        ------
        DamagedError
            When the bytes are not those that were written.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DamagedError(f"{self.path} cannot be read ({error.strerror})") from error
        if checksum(content) != self.checksum:
            raise DamagedError(f"{self.path} is damaged: its checksum is not that of its name")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            heading = json.loads(str(arrays["heading"]))
            blocks = [
                Block(
                    start,
                    arrays[f"{i}.sizes"],
                    Decoded(
                        troubles=_read_troubles(troubles),
                        **{
                            one.name: arrays[f"{i}.{one.name}"]
                            for one in fields(Decoded)
                            if f"{i}.{one.name}" in arrays
                        },
                    ),
                )
                for i, (start, troubles) in enumerate(zip(heading["starts"], heading["troubles"], strict=True))
            ]
        return blocks, heading["about"]


def checksum(content: bytes) -> str:
    """BLAKE2b of bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def find_files(folder: Path) -> list[BlockFile]:
    """Files of blocks in a folder, in the order of their centres."""
    found = []
    for path in folder.glob("centres-*.npz"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found.append(BlockFile(path, int(match[1]), int(match[2]), match[3]))
    return sorted(found, key=lambda file: (file.start, file.stop))


def write_blocks(folder: Path, blocks: Sequence[Block], about: dict[str, Any]) -> None:
    """Write blocks that follow each other to one file, whole or not at all."""
    heading = {
        "starts": [block.start for block in blocks],
        "troubles": [_write_troubles(block.decoded.troubles) for block in blocks],
        "about": about,
    }
    arrays: dict[str, NDArray[Any]] = {"heading": np.array(json.dumps(heading))}
    for i, block in enumerate(blocks):
        arrays[f"{i}.sizes"] = np.asarray(block.sizes)
        arrays.update({f"{i}.{name}": array for name, array in _arrays(block.decoded).items()})
    content = npz_bytes(arrays)
    write_whole(folder / f"centres-{blocks[0].start:09d}-{blocks[-1].stop:09d}-{checksum(content)}.npz", content)


def gaps(covered: Sequence[tuple[int, int]], first: int, stop: int) -> list[tuple[int, int]]:
    """Ranges between ``first`` and ``stop`` that none of the ranges ``covered`` holds.

    Examples
    --------
    >>> gaps([(3, 5), (0, 2), (4, 8)], 0, 10)
    [(2, 3), (8, 10)]
    """
    found, place = [], first
    for start, end in sorted(covered):
        if start > place:
            found.append((place, min(start, stop)))
        place = max(place, end)
        if place >= stop:
            return found
    return [*found, (place, stop)] if place < stop else found


def _arrays(decoded: Decoded) -> dict[str, NDArray[Any]]:
    """Every array of a block by the name of its field."""
    named = {one.name: getattr(decoded, one.name) for one in fields(decoded)}
    return {name: array for name, array in named.items() if isinstance(array, np.ndarray)}


def _write_troubles(troubles: Troubles) -> dict[str, Any]:
    # Not asdict, which makes counters of pairs out of counters.
    return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(troubles).items()}


def _read_troubles(stored: dict[str, Any]) -> Troubles:
    counted: dict[str, Any] = {
        name: Counter(value) if isinstance(value, dict) else value for name, value in stored.items()
    }
    return Troubles(**counted)
