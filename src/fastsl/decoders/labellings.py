"""Many labellings of the same samples, packed for kernels that decode them all after one factorisation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import Block
from fastsl._kernels.labellings import Labellings
from fastsl._runtime.signals import stop_if_asked
from fastsl.folds import Folds


@dataclass(frozen=True, eq=False)
class NullPlan:
    """A decoder made ready for many labellings.

    Attributes
    ----------
    run : callable
        ``run(block, null, status)`` launches the kernel: ``null`` (n_centres, n_scores, n_labellings) float64 gets the
        means over folds of the scores, NaN where the ``status`` (n_centres,) int8 is not 0.
    intercept : float
        As in :class:`fastsl.decoders.plan.Plan`.
    """

    run: Callable[[Block, NDArray[np.float64], NDArray[np.int8]], None]
    intercept: float


def in_launches(
    kernel: Callable[[Block, Labellings, NDArray[np.float64], NDArray[np.int8]], None],
    labellings: Labellings,
    most: int,
) -> Callable[[Block, NDArray[np.float64], NDArray[np.int8]], None]:
    """``run`` of a :class:`NullPlan` that hands a kernel ``most`` labellings at a time: Ctrl-C waits for a launch."""

    def run(block: Block, null: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        for start in range(0, len(labellings.true), most):
            stop_if_asked()
            chosen = slice(start, start + most)
            part = labellings._replace(targets=labellings.targets[chosen], true=labellings.true[chosen])
            scores = np.empty((*null.shape[:2], len(part.true)))
            kernel(block, part, scores, status)
            null[:, :, chosen] = scores

    return run


#: ``null_plan(estimator, labellings)``; None where the estimator's parameters, or
#: the scores, make what labellings could share depend on labels.
NullPlanFunction = Callable[[Any, Labellings], NullPlan | None]


def pack_labellings(
    targets: NDArray[Any], folds: Folds, codes: list[int], *, classifier: bool
) -> tuple[Labellings | None, str]:
    """Labellings (n_labellings, n_samples) as kernels take them; None, and why not, where folds do not allow it."""
    for train, test in folds:
        if np.isin(test, train).any():
            return None, "a fold tests on samples that it trains on"
    if not classifier:
        true: NDArray[Any] = targets.astype(np.float64)
        stacked = true[:, None]
    else:
        classes, places = np.unique(targets, return_inverse=True)
        true = places.reshape(targets.shape)
        for train in folds.train:
            if not all((true[:, train] == k).any(axis=1).all() for k in range(len(classes))):
                return None, "a fold of some permutation is not trained on every class"
        columns = [1] if len(classes) == 2 else range(len(classes))
        stacked = np.stack([np.where(true == k, 1.0, -1.0) for k in columns], axis=1)
    return (
        Labellings(
            np.ascontiguousarray(stacked),
            np.ascontiguousarray(true, dtype=np.float64),
            folds.train_masks(),
            np.concatenate(folds.test),
            np.cumsum([0, *map(len, folds.test)]),
            np.array(codes, np.int64),
        ),
        "all permutations share a sphere's factorisation",
    )
