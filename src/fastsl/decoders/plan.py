"""A decoder made ready for one y and one set of folds."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import Block
from fastsl.folds import Folds
from fastsl.metrics import CLASSES_ALONE, Metric
from fastsl.predictions import HeldOut

#: ``kind(y_true, values, classes)``: what the numbers of a decoder mean.
Kind = Callable[[NDArray[Any], NDArray[np.float64], NDArray[Any] | None], HeldOut]


class Output(NamedTuple):
    """Where in a sphere's row of results a fold's are: ``n_columns`` times the test samples, column by column."""

    start: int
    n_columns: int
    classes: NDArray[Any] | None  # of the training samples; None for a regressor


@dataclass(frozen=True, eq=False)
class Plan:
    """A decoder made ready for one y and one set of folds.

    Attributes
    ----------
    name : str
        Of the estimator, for messages.
    run : callable
        ``run(block, out, status)`` launches the kernel: ``out`` (n_centres, n_out) float64 gets every sphere's held-out
        values, NaN where its ``status`` (n_centres,) int8 is not 0.
    outputs : tuple
        One a fold; None for a fold that cannot be trained.
    kind : callable
        What the values are: a class of :mod:`fastsl.predictions`.
    intercept : float
        The ``s2`` of a block: squared intercept scale, 0 for none, infinite for one that is not penalised.
    features_below : float
        Spheres with fewer voxels than this part of the training samples of the smallest fold are decoded from their
        voxels, the others from their Gram matrix (:class:`fastsl._kernels.waist.Sphere`): where both take as long.
        0 where there is one way only. docs/performance.md has the measurement.
    all_gram_from : float
        Where a sphere that nothing cuts has this many voxels, or nobody knows how many, all are decoded from their Gram
        matrix.
    classes_alone : callable or None
        Gives the same for scores that ask for predicted classes and nothing else, where that takes less.
    """

    name: str
    run: Callable[[Block, NDArray[np.float64], NDArray[np.int8]], None]
    outputs: tuple[Output | None, ...]
    y: NDArray[Any]
    folds: Folds
    kind: Kind = HeldOut
    intercept: float = math.inf
    features_below: float = 0.0
    all_gram_from: float = math.inf
    classes_alone: "Callable[[], Plan] | None" = None

    def for_metrics(self, metrics: Iterable[Metric], *, keep: bool = False) -> "Plan":
        """What is enough for these scores, and for predictions with their evidence where that is to ``keep``."""
        if self.classes_alone is None or keep or not CLASSES_ALONE.issuperset(metrics):
            return self
        return self.classes_alone()

    @property
    def n_out(self) -> int:
        """Length of the row of results of one sphere."""
        return row_length(self.outputs, self.folds)

    def held_out(self, out: NDArray[np.float64]) -> Iterator[HeldOut | None]:
        """Sort results (n_centres, n_out) into one :class:`HeldOut` a fold; None for a fold that was not fitted."""
        for output, test in zip(self.outputs, self.folds.test, strict=True):
            if output is None:
                yield None
                continue
            stop = output.start + output.n_columns * len(test)
            columns = out[:, output.start : stop].reshape(len(out), output.n_columns, len(test))
            yield self.kind(self.y[test], columns.transpose(0, 2, 1), output.classes)


#: ``plan(estimator, y, folds)``.
PlanFunction = Callable[[Any, NDArray[Any], Folds], Plan]


def lay_out(
    folds: Folds, n_columns: list[int], fold_classes: tuple[NDArray[Any] | None, ...]
) -> tuple[Output | None, ...]:
    """Outputs of folds that follow each other; None where a fold has no columns."""
    outputs: list[Output | None] = []
    start = 0
    for n, test, classes in zip(n_columns, folds.test, fold_classes, strict=True):
        outputs.append(Output(start, n, classes) if n else None)
        start += n * len(test)
    return tuple(outputs)


def row_length(outputs: tuple[Output | None, ...], folds: Folds) -> int:
    """Length of the row of results of one sphere."""
    return sum(
        output.n_columns * len(test) for output, test in zip(outputs, folds.test, strict=True) if output is not None
    )
