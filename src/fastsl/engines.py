"""The two ways to score spheres: compiled kernels, or any scikit-learn estimator through joblib."""

import copy
import itertools
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import cross_validate

from fastsl._kernels.block import Block
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders.plan import Plan
from fastsl.estimators import scores_itself
from fastsl.folds import Folds
from fastsl.metrics import Metric, score
from fastsl.neighbours import Neighbours
from fastsl.scoring import estimator_scorer


@dataclass(frozen=True)
class Engine:
    """Which path ran, and why.

    Attributes
    ----------
    path : str
        ``"compiled"`` or ``"general"``.
    estimator : str
        The estimator that was decoded with.
    reason : str
        Why this path.
    scoring : str
        How scores were made.
    """

    path: str
    estimator: str
    reason: str
    scoring: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; scoring: {self.scoring}"


@dataclass
class Troubles:
    """What went wrong in single spheres and folds, counted, for one warning each at the end."""

    too_small: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    folds: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Troubles") -> None:
        """Count what another block met."""
        self.too_small += other.too_small
        self.failed += other.failed
        self.folds += other.folds


_NOT_A_NUMBER = 3
_STATUS = {
    1: "its system of equations was singular",
    2: "the solver did not come to a standstill",
    _NOT_A_NUMBER: "its solution is not a number",
}


#: Spheres with fewer voxels than this part of the training samples take the features path. Measured at 60 and 120
#: samples: both take the same time at 0.5 to 0.6 for LinearSVC and ridge, at 0.4 for ridge with a choice of penalties.
FEATURES_BELOW = 0.5


class CompiledEngine:
    """Decode blocks of spheres with the kernel of a plan. ``X`` is shifted by the voxels' ``means``."""

    def __init__(
        self, X: NDArray[np.float32], means: NDArray[np.float64], plan: Plan, metric: Metric, min_voxels: int
    ) -> None:
        self._X, self._means, self._plan, self._metric = X, means, plan, metric
        self._min_voxels = max(1, min_voxels)
        self._dead_folds = self._find_dead_folds()
        # Systems have the order of the voxels on the features path, of the training samples on the Gram path.
        smallest = min(len(train) for train in plan.folds.train)
        self._features_below = max(2, int(FEATURES_BELOW * smallest)) if plan.has_features_path else 0

    def _find_dead_folds(self) -> dict[int, str]:
        """Try the metric on made-up predictions: a score that cannot be computed is an error before any work."""
        plan = self._plan
        reasons: dict[int, str] = {}
        for fold, held_out in enumerate(plan.held_out(np.zeros((1, plan.n_out)))):
            if held_out is None:
                reasons[fold] = "its training samples have one class only"
                continue
            try:
                if np.isnan(score(self._metric, held_out)).all():
                    reasons[fold] = "the score is not defined for its test samples"
            except (ValueError, TypeError, AttributeError) as error:
                reasons[fold] = (
                    str(error).replace("_ReplayClassifier", plan.name).replace("_ReplayRegressor", plan.name)
                )
        if len(reasons) == len(plan.folds):
            raise ValueError(f"no fold can be scored. First fold: {reasons[0]}")
        return reasons

    @contextmanager
    def running(self, n_jobs: int) -> Iterator[None]:
        """Hold the kernel threads for the length of a search."""
        with kernel_threads(n_jobs):
            yield

    def __call__(self, neighbours: Neighbours) -> tuple[NDArray[np.float64], Troubles]:
        """Scores of a block, shape (n_folds, n_centres)."""
        plan = self._plan
        out = np.empty((len(neighbours), plan.n_out))
        status = np.empty(len(neighbours), np.int8)
        block = Block(
            self._X,
            self._means,
            neighbours.indptr,
            neighbours.indices,
            plan.intercept,
            self._features_below,
            self._min_voxels,
        )
        plan.run(block, out, status)
        status[(status == 0) & np.isnan(out).any(axis=1)] = _NOT_A_NUMBER
        scores = np.full((len(plan.folds), len(neighbours)), np.nan)
        for fold, held_out in enumerate(plan.held_out(out)):
            if held_out is not None and fold not in self._dead_folds:
                scores[fold] = score(self._metric, held_out)
        troubles = Troubles(too_small=int((status == -1).sum()))
        for code, text in _STATUS.items():
            if (status == code).any():
                troubles.failed[text] += int((status == code).sum())
        for fold, text in self._dead_folds.items():
            troubles.folds[f"fold {fold}: {text}"] = 1
        return scores, troubles


