"""A search that can be interrupted: what is decoded goes to disk as it comes, and is not decoded again."""

import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._runtime.cpus import processor_name
from fastsl.checkpoints.blocks import Block, DamagedError, find_files, gaps, write_blocks
from fastsl.checkpoints.fingerprint import differences
from fastsl.checkpoints.lock import Lock
from fastsl.checkpoints.manifest import Manifest, read_manifest, shard_folders
from fastsl.layout import Layout
from fastsl.record import check_writable, versions, where

#: Blocks are gathered and written so often, or when they take so much memory: what a kill can cost. While a file is
#: made they are held twice, beside the scores of all spheres.
SECONDS_A_FILE, BYTES_A_FILE = 25.0, 4 * 2**20


class Recorder:
    """Keeps the blocks of one search; this one forgets them, for a search that nobody wants to continue."""

    def replay(self) -> Iterator[Block]:
        """Give what an earlier process has decoded, with starts counted from the first centre of the search."""
        yield from ()

    def left(self, n_centres: int) -> list[tuple[int, int]]:
        """Ranges of centres that :meth:`replay` did not give."""
        return [(0, n_centres)] if n_centres else []

    def put(self, block: Block) -> None:
        """Take a block that was decoded."""


class FileRecorder(Recorder):
    """Keeps the blocks in the folder of a shard."""

    def __init__(self, folder: Path, manifest: Manifest, lock: Lock) -> None:
        self._folder, self._manifest, self._lock = folder, manifest, lock
        self._covered: list[tuple[int, int]] = []
        self._waiting: list[Block] = []
        self._last_write = time.monotonic()
        self._about = {
            **where(),
            "processor": processor_name(),
            "versions": versions(),
            "fingerprint": manifest.fingerprint,
        }
        self._room_checked = False

    @property
    def n_saved(self) -> int:
        """Number of centres that are on disk."""
        first, stop = self._manifest.first, self._manifest.stop
        return stop - first - sum(b - a for a, b in gaps(self._covered, first, stop))

    def replay(self) -> Iterator[Block]:
        """Give the blocks of all files of this analysis; others are removed, and their centres are left to do.

        That is said in a warning where a file is damaged. Files of another analysis are only here when they may be
        replaced.
        """
        for file in find_files(self._folder):
            try:
                blocks, about = file.read()
            except DamagedError as error:
                warnings.warn(f"{error}; its spheres are decoded again.", RuntimeWarning, stacklevel=4)
                file.path.unlink(missing_ok=True)
                continue
            if about["fingerprint"] != self._manifest.fingerprint:
                file.path.unlink(missing_ok=True)
                continue
            self._covered.append((file.start, file.stop))
            for block in blocks:
                yield block._replace(start=block.start - self._manifest.first)

    def left(self, n_centres: int) -> list[tuple[int, int]]:
        """Ranges of centres that :meth:`replay` did not give."""
        first = self._manifest.first
        return [(a - first, b - first) for a, b in gaps(self._covered, first, first + n_centres)]

    def read_back(self, n_centres: int) -> Iterator[Block]:
        """Give all blocks, those of this process too.

        Raises
        ------
        OSError
            When not all of them are there as they were written.
        """
        self.flush()
        self._covered = []
        yield from self.replay()
        if self.left(n_centres):
            raise OSError(f"blocks in {self._folder} cannot be read back: give the same command again.")

    def put(self, block: Block) -> None:
        """Take a block that was decoded, and write it with others now and then."""
        block = block._replace(start=block.start + self._manifest.first)
        if not self._room_checked:
            self._check_room(block)
        if self._waiting and self._waiting[-1].stop != block.start:
            self.flush()
        self._waiting.append(block)
        waited = time.monotonic() - self._last_write
        if waited > SECONDS_A_FILE or sum(one.nbytes for one in self._waiting) > BYTES_A_FILE:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting.

        Raises
        ------
        OSError
            When it cannot be written; what was written before stays.
        """
        if not self._waiting:
            return
        if not self._lock.is_ours():
            raise BlockingIOError(
                f"another process took over {self._folder} while this one showed no sign of life; it goes on, and this "
                "one ends."
            )
        blocks = self._waiting
        try:
            write_blocks(self._folder, blocks, self._about)
        except OSError as error:
            self._waiting = []
            raise OSError(
                f"cannot write to {self._folder} ({error.strerror}): {self.n_saved} of "
                f"{self._manifest.stop - self._manifest.first} spheres are saved there. Make room, and give the same "
                "command again: it goes on from there."
            ) from error
        self._covered.append((blocks[0].start, blocks[-1].stop))
        self._waiting = []  # only now: a Ctrl-C while they are written flushes once more, to a file of the same name
        self._last_write = time.monotonic()

    def _check_room(self, block: Block) -> None:
        """Find out at the first block whether all of them will fit on the disk."""
        self._room_checked = True
        n_left = self._manifest.stop - self._manifest.first - self.n_saved
        needed = block.nbytes // len(block.sizes) * n_left
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise OSError(
                f"{self._folder} has no room for the results of {n_left} spheres: they take {needed / 1e6:.1f} MB, "
                f"{free / 1e6:.1f} MB are free. Choose another folder, or keep less."
            )


class Checkpoint:
    """A folder for the shards of one analysis.

    Parameters
    ----------
    folder : Path
    about : dict
        What to write to the manifests, for the record of the results.
    may_replace : bool
        Whether blocks of another analysis may be thrown away.

    Attributes
    ----------
    n_saved, n_wanted : int
        Centres on disk, and of the shard; of the last search that was recorded.
    """

    def __init__(self, folder: Path, about: dict[str, Any] | None = None, *, may_replace: bool = False) -> None:
        self.folder, self.about, self._may_replace = folder, about or {}, may_replace
        self.n_saved, self.n_wanted = 0, 0

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r})"

    def check(self) -> None:
        """Raise OSError, naming the folder, where nothing can be written."""
        check_writable(self.folder, "checkpoint")

    @contextmanager
    def recording(
        self, manifest: Manifest, layout: Layout, process_mask: NDArray[np.bool_], affine: NDArray[np.float64]
    ) -> Iterator[FileRecorder]:
        """Record a search in the folder of its shard; however the search ends, what it decoded is saved.

        Raises
        ------
        ValueError
            When the folder holds blocks of another analysis, or of the same one cut into another number of shards.
        BlockingIOError
            When another process computes the same shard.
        """
        manifest = replace(manifest, about=self.about)
        folder = self.folder / manifest.shard.folder
        if not self._may_replace:
            self._refuse_others(manifest)
        folder.mkdir(parents=True, exist_ok=True)
        with Lock(folder / "lock", f"shard {manifest.shard} in {self.folder}") as lock:
            manifest.write(folder, layout, process_mask, affine)
            recorder = FileRecorder(folder, manifest, lock)
            try:
                yield recorder
            finally:
                try:
                    recorder.flush()
                finally:
                    self.n_saved, self.n_wanted = recorder.n_saved, manifest.stop - manifest.first
                    if self.n_wanted and not self.n_saved:
                        shutil.rmtree(folder, ignore_errors=True)

    def _refuse_others(self, manifest: Manifest) -> None:
        for shard, folder in shard_folders(self.folder).items():
            try:
                other = read_manifest(folder)
            except DamagedError as error:
                warnings.warn(f"{error}.", RuntimeWarning, stacklevel=5)
                continue
            if other is None or other.fingerprint == manifest.fingerprint:
                continue
            differ = (
                differences(manifest.words, other.words)
                or f"it was cut into {shard.of} shards, not {manifest.shard.of}"
            )
            raise ValueError(
                f"{folder} holds blocks of another analysis, which cannot be joined with this one; what differs: "
                f"{differ}. Give the settings of before, choose another folder, or remove {self.folder} "
                "(--overwrite on the command line) to start anew."
            )

    def remove(self) -> None:
        """Remove all shards; what else is in the folder is not ours."""
        for folder in shard_folders(self.folder).values():
            shutil.rmtree(folder, ignore_errors=True)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Remove the folder where nothing is in it."""
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
