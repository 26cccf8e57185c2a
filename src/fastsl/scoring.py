"""What ``scoring`` may be, and which metrics of held-out predictions or scorers of a fitted estimator it means."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import is_classifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import check_scoring, get_scorer, get_scorer_names
from sklearn.pipeline import Pipeline

from fastsl.block_metric import BlockMetric
from fastsl.metrics import CLASSIFIER_METRICS, METRICS, REGRESSOR_METRICS, Metric, score_by_replay
from fastsl.spelling import meant

#: Name of the only score where ``scoring`` is not a collection.
SINGLE = "score"


@dataclass(frozen=True)
class Scoring:
    """Scores that are asked for.

    Attributes
    ----------
    given : dict
        By name: None (what the estimator's own ``score`` computes), the name of a scikit-learn scorer, or a callable.
    several : bool
        Whether results are to be dicts by these names.
    """

    given: Mapping[str, Any]
    several: bool

    @property
    def names(self) -> tuple[str, ...]:
        """In the order given."""
        return tuple(self.given)


def parse_scoring(scoring: Any) -> Scoring:
    """Check ``scoring``: None, a scorer's name, a callable; or, as in ``cross_validate``, a list of names or a dict.

    Raises
    ------
    TypeError, ValueError
        For what is none of these, unknown names, a list that is empty or names a scorer twice.
    """
    if isinstance(scoring, str) or scoring is None or callable(scoring):
        _check_one(scoring)
        return Scoring({SINGLE: scoring}, several=False)
    if isinstance(scoring, Mapping):
        for name, one in scoring.items():
            if not isinstance(name, str):
                raise TypeError(f"scoring as a dict has names as keys, got the key {name!r}.")
            _check_one(one)
        given = dict(scoring)
    elif isinstance(scoring, Collection):
        if not all(isinstance(name, str) for name in scoring):
            raise TypeError(
                f"scoring as a list holds names of scorers, got {scoring!r}; give callables a name in a dict."
            )
        if len(set(scoring)) < len(scoring):
            raise ValueError(f"scoring={scoring!r} names a scorer twice.")
        for name in scoring:
            _check_one(name)
        given = {name: name for name in scoring}
    else:
        raise TypeError(
            "scoring must be None, the name of a scikit-learn scorer, a callable(estimator, X, y), or a list or dict "
            f"of these, got {scoring!r}."
        )
    if not given:
        raise ValueError(f"scoring={scoring!r} is empty: name at least one scorer, or leave it out.")
    return Scoring(given, several=True)


def _check_one(scoring: Any) -> None:
    if scoring is None or callable(scoring):
        return
    if not isinstance(scoring, str):
        raise TypeError(
            f"scoring must be None, the name of a scikit-learn scorer or a callable(estimator, X, y), got {scoring!r}."
        )
    if scoring not in get_scorer_names():
        raise ValueError(
            f"scoring={scoring!r} is not known{meant(scoring, get_scorer_names())}. The scorers of this scikit-learn "
            f"are: {', '.join(get_scorer_names())}."
        )


def _own_score(estimator: Any) -> str:
    """Name of what ``estimator.score`` computes."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(last, LogisticRegressionCV) and last.scoring not in (None, "warn"):
        return str(last.scoring)
    return "accuracy" if is_classifier(estimator) else "r2"


def compiled_metrics(scoring: Scoring, estimator: Any) -> tuple[dict[str, Metric] | None, str]:
    """Metrics for held-out predictions, or None where a score needs the fitted estimator itself; and the reason."""
    metrics: dict[str, Metric] = {}
    reasons = []
    for name, one in scoring.given.items():
        wanted = _own_score(estimator) if one is None else one
        metric, reason = _compiled_metric(wanted, classifier=is_classifier(estimator))
        if metric is None:
            return None, reason
        metrics[name] = metric
        reasons.append(reason)
    return metrics, ", ".join(reasons)


def _compiled_metric(scoring: Any, *, classifier: bool) -> tuple[Metric | None, str]:
    if isinstance(scoring, str) and scoring in METRICS:
        fitting = CLASSIFIER_METRICS if classifier else REGRESSOR_METRICS
        if scoring not in fitting:
            kind, other = ("classifier", "regressors") if classifier else ("regressor", "classifiers")
            raise ValueError(
                f"scoring={scoring!r} is for {other} but the estimator is a {kind}; use for instance one of: "
                f"{', '.join(fitting)}."
            )
        return METRICS[scoring], f"{scoring} of all spheres at once"
    if isinstance(scoring, BlockMetric):
        return scoring.of_block, f"{getattr(scoring, '__name__', 'a metric')} of all spheres at once"
    if isinstance(scoring, str):
        return score_by_replay(get_scorer(scoring)), f"{scoring} sphere by sphere"
    if isinstance(scoring, type(get_scorer("accuracy"))):
        return score_by_replay(scoring), "a scikit-learn scorer, sphere by sphere"
    return None, "scoring is a function of the fitted estimator"


def estimator_scorers(estimator: Any, scoring: Scoring) -> dict[str, Callable[..., Any]]:
    """Scorers ``f(estimator, X, y)`` of a fitted estimator, by name, as ``cross_validate`` takes them."""
    return {name: check_scoring(estimator, scoring=one) for name, one in scoring.given.items()}
