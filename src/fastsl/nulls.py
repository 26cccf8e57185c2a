"""Scores under permuted labels, for the spheres of a block of the compiled path."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastsl import metrics
from fastsl._kernels import scores
from fastsl._kernels.block import Block
from fastsl.decoders.labellings import NullPlan
from fastsl.decoders.plan import Plan
from fastsl.metrics import Metric, score

#: Metrics that kernels compute themselves.
CODES: dict[Metric, int] = {
    metrics.accuracy: scores.ACCURACY,
    metrics.balanced_accuracy: scores.BALANCED_ACCURACY,
    metrics.roc_auc: scores.ROC_AUC,
    metrics.r2: scores.R2,
    metrics.neg_mean_squared_error: scores.NEG_MEAN_SQUARED_ERROR,
    metrics.neg_mean_absolute_error: scores.NEG_MEAN_ABSOLUTE_ERROR,
}


class Null(Protocol):
    """Scores of a block of spheres under permuted labels."""

    def __call__(self, block: Block) -> NDArray[np.float64]:
        """Means over folds, shape (n_scores, n_permutations, n_centres); NaN where a sphere failed."""
        ...


class SharedNull:
    """All permutations of a sphere after one factorisation."""

    seconds_a_block = 0.25

    def __init__(self, plan: NullPlan, n_scores: int, n_permutations: int) -> None:
        self._plan, self._shape = plan, (n_scores, n_permutations)

    def __call__(self, block: Block) -> NDArray[np.float64]:
        """As :class:`Null`."""
        n_centres = len(block.indptr) - 1
        null, status = np.empty((n_centres, *self._shape)), np.empty(n_centres, np.int8)
        self._plan.run(block._replace(s2=self._plan.intercept, features_below=0), null, status)
        return np.moveaxis(null, 0, 2)


class LoopedNull:
    """One permutation after another, each as the observed labels are decoded."""

    #: Long enough that what a block costs once a permutation does not show.
    seconds_a_block = 10.0

    def __init__(self, plan_of: Callable[[int], Plan], n_permutations: int, of_metrics: Mapping[str, Metric]) -> None:
        self._plan_of, self._n_permutations, self._metrics = plan_of, n_permutations, of_metrics

    def __call__(self, block: Block) -> NDArray[np.float64]:
        """As :class:`Null`."""
        n_centres = len(block.indptr) - 1
        null = np.empty((len(self._metrics), self._n_permutations, n_centres))
        status = np.empty(n_centres, np.int8)
        for permutation in range(self._n_permutations):
            plan = self._plan_of(permutation)
            out = np.empty((n_centres, plan.n_out))
            plan.run(block._replace(s2=plan.intercept), out, status)
            null[:, permutation] = list(self._scores(plan, out))
        return null

    def _scores(self, plan: Plan, out: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        held_out = list(plan.held_out(out))
        for metric in self._metrics.values():
            folds = [np.full(len(out), np.nan) if one is None else score(metric, one) for one in held_out]
            yield np.mean(folds, axis=0)
