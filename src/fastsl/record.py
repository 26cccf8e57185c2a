"""What a run was: settings, versions, checksums and times, for ``result.json``."""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastsl._version import __version__

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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file all at once: it is there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
