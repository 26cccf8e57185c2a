"""Scores under permuted labels, for the spheres of a block of the compiled path."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from fastsl import metrics
from fastsl._kernels import scores
from fastsl._kernels.block import Block
from fastsl._runtime.signals import stop_if_asked
from fastsl.decoders import REGISTRY
from fastsl.decoders.labellings import NullPlan, pack_labellings
from fastsl.decoders.plan import Plan, PlanFunction
from fastsl.folds import Folds
from fastsl.metrics import Metric, score
from fastsl.outcome import SECONDS_A_BLOCK, mean_over_folds

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
    """Scores of a block of spheres under permuted labels.

    Attributes
    ----------
    seconds_a_block : float
        How long a block may take.
    one_by_one : str
        Why permutations are decoded one after the other; empty where they are not.
    """

    seconds_a_block: float
    one_by_one: str

    def __call__(self, block: Block) -> NDArray[np.float64]:
        """Means over folds, shape (n_scores, n_permutations, n_centres); NaN where a sphere failed."""
        ...


class SharedNull:
    """All permutations of a sphere after one factorisation."""

    seconds_a_block = SECONDS_A_BLOCK
    one_by_one = ""

    def __init__(self, plan: NullPlan, n_scores: int, n_permutations: int) -> None:
        self._plan, self._shape = plan, (n_scores, n_permutations)

    def __call__(self, block: Block) -> NDArray[np.float64]:
        """As :class:`Null`."""
        n_centres = len(block.indptr) - 1
        null, status = np.empty((n_centres, *self._shape)), np.empty(n_centres, np.int8)
        self._plan.run(block._replace(s2=self._plan.intercept), null, status)
        return np.moveaxis(null, 0, 2)


class LoopedNull:
    """One permutation after another, each decoded as the observed labels are."""

    #: Blocks are large, so that what is tabulated once a block and permutation serves many spheres. Ctrl-C is heard
    #: between permutations.
    seconds_a_block = 30.0

    def __init__(
        self,
        plan_of: Callable[[int], Plan],
        n_permutations: int,
        of_metrics: Mapping[str, Metric],
        one_by_one: str,
    ) -> None:
        self._plan_of, self._n_permutations, self._metrics = plan_of, n_permutations, of_metrics
        self.one_by_one = one_by_one

    def __call__(self, block: Block) -> NDArray[np.float64]:
        """As :class:`Null`."""
        n_centres = len(block.indptr) - 1
        null = np.empty((len(self._metrics), self._n_permutations, n_centres))
        status = np.empty(n_centres, np.int8)
        plan: Plan | None = None
        for permutation in range(self._n_permutations):
            stop_if_asked()  # a block may take longer than a job has from its signal to its end
            try:
                # Both live until the one has handed its tables on to the other.
                alive = plan, self._plan_of(permutation)
            except ValueError:  # permuted labels leave a fold that cannot be trained: it counts as reaching every score
                null[:, permutation] = np.nan
                continue
            plan = alive[1].for_metrics(self._metrics.values())
            out = np.empty((n_centres, plan.n_out))
            plan.run(block, out, status)
            null[:, permutation] = list(self._scores(plan, out))
        return null

    def _scores(self, plan: Plan, out: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        held_out, any_failed = list(plan.held_out(out)), bool(np.isnan(out).any())
        for metric in self._metrics.values():
            folds = np.full((len(held_out), len(out)), np.nan)
            for fold, one in enumerate(held_out):
                if one is not None:
                    folds[fold] = _score_if_defined(metric, one, any_failed)
            yield mean_over_folds(folds)


def _score_if_defined(metric: Metric, held_out: Any, any_failed: bool) -> NDArray[np.float64] | float:
    """NaN where permuted labels leave a fold that cannot be scored: it counts as reaching every observed score."""
    try:
        return score(metric, held_out, any_failed=any_failed)
    except ValueError:
        return np.nan


def plan_null(
    estimator: Any, plan: PlanFunction, permuted: NDArray[Any], folds: Folds, of_metrics: Mapping[str, Metric]
) -> Null:
    """Share a sphere's factorisation between permutations where decoder, scores and folds allow it."""
    decoder = REGISTRY.get(type(estimator))
    others = [name for name, metric in of_metrics.items() if metric not in CODES]
    if decoder is None or decoder.null_plan is None:
        why = "there is no form of it that permutations share"
    elif others:
        which = f"the score {others[0]!r}" if len(of_metrics) > 1 else "its score"
        why = f"{which} is not computed inside kernels"
    else:
        codes = [CODES[metric] for metric in of_metrics.values()]
        labellings, why = pack_labellings(permuted, folds, codes, classifier=is_classifier(estimator))
        shared = None if labellings is None else decoder.null_plan(estimator, labellings)
        if shared is not None:
            return SharedNull(shared, len(of_metrics), len(permuted))
        if labellings is not None:
            why = "with these parameters and scores its factorisation depends on the labels"
    plan_of = functools.partial(_plan_one, plan, estimator, permuted, folds)
    return LoopedNull(plan_of, len(permuted), of_metrics, why)


def _plan_one(plan: PlanFunction, estimator: Any, permuted: NDArray[Any], folds: Folds, permutation: int) -> Plan:
    return plan(estimator, permuted[permutation], folds)
