"""What the folder of a shard says of itself: which analysis, which centres, and what its blocks are put together by.

DIR/shard-2-of-8/manifest.json      fingerprint and ingredients of the analysis, range of centres, settings
                 layout.npz         names and shapes of the results, the process mask, its affine
                 centres-*.npz      decoded blocks
                 lock               while a process computes it
"""

import io
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl.checkpoints.blocks import DamagedError, checksum, find_files, gaps
from fastsl.checkpoints.fingerprint import fingerprint
from fastsl.checkpoints.shards import Shard
from fastsl.layout import Layout
from fastsl.record import npz_bytes, write_json, write_whole

#: Of the folder; another number is another version's, whose files this one cannot read.
FORMAT = 2
MANIFEST, LAYOUT = "manifest.json", "layout.npz"


@dataclass(frozen=True)
class Manifest:
    """Which part of which analysis a folder holds.

    Attributes
    ----------
    words : dict
        Ingredients of the analysis, see :mod:`fastsl.checkpoints.fingerprint`.
    shard : Shard
    first, stop : int
        Range of its centres.
    n_centres : int
        Of the whole analysis.
    keep : dict
        Whether "predictions" and "confusion" are kept.
    test : dict
        What is made of permutations, see :class:`fastsl.significance.Significance`.
    about : dict
        What a command line adds, for the record of the results.
    layout : str
        Checksum of the file of the layout.
    """

    words: dict[str, str]
    shard: Shard
    first: int
    stop: int
    n_centres: int
    keep: dict[str, bool]
    test: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    layout: str = ""

    @property
    def fingerprint(self) -> str:
        """One word for the analysis, and for the number of shards that it is cut into."""
        return fingerprint({**self.words, "shards": str(self.shard.of)})

    def write(self, folder: Path, layout: Layout, process_mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> None:
        """Write the manifest and the layout."""
        arrays = {**layout.to_arrays(), "process_mask": process_mask, "process_affine": affine}
        stored = npz_bytes(arrays, compressed=True)
        whole = replace(self, layout=checksum(stored))
        content = {"format": FORMAT, **asdict(whole)}
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / LAYOUT, stored)
        write_json(folder / MANIFEST, {**content, "checksum": _checksum(content)})


def read_manifest(folder: Path) -> Manifest | None:
    """Return what a folder says of itself; None where it says nothing.

    Raises
    ------
    DamagedError
        When it is not what was written, or was written by another version.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read ({error})") from error
    if not isinstance(content, dict) or content.pop("checksum", None) != _checksum(content):
        raise DamagedError(f"{path} is damaged: its checksum is not that of its content")
    if content.pop("format") != FORMAT:
        raise DamagedError(f"{path} was written by another version of fastsl")
    return Manifest(**{**content, "shard": Shard(**content["shard"])})


def read_layout(folder: Path, manifest: Manifest) -> tuple[Layout, NDArray[np.bool_], NDArray[np.float64]]:
    """Return layout, process mask and affine.

    Raises
    ------
    DamagedError
        When they are not what was written.
    """
    with np.load(io.BytesIO(layout_bytes(folder, manifest)), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return Layout.from_arrays(arrays), arrays["process_mask"], arrays["process_affine"]


def layout_bytes(folder: Path, manifest: Manifest) -> bytes:
    """Return the file of the layout, after a look at its checksum; raises as :func:`read_layout`."""
    path = folder / LAYOUT
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror})") from error
    if checksum(content) != manifest.layout:
        raise DamagedError(f"{path} is damaged: its checksum is not that of the manifest")
    return content


def left_to_do(folder: Path, manifest: Manifest) -> list[tuple[int, int]]:
    """Ranges of centres that no file of the folder is named after; what is in the files is not looked at."""
    return gaps([(file.start, file.stop) for file in find_files(folder)], manifest.first, manifest.stop)


def shard_folders(folder: Path) -> dict[Shard, Path]:
    """Folders of shards, by shard, in order."""
    found = {}
    for path in folder.glob("shard-*-of-*"):
        shard = Shard.of_folder(path.name)
        if shard is not None and path.is_dir():
            found[shard] = path
    return dict(sorted(found.items(), key=lambda item: (item[0].of, item[0].number)))


def _checksum(content: dict[str, Any]) -> str:
    return checksum(json.dumps(content, sort_keys=True).encode())