class GeneralEngine:
    """Cross-validate any scikit-learn estimator in each sphere, in worker processes over one memory-mapped matrix."""

    def __init__(
        self,
        X: NDArray[Any],
        y: NDArray[Any],
        estimator: Any,
        folds: Folds,
        scoring: Any,
        groups: NDArray[Any] | None,
        min_voxels: int,
    ) -> None:
        own = scores_itself(estimator)
        scorer = None if own else estimator_scorer(estimator, scoring)
        self._fixed = (X, y, estimator, list(folds), scorer, groups)
        self._min_voxels = max(1, min_voxels)
        self._pool: joblib.Parallel | None = None
        self._n_jobs = 1

    @contextmanager
    def running(self, n_jobs: int) -> Iterator[None]:
        """Keep the workers alive for the length of a search."""
        self._n_jobs = n_jobs
        with joblib.Parallel(n_jobs=n_jobs) as self._pool:
            yield

    def __call__(self, neighbours: Neighbours) -> tuple[NDArray[np.float64], Troubles]:
        """Scores of a block, shape (n_folds, n_centres)."""
        assert self._pool is not None
        edges = np.unique(np.linspace(0, len(neighbours), 4 * self._n_jobs + 1).astype(int))
        parts = self._pool(
            joblib.delayed(_score_spheres)(*self._fixed, neighbours.block(a, b), self._min_voxels)
            for a, b in itertools.pairwise(edges)
        )
        troubles = Troubles()
        for _, part in parts:
            troubles.add(part)
        return np.concatenate([scores for scores, _ in parts], axis=1), troubles


def _score_spheres(
    X: NDArray[Any],
    y: NDArray[Any],
    estimator: Any,
    splits: list[Any],
    scorer: Any,
    groups: NDArray[Any] | None,
    neighbours: Neighbours,
    min_voxels: int,
) -> tuple[NDArray[np.float64], Troubles]:
    scores = np.full((len(splits), len(neighbours)), np.nan)
    troubles = Troubles()
    for centre in range(len(neighbours)):
        members = neighbours[centre]
        if len(members) < min_voxels:
            troubles.too_small += 1
            continue
        sphere = X[members].T
        if scores_itself(estimator):
            scores[0, centre] = _score_itself(estimator, sphere, y, groups)
        else:
            scores[:, centre] = _cross_validate(estimator, sphere, y, splits, scorer, troubles)
    return scores, troubles


def _score_itself(estimator: Any, sphere: Any, y: Any, groups: Any) -> float:
    """Nilearn's protocol for estimators that score themselves; on a copy, so that the user's stays as it is."""
    own = copy.deepcopy(estimator)
    own.fit(sphere, y, groups=groups)
    return float(own.score(sphere, y, groups=groups))


def _cross_validate(
    estimator: Any, sphere: Any, y: Any, splits: Any, scorer: Any, troubles: Troubles
) -> NDArray[np.float64]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            result = cross_validate(estimator, sphere, y, cv=splits, scoring=scorer, n_jobs=1, error_score=np.nan)[
                "test_score"
            ]
        except ValueError as error:
            if "fits failed" not in str(error):
                raise
            troubles.failed[str(error).strip().splitlines()[-1]] += 1
            return np.full(len(splits), np.nan)
    for warning in caught:
        text = str(warning.message).strip()
        if issubclass(warning.category, FitFailedWarning) or text.startswith("Scoring failed"):
            troubles.folds[text.splitlines()[-1]] += 1
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return np.asarray(result, dtype=np.float64)
