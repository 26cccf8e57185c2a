"""The general path: any scikit-learn estimator, cross-validated sphere by sphere in worker processes."""

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning, NotFittedError
from sklearn.model_selection import cross_validate
from sklearn.utils.validation import check_is_fitted

from fastsl.estimators import scores_itself
from fastsl.folds import Folds
from fastsl.kept import PredictionRows
from fastsl.neighbours import Neighbours
from fastsl.outcome import FIRST_BLOCK, SECONDS_A_BLOCK, Decoded, Troubles, mean_over_folds
from fastsl.predictions import ask


@dataclass(frozen=True, eq=False)
class Question:
    """What is the same for all spheres, and goes to every worker."""

    X: NDArray[Any]  # (n_voxels, n_samples); memory-mapped by joblib where it is large
    y: NDArray[Any]
    estimator: Any
    folds: Folds
    scorers: Mapping[str, Callable[..., Any]]
    groups: NDArray[Any] | None
    min_voxels: int
    rows: Callable[[int], PredictionRows] | None  # makes the rows for a number of spheres; None: keep none
    permuted: NDArray[Any] | None = None  # (n_permutations, n_samples)

    @property
    def n_scores(self) -> int:
        """One where the estimator scores itself."""
        return 1 if scores_itself(self.estimator) else len(self.scorers)


class GeneralEngine:
    """Cross-validate any scikit-learn estimator in each sphere."""

    seconds_a_block = SECONDS_A_BLOCK

    def __init__(self, question: Question) -> None:
        self._question = question
        self._pool: joblib.Parallel | None = None
        self._n_jobs = 1

    @property
    def one_by_one(self) -> str:
        """Why permutations are decoded one after the other; empty where there are none."""
        return "through scikit-learn" if self._question.permuted is not None else ""

    @property
    def first_block(self) -> int:
        """Spheres of a first block that does not take long."""
        return self._n_jobs if self._question.permuted is not None else FIRST_BLOCK

    @contextmanager
    def running(self, n_jobs: int) -> Iterator[None]:
        """Keep the workers alive for the length of a search."""
        self._n_jobs = n_jobs
        with joblib.Parallel(n_jobs=n_jobs) as self._pool:
            yield

    def observed(self, neighbours: Neighbours) -> Decoded:
        """Decode the spheres of a block without permutations."""
        return self._decode(replace(self._question, permuted=None), neighbours)

    def __call__(self, neighbours: Neighbours) -> Decoded:
        """Decode the spheres of a block."""
        return self._decode(self._question, neighbours)

    def _decode(self, question: Question, neighbours: Neighbours) -> Decoded:
        assert self._pool is not None
        edges = np.unique(np.linspace(0, len(neighbours), 4 * self._n_jobs + 1).astype(int))
        parts = self._pool(
            joblib.delayed(_decode_spheres)(question, neighbours.block(a, b)) for a, b in itertools.pairwise(edges)
        )
        troubles = Troubles()
        for part in parts:
            troubles.add(part.troubles)
        joined: dict[str, NDArray[Any]] = {}
        for name, axis in (("predicted", 1), ("decision", 1), ("null", 2)):
            if getattr(parts[0], name) is not None:
                joined[name] = np.concatenate([getattr(part, name) for part in parts], axis=axis)
        return Decoded(np.concatenate([part.scores for part in parts], axis=2), troubles, **joined)


def _decode_spheres(question: Question, neighbours: Neighbours) -> Decoded:
    n_centres, folds = len(neighbours), question.folds
    scores = np.full((question.n_scores, len(folds), n_centres), np.nan)
    null = None
    if question.permuted is not None:
        null = np.full((question.n_scores, len(question.permuted), n_centres), np.nan, np.float32)
    rows = None if question.rows is None else question.rows(n_centres)
    troubles = Troubles()
    for centre in range(n_centres):
        members = neighbours[centre]
        if len(members) < question.min_voxels:
            troubles.too_small += 1
            continue
        sphere = question.X[members].T
        if null is not None:
            null[:, :, centre] = _permuted_scores(question, sphere)
        if scores_itself(question.estimator):
            scores[0, 0, centre] = _score_itself(question.estimator, sphere, question.y, question.groups)
            continue
        result = _cross_validate(question, sphere, troubles)
        if result is None:
            continue
        for i, name in enumerate(question.scorers):
            scores[i, :, centre] = result[f"test_{name}"]
        if rows is not None:
            for fold, fitted in enumerate(result["estimator"]):
                if _is_fitted(fitted):  # a fold that could not be fitted has no predictions
                    test = folds.test[fold]
                    rows.put(fold, slice(centre, centre + 1), ask(fitted, sphere[test], question.y[test]))
    if rows is None:
        return Decoded(scores, troubles, null=null)
    return Decoded(scores, troubles, rows.predicted, rows.decision, null)


def _permuted_scores(question: Question, sphere: NDArray[Any]) -> NDArray[np.float64]:
    """Means over folds of the scores of one sphere under permuted labels, (n_scores, n_permutations)."""
    assert question.permuted is not None
    scores = np.full((question.n_scores, len(question.permuted)), np.nan)
    for permutation, y in enumerate(question.permuted):
        if scores_itself(question.estimator):
            scores[0, permutation] = _score_itself(question.estimator, sphere, y, question.groups)
            continue
        # What fails here fails with the observed labels too, or is one permutation whose score is NaN.
        result = _cross_validate(replace(question, y=y, rows=None), sphere, Troubles())
        if result is not None:
            folds = np.stack([result[f"test_{name}"] for name in question.scorers])
            scores[:, permutation] = mean_over_folds(folds[:, :, None])[:, 0]
    return scores


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _score_itself(estimator: Any, sphere: Any, y: Any, groups: Any) -> float:
    """Nilearn's protocol for estimators that score themselves; on a copy, so that the user's stays as it is."""
    own = copy.deepcopy(estimator)
    own.fit(sphere, y, groups=groups)
    return float(own.score(sphere, y, groups=groups))


def _cross_validate(question: Question, sphere: NDArray[Any], troubles: Troubles) -> dict[str, Any] | None:
    """Result of scikit-learn's ``cross_validate``; None where no fold could be fitted."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            result: dict[str, Any] = cross_validate(
                question.estimator,
                sphere,
                question.y,
                cv=list(question.folds),
                scoring=dict(question.scorers) or _NO_SCORE,
                n_jobs=1,
                error_score=np.nan,
                return_estimator=question.rows is not None,
            )
        except ValueError as error:
            if "fits failed" not in str(error):
                raise
            troubles.failed[str(error).strip().splitlines()[-1]] += 1
            return None
    for warning in caught:
        text = str(warning.message).strip()
        if issubclass(warning.category, FitFailedWarning) or text.startswith("Scoring failed"):
            troubles.folds[text.splitlines()[-1]] += 1
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return result


def _no_score(estimator: Any, X: Any, y: Any) -> float:
    return 0.0


#: ``cross_validate`` wants a scorer even where only predictions are asked for.
_NO_SCORE = {"none": _no_score}
