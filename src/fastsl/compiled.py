"""The compiled path: the kernel of a plan on blocks of spheres, and its scores."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import Block
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders.plan import Plan
from fastsl.kept import PredictionRows
from fastsl.matrix import means_subtracted
from fastsl.metrics import Metric, score
from fastsl.neighbours import Neighbours
from fastsl.outcome import FIRST_BLOCK, SECONDS_A_BLOCK, Decoded, Troubles
from fastsl.permutation.nulls import Null
from fastsl.shared import group_spheres

_NOT_A_NUMBER = 3
_STATUS = {
    1: "its system of equations was singular",
    2: "the solver did not come to a standstill",
    _NOT_A_NUMBER: "its solution is not a number",
}


class CompiledEngine:
    """Decode blocks of spheres with the kernel of a plan."""

    def __init__(
        self,
        X: NDArray[np.float32],
        plan: Plan,
        metrics: Mapping[str, Metric],
        min_voxels: int,
        rows: Callable[[int], PredictionRows] | None = None,
        null: Null | None = None,
    ) -> None:
        plan = plan.for_metrics(metrics.values(), keep=rows is not None)
        self._X, self._plan, self._metrics, self._null = X, plan, metrics, null
        self._min_voxels = max(1, min_voxels)
        self._make_rows = rows
        self._untrained = {
            fold: "its training samples have one class only"
            for fold, output in enumerate(plan.outputs)
            if output is None
        }
        self._unscored = {name: self._find_unscored(name, metric) for name, metric in metrics.items()}
        # Systems have the order of the voxels on the features path, of the training samples on the Gram path.
        smallest = min(len(train) for train in plan.folds.train)
        self._features_below = max(2, int(plan.features_below * smallest)) if plan.features_below else 0

    def _find_unscored(self, name: str, metric: Metric) -> dict[int, str]:
        """Folds that cannot be scored, by made-up predictions: a score that cannot work is an error before any work."""
        plan = self._plan
        reasons = dict(self._untrained)
        made_up = np.random.default_rng(0).standard_normal((1, plan.n_out))
        for fold, held_out in enumerate(plan.held_out(made_up)):
            if held_out is None:
                continue
            try:
                if np.isnan(score(metric, held_out)).all():
                    reasons[fold] = "the score is not defined for its test samples"
            except (ValueError, TypeError, AttributeError) as error:
                reasons[fold] = (
                    str(error).replace("_ReplayClassifier", plan.name).replace("_ReplayRegressor", plan.name)
                )
        if len(reasons) == len(plan.folds):
            of = f" by {name}" if len(self._metrics) > 1 else ""
            raise ValueError(f"no fold can be scored{of}. First fold: {reasons[0]}")
        return reasons

    @property
    def one_by_one(self) -> str:
        """Why permutations are decoded one after the other; empty where they are not."""
        return "" if self._null is None else self._null.one_by_one

    @property
    def seconds_a_block(self) -> float:
        """How long a block may take."""
        return SECONDS_A_BLOCK if self._null is None else self._null.seconds_a_block

    @property
    def first_block(self) -> int:
        """Spheres of a first block that does not take long."""
        return FIRST_BLOCK

    @contextmanager
    def running(self, n_jobs: int) -> Iterator[None]:
        """Hold the kernel threads, and shift X by its voxels' means, for the length of a search."""
        with kernel_threads(n_jobs), means_subtracted(self._X) as self._means:
            yield

    def __call__(self, neighbours: Neighbours) -> Decoded:
        """Decode the spheres of a block."""
        decoded = self.observed(neighbours)
        if self._null is None:
            return decoded
        null = self._null(self._block(neighbours))
        return replace(decoded, null=null.astype(np.float32))

    def _block(self, neighbours: Neighbours) -> Block:
        return Block(
            self._X,
            self._means,
            neighbours.indptr,
            neighbours.indices,
            self._plan.intercept,
            0 if self._all_gram(neighbours.full_sphere) else self._features_below,
            self._min_voxels,
            *group_spheres(neighbours.centres, neighbours.levels),
        )

    def _all_gram(self, full_sphere: int) -> bool:
        """For all spheres of an analysis, since a kernel without the other form is compiled sooner."""
        return (full_sphere == 0 and self._plan.all_gram_from < math.inf) or full_sphere >= self._plan.all_gram_from

    def observed(self, neighbours: Neighbours) -> Decoded:
        """Decode the spheres of a block without permutations."""
        plan, n_centres = self._plan, len(neighbours)
        out = np.empty((n_centres, plan.n_out))
        status = np.empty(n_centres, np.int8)
        plan.run(self._block(neighbours), out, status)
        not_a_number = np.isnan(out)
        any_failed = bool(not_a_number.any())
        if any_failed:
            status[(status == 0) & not_a_number.any(axis=1)] = _NOT_A_NUMBER
        del not_a_number
        scores = np.full((len(self._metrics), len(plan.folds), n_centres), np.nan)
        rows = None if self._make_rows is None else self._make_rows(n_centres)
        for fold, held_out in enumerate(plan.held_out(out)):
            if held_out is None:
                continue
            for i, (name, metric) in enumerate(self._metrics.items()):
                if fold not in self._unscored[name]:
                    scores[i, fold] = score(metric, held_out, any_failed=any_failed)
            if rows is not None:
                rows.put(fold, slice(None), held_out)
        troubles = self._troubles(status)
        if rows is None:
            return Decoded(scores, troubles)
        return Decoded(scores, troubles, rows.predicted, rows.decision)

    def _troubles(self, status: NDArray[np.int8]) -> Troubles:
        troubles = Troubles(too_small=int((status == -1).sum()))
        for code, text in _STATUS.items():
            if (status == code).any():
                troubles.failed[text] += int((status == code).sum())
        for reasons in [self._untrained, *self._unscored.values()]:
            for fold, text in reasons.items():
                troubles.folds[f"fold {fold}: {text}"] = 1
        return troubles
