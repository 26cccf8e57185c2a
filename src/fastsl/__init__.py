"""fastsl: whole-brain searchlight decoding of fMRI images, compiled.

Names are imported at first use, so that ``import fastsl`` and ``fastsl --help`` cost nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastsl._version import __version__

if TYPE_CHECKING:
    from fastsl.correlation import CorrelationClassifier as CorrelationClassifier
    from fastsl.explanation import explain as explain
    from fastsl.merging import merge as merge
    from fastsl.neighbours import Neighbours as Neighbours
    from fastsl.neighbours import sphere_neighbours as sphere_neighbours
    from fastsl.permutation.clusters import tfce as tfce
    from fastsl.permutation.clusters import voxel_adjacency as voxel_adjacency
    from fastsl.permutation.familywise import cluster_inference as cluster_inference
    from fastsl.permutation.schemes import permuted_targets as permuted_targets
    from fastsl.phantom import make_phantom as make_phantom
    from fastsl.search import search_light as search_light
    from fastsl.searchlight import SearchLight as SearchLight

_HOME = {
    "CorrelationClassifier": "fastsl.correlation",
    "Neighbours": "fastsl.neighbours",
    "SearchLight": "fastsl.searchlight",
    "cluster_inference": "fastsl.permutation.familywise",
    "explain": "fastsl.explanation",
    "make_phantom": "fastsl.phantom",
    "merge": "fastsl.merging",
    "permuted_targets": "fastsl.permutation.schemes",
    "search_light": "fastsl.search",
    "sphere_neighbours": "fastsl.neighbours",
    "tfce": "fastsl.permutation.clusters",
    "voxel_adjacency": "fastsl.permutation.clusters",
}

__all__ = [
    "CorrelationClassifier",
    "Neighbours",
    "SearchLight",
    "__version__",
    "cluster_inference",
    "explain",
    "make_phantom",
    "merge",
    "permuted_targets",
    "search_light",
    "sphere_neighbours",
    "tfce",
    "voxel_adjacency",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastsl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
