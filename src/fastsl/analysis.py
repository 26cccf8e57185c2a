"""From a user's arguments to a checked question, and from it to the engine that answers."""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier, is_regressor

from fastsl.compiled import CompiledEngine
from fastsl.decoders import find_decoder
from fastsl.estimators import make_estimator, scores_itself
from fastsl.folds import Folds, check_classes_are_known, check_groups, check_target, draw_folds, whole_sample
from fastsl.general import GeneralEngine, Question
from fastsl.kept import Keep, PredictionRows, n_decisions
from fastsl.layout import Layout
from fastsl.outcome import Engine
from fastsl.permutation.nulls import Null, plan_null
from fastsl.permutation.schemes import permuted_targets
from fastsl.scoring import Scoring, compiled_metrics, estimator_scorers, parse_scoring


@dataclass(frozen=True)
class Permutations:
    """How labels are permuted: see :func:`fastsl.permuted_targets`."""

    n: int
    scheme: Any = "within_groups"


@dataclass(frozen=True, eq=False)
class Analysis:
    """A checked question: what to decode, with what, on which folds. Everything that can be refused has been."""

    y: NDArray[Any]
    estimator: Any
    folds: Folds
    scoring: Scoring
    groups: NDArray[Any] | None
    min_voxels: int
    engine: Engine
    permuted: NDArray[Any] | None = None  # (n_permutations, n_samples)

    @property
    def compiled(self) -> bool:
        """Whether the compiled path runs."""
        return self.engine.path == "compiled"

    @property
    def classes(self) -> NDArray[Any] | None:
        """Sorted classes of y; None for a regressor."""
        return np.unique(self.y) if is_classifier(self.estimator) else None

    @property
    def layout(self) -> Layout:
        """What must be known of it to put its results together."""
        classes = self.classes
        return Layout(
            self.scoring.names,
            self.scoring.several,
            self.folds,
            self.y,
            classes,
            n_decisions(self.estimator, classes),
            self.min_voxels,
            self.engine,
            0 if self.permuted is None else len(self.permuted),
        )

    def transfer(self, n_new: int, y_new: NDArray[Any] | None) -> "Analysis":
        """The question of decoders that are trained on all samples and tested on ``n_new`` more."""
        n = len(self.y)
        y = np.concatenate([self.y, self.y[np.zeros(n_new, int)] if y_new is None else y_new])
        folds = Folds(n + n_new, (np.arange(n),), (np.arange(n, n + n_new),))
        scoring = self.scoring if y_new is not None else Scoring({}, several=True)
        return replace(self, y=y, folds=folds, scoring=scoring, groups=None, permuted=None)


def plan_analysis(
    y: ArrayLike,
    n_samples: int,
    estimator: Any,
    *,
    groups: ArrayLike | None = None,
    scoring: Any = None,
    cv: Any = None,
    estimator_args: Any = None,
    random_state: Any = 0,
    min_voxels: int = 1,
    keep: Keep | None = None,
    permutations: Permutations | None = None,
) -> Analysis:
    """Check every argument, draw the folds and the permutations, and choose the path, before any work."""
    scores = parse_scoring(scoring)
    model = make_estimator(estimator, estimator_args, random_state, scoring)
    _check_min_voxels(min_voxels)
    name = type(model).__name__
    classifier = is_classifier(model)
    target = check_target(y, n_samples, classifier=classifier, name=name)
    if is_regressor(model) and target.dtype.kind not in "biuf":
        raise ValueError(
            f"y holds {target.dtype} entries such as {target.tolist()[0]!r} but {name} is a regressor: give numbers, "
            "or a classifier for labels."
        )
    if scores_itself(model):
        _check_scores_itself(name, scores, keep)
        folds = whole_sample(n_samples)
    else:
        folds = draw_folds(cv, target, groups, classifier=classifier)
        if classifier and not any(map(callable, scores.given.values())):  # which may know what foreign classes mean
            check_classes_are_known(folds, target)
    if keep is not None and keep.confusion and not classifier:
        raise ValueError(f"keep_confusion counts classes, but {name} is no classifier: leave it out.")
    decoder, reason = find_decoder(model, folds)
    metrics, how = compiled_metrics(scores, model) if decoder else (None, "its own scorer")
    if decoder is not None and metrics is None:
        reason = how
    engine = Engine("compiled" if metrics else "general", repr(model), reason, how)
    checked = check_groups(groups, n_samples)
    permuted = None
    if permutations is not None:
        _warn_of_free_exchange(permutations.scheme, checked, cv)
        permuted = permuted_targets(
            target, permutations.n, permutations.scheme, checked, random_state, classifier=classifier
        )
    return Analysis(target, model, folds, scores, checked, int(min_voxels), engine, permuted)


def _warn_of_free_exchange(scheme: Any, groups: NDArray[Any] | None, cv: Any) -> None:
    """Folds that somebody made speak of runs, in which labels are to stay: without ``groups`` they do not."""
    if isinstance(scheme, str) and scheme == "within_groups" and groups is None and not _is_number_of_folds(cv):
        warnings.warn(
            "permutation_scheme='within_groups' without groups exchanges labels among all samples, also those of "
            "different runs. Give groups=runs, the run of each sample; or permutation_scheme='free', if that is meant.",
            UserWarning,
            stacklevel=4,
        )


def _is_number_of_folds(cv: Any) -> bool:
    return cv is None or isinstance(cv, int | np.integer)


def _check_min_voxels(min_voxels: Any) -> None:
    if isinstance(min_voxels, bool) or not isinstance(min_voxels, int | np.integer) or min_voxels < 1:
        raise ValueError(f"min_voxels must be a whole number of at least 1, got {min_voxels!r}.")


def _check_scores_itself(name: str, scoring: Scoring, keep: Keep | None) -> None:
    if scoring.several:
        raise ValueError(f"{name} scores itself: scoring with several names has no meaning for it, leave it out.")
    if keep:
        raise ValueError(f"{name} scores itself and makes no held-out predictions: nothing can be kept of them.")


def matrix_dtype(analysis: Analysis, source_dtype: Any) -> Any:
    """float32 for kernels; for other estimators what nilearn would hand them: float64 only where the data are."""
    if analysis.compiled or np.dtype(source_dtype) != np.float64:
        return np.float32
    return np.float64


def make_engine(X: NDArray[Any], analysis: Analysis, *, keep: bool) -> CompiledEngine | GeneralEngine:
    """Ready the path of ``analysis`` for X (n_voxels, n_samples)."""
    rows = None
    if keep:
        n_columns = n_decisions(analysis.estimator, analysis.classes)
        rows = partial(PredictionRows, analysis.folds.test_rows(), analysis.classes, n_columns)
    if not analysis.compiled:
        scorers = {}
        if not scores_itself(analysis.estimator):
            scorers = estimator_scorers(analysis.estimator, analysis.scoring)
        question = Question(
            X,
            analysis.y,
            analysis.estimator,
            analysis.folds,
            scorers,
            analysis.groups,
            analysis.min_voxels,
            rows,
            analysis.permuted,
        )
        return GeneralEngine(question)
    plan, _ = find_decoder(analysis.estimator, analysis.folds)
    metrics, _ = compiled_metrics(analysis.scoring, analysis.estimator)
    assert plan is not None
    assert metrics is not None
    made = plan(analysis.estimator, analysis.y, analysis.folds)
    null: Null | None = None
    if analysis.permuted is not None:
        null = plan_null(analysis.estimator, plan, analysis.permuted, analysis.folds, metrics)
    return CompiledEngine(X, made, metrics, analysis.min_voxels, rows, null)
