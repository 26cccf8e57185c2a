"""Held-out predictions and confusion matrices of every sphere, where they were asked for."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.pipeline import Pipeline

from fastsl._runtime.memory import available_bytes
from fastsl.folds import TestRows
from fastsl.predictions import HeldOut
from fastsl.record import create_array


@dataclass(frozen=True)
class Keep:
    """What to keep of every sphere besides its scores.

    ``folder`` takes the arrays as .npy files, written block by block; None keeps them in memory, or in a temporary
    folder where they would take more than half of it. ``null_maps`` keeps the maps under permuted labels, for clusters;
    ``null_folder`` takes them as a file that stays.
    """

    predictions: bool = False
    confusion: bool = False
    folder: Path | None = None
    null_maps: bool = False
    null_folder: Path | None = None

    def __bool__(self) -> bool:
        return self.predictions or self.confusion

    @property
    def settings(self) -> dict[str, bool]:
        """What is kept, wherever."""
        return {"predictions": self.predictions, "confusion": self.confusion}


def evidence(held_out: HeldOut) -> NDArray[np.float64]:
    """Decision values, or probabilities of a decoder that has none; (n_centres, n_test, n_columns).

    One column for two classes (larger speaks for the second), else one a class. No column: the decoder has neither.
    """
    if held_out.decision is not None:
        values = held_out.decision
    elif held_out.probability is not None:
        values = held_out.probability[:, :, 1] if held_out.probability.shape[2] == 2 else held_out.probability
    else:
        return np.empty((*held_out.predicted.shape, 0))
    return values[:, :, None] if values.ndim == 2 else values


def n_decisions(estimator: Any, classes: NDArray[Any] | None) -> int:
    """Columns of a decision: one for two classes, else one a class, or one a pair where "ovo" asks for pairs."""
    if classes is None or len(classes) == 2:
        return 1
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if getattr(last, "decision_function_shape", None) == "ovo":
        return len(classes) * (len(classes) - 1) // 2
    return len(classes)


class PredictionRows:
    """Sorts the held-out predictions of a block into rows, one for each test sample of each fold.

    Attributes
    ----------
    predicted : ndarray, shape (n_rows, n_centres)
        float32 values of a regressor, NaN for none; int16 positions in ``classes``, -1 for none.
    decision : ndarray of float32, shape (n_rows, n_centres, n_columns)
        NaN for none, as in the columns of classes that a fold was not trained on.
    """

    def __init__(self, rows: TestRows, classes: NDArray[Any] | None, n_columns: int, n_centres: int) -> None:
        self._rows, self._classes = rows, classes
        shape = (len(rows), n_centres)
        self.predicted: NDArray[Any] = (
            np.full(shape, np.nan, np.float32) if classes is None else np.full(shape, -1, np.int16)
        )
        self.decision = np.full((*shape, 0 if classes is None else n_columns), np.nan, np.float32)

    def put(self, fold: int, centres: slice, held_out: HeldOut) -> None:
        """Take the predictions of one fold for the spheres ``centres``."""
        rows = self._rows.of_fold[fold]
        if self._classes is None or held_out.classes is None:
            self.predicted[rows, centres] = held_out.values[:, :, 0].T
            return
        known = np.searchsorted(self._classes, held_out.classes)
        self.predicted[rows, centres] = np.where(held_out.failed[:, None], -1, known[held_out.predicted]).T
        columns, n_columns = evidence(held_out), self.decision.shape[2]
        if len(known) == len(self._classes) and columns.shape[2] == n_columns:
            self.decision[rows, centres] = columns.transpose(1, 0, 2)
        elif len(known) < len(self._classes) == n_columns and columns.shape[2] > 0:
            if columns.shape[2] == 1:
                columns = np.concatenate([-columns, columns], axis=2)
            for column, k in enumerate(known):
                self.decision[rows, centres, k] = columns[:, :, column].T


def confusion_counts(predicted: NDArray[np.int16], true: NDArray[np.int64], n_classes: int) -> NDArray[np.int32]:
    """Count (true, predicted) pairs of every centre over all rows, (n_centres, n_classes, n_classes).

    Rows without a prediction are not counted.
    """
    n_centres = predicted.shape[1]
    cell = (np.arange(n_centres) * n_classes + true[:, None]) * n_classes + predicted
    counts = np.bincount(cell[predicted >= 0], minlength=n_centres * n_classes**2)
    return counts.reshape(n_centres, n_classes, n_classes).astype(np.int32)


class Kept:
    """Arrays over all centres, filled block by block.

    Attributes
    ----------
    predicted : ndarray, shape (n_rows, n_centres)
        int16 positions of the predicted classes in ``classes``, -1 for none; float32 values of a regressor.
    decision : ndarray of float32 or None, shape (n_rows, n_centres) or (n_rows, n_centres, n_columns)
        Evidence, see :func:`evidence`; NaN for none.
    confusion : ndarray of int32 or None, shape (n_centres, n_classes, n_classes)
        Counts of (true, predicted) classes over all test samples.
    """

    def __init__(
        self,
        keep: Keep,
        rows: TestRows,
        y: NDArray[Any],
        classes: NDArray[Any] | None,
        n_columns: int,
        n_centres: int,
    ) -> None:
        self._classes = classes
        self._true = np.zeros(0, np.int64) if classes is None else np.searchsorted(classes, y[rows.samples])
        shape = (len(rows), n_centres)
        wanted: dict[str, tuple[tuple[int, ...], DTypeLike]] = {}
        if keep.predictions:
            wanted["predictions"] = shape, np.float32 if classes is None else np.int16
        if keep.predictions and classes is not None:
            wanted["decisions"] = (*shape, n_columns) if n_columns > 1 else shape, np.float32
        if keep.confusion and classes is not None:
            wanted["confusion"] = (n_centres, len(classes), len(classes)), np.int32
        arrays = _allocate(wanted, keep.folder)
        self.predicted = arrays.get("predictions")
        self.decision = arrays.get("decisions")
        self.confusion = arrays.get("confusion")

    def put(self, start: int, predicted: NDArray[Any], decision: NDArray[np.float32]) -> None:
        """Take the predictions of the centres from ``start`` on."""
        stop = start + predicted.shape[1]
        if self.predicted is not None:
            self.predicted[:, start:stop] = predicted
        if self.decision is not None:
            self.decision[:, start:stop] = decision if self.decision.ndim == 3 else decision[:, :, 0]
        if self.confusion is not None:
            assert self._classes is not None
            self.confusion[start:stop] = confusion_counts(predicted, self._true, len(self._classes))

    def leave_out(self, start: int, stop: int) -> None:
        """Say that the centres ``start`` to ``stop - 1`` have no predictions."""
        if self.predicted is not None:
            self.predicted[:, start:stop] = np.nan if self._classes is None else -1
        if self.decision is not None:
            self.decision[:, start:stop] = np.nan


def _allocate(wanted: dict[str, tuple[tuple[int, ...], DTypeLike]], folder: Path | None) -> dict[str, NDArray[Any]]:
    """Arrays by name: in memory, or as memory-mapped .npy files in a folder."""
    n_bytes = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in wanted.values())
    if folder is None and n_bytes > available_bytes() // 2:
        folder = Path(tempfile.mkdtemp(prefix="fastsl-"))
        warnings.warn(
            f"predictions take {n_bytes / 1e9:.1f} GB, more than half of the free memory; they are written to "
            f"{folder}. Give keep_predictions a folder of your own to choose the place.",
            RuntimeWarning,
            stacklevel=7,
        )
    if folder is None:
        return {name: np.zeros(shape, dtype) for name, (shape, dtype) in wanted.items()}
    folder.mkdir(parents=True, exist_ok=True)
    advice = "they are predictions; make room, or give keep_predictions (--out) another folder"
    return {name: create_array(folder / f"{name}.npy", dtype, shape, advice) for name, (shape, dtype) in wanted.items()}
