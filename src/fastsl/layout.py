"""What must be known of an analysis to put its blocks together, without images, estimator or folds' drawing.

It is stored beside the blocks, so that a merge needs nothing else.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl.folds import Folds
from fastsl.outcome import Engine


@dataclass(frozen=True, eq=False)
class Layout:
    """Names and shapes of results.

    Attributes
    ----------
    names : tuple of str
        Of the scores.
    several : bool
        Whether results are dicts by these names.
    folds : Folds
    y : ndarray, shape (n_samples,)
    classes : ndarray or None
        None for a regressor.
    n_columns : int
        Of a decision, see :func:`fastsl.kept.n_decisions`.
    min_voxels : int
    engine : Engine
    n_permutations : int
    """

    names: tuple[str, ...]
    several: bool
    folds: Folds
    y: NDArray[Any]
    classes: NDArray[Any] | None
    n_columns: int
    min_voxels: int
    engine: Engine
    n_permutations: int = 0

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays that need no pickle, for a .npz file."""
        rest = {
            "names": self.names,
            "several": self.several,
            "n_columns": self.n_columns,
            "min_voxels": self.min_voxels,
            "engine": asdict(self.engine),
            "n_permutations": self.n_permutations,
        }
        train, test = self.folds.train, self.folds.test
        arrays: dict[str, NDArray[Any]] = {
            "y": _plain(self.y),
            "train": np.concatenate(train),
            "train_sizes": np.array([len(one) for one in train]),
            "test": np.concatenate(test),
            "test_sizes": np.array([len(one) for one in test]),
            "rest": np.array(json.dumps(rest)),
        }
        if self.classes is not None:
            arrays["classes"] = _plain(self.classes)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Layout":
        """Undo :meth:`to_arrays`."""
        rest = json.loads(str(arrays["rest"]))
        train, test = (
            tuple(np.split(arrays[name], np.cumsum(arrays[f"{name}_sizes"])[:-1])) for name in ("train", "test")
        )
        return cls(
            tuple(rest["names"]),
            bool(rest["several"]),
            Folds(len(arrays["y"]), train, test),
            arrays["y"],
            arrays.get("classes"),
            int(rest["n_columns"]),
            int(rest["min_voxels"]),
            Engine(**rest["engine"]),
            int(rest["n_permutations"]),
        )


def _plain(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels of Python objects (as pandas has them) as what they are: text or numbers."""
    return np.array(labels.tolist()) if labels.dtype == object else labels
