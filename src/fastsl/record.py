"""What a run was: versions, checksums and times, and files that are there whole or not at all."""

import errno
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastsl._version import __version__

#: What systems say of a file that does not fit: on the disk, in the quota, below the largest size of a file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PACKAGES = ("numba", "numpy", "scipy", "scikit-learn", "nibabel", "threadpoolctl", "joblib")


def versions() -> dict[str, str]:
    """Versions of fastsl, Python and what it computes with."""
    return {
        "fastsl": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def checksum(path: str | Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def checksums(paths: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of every file, by absolute path."""
    return {str(Path(path).absolute()): checksum(path) for path in paths}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file all at once: whatever ends the process or the machine, it is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def npz_bytes(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> bytes:
    """Arrays as the content of a .npz file that is read without pickles.

    Raises
    ------
    TypeError
        For an array of Python objects.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(
                f"{name} holds Python objects ({array.ravel()[0]!r}, ...): only text and numbers are stored."
            )
    buffer = io.BytesIO()
    save: Any = np.savez_compressed if compressed else np.savez
    save(buffer, **arrays)
    return buffer.getvalue()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file all at once."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def check_writable(folder: Path, what: str) -> None:
    """Make ``folder``, and find out before the work whether its results can be written; ``what`` names the option."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        raise OSError(f"{what}: cannot write to {folder} ({error.strerror}).") from error


def reserve_room(file: int, n_bytes: int, folder: str | Path, what: str) -> None:
    """Have the disk set ``n_bytes`` aside for a file that is going to be memory-mapped; ``what`` says what to change.

    Such a file is sparse: a disk that is full when a page of it is written ends the process with a bus error, which
    nobody can catch. Where the system cannot set room aside, nothing is done.

    Raises
    ------
    OSError
        When there is no room, naming the folder and the bytes.
    """
    if not (hasattr(os, "posix_fallocate") and n_bytes):
        return
    try:
        os.posix_fallocate(file, 0, n_bytes)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OSError(f"{folder} has no room for {n_bytes:,} bytes ({error.strerror}): {what}.") from error


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...], what: str) -> NDArray[Any]:
    """Memory-map a new .npy file that has its room on the disk; see :func:`reserve_room`."""
    array = np.lib.format.open_memmap(os.fspath(path), mode="w+", dtype=np.dtype(dtype), shape=shape)
    try:
        with path.open("r+b") as file:
            reserve_room(file.fileno(), path.stat().st_size, path.parent, what)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return array


def where() -> dict[str, str]:
    """Machine and job of this process."""
    names = {"job": "SLURM_JOB_ID", "array_job": "SLURM_ARRAY_JOB_ID", "array_task": "SLURM_ARRAY_TASK_ID"}
    job = {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}
    return {"host": platform.node(), **job}


def now() -> str:
    """Date and time, with the time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
