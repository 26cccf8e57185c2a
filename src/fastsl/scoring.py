"""What ``scoring`` may be, and which metric of a compiled decoder or scorer of a fitted estimator it means."""

from typing import Any

from sklearn.metrics import check_scoring, get_scorer, get_scorer_names

from fastsl.metrics import CLASSIFIER_METRICS, METRICS, REGRESSOR_METRICS, Metric, score_by_replay


def check_scoring_argument(scoring: Any) -> None:
    """Raise unless ``scoring`` is None, a scorer's name or a callable."""
    if scoring is None or callable(scoring):
        return
    if not isinstance(scoring, str):
        raise TypeError(
            f"scoring must be None, the name of a scikit-learn scorer or a callable(estimator, X, y), got {scoring!r}."
        )
    if scoring not in get_scorer_names():
        raise ValueError(
            f"scoring={scoring!r} is not known. The scorers of this scikit-learn are: {', '.join(get_scorer_names())}."
        )


def compiled_metric(scoring: Any, *, classifier: bool) -> tuple[Metric | None, str]:
    """Metric for held-out predictions, or None where the score needs the fitted estimator itself; and the reason."""
    if scoring is None:
        scoring = "accuracy" if classifier else "r2"
    if isinstance(scoring, str) and scoring in METRICS:
        fitting = CLASSIFIER_METRICS if classifier else REGRESSOR_METRICS
        if scoring not in fitting:
            kind, other = ("classifier", "regressors") if classifier else ("regressor", "classifiers")
            raise ValueError(
                f"scoring={scoring!r} is for {other} but the estimator is a {kind}; use for instance one of: "
                f"{', '.join(fitting)}."
            )
        return METRICS[scoring], f"{scoring} of all spheres at once"
    if isinstance(scoring, str):
        return score_by_replay(get_scorer(scoring)), f"{scoring} sphere by sphere"
    if isinstance(scoring, type(get_scorer("accuracy"))):
        return score_by_replay(scoring), "a scikit-learn scorer, sphere by sphere"
    return None, "scoring is a function of the fitted estimator"


def estimator_scorer(estimator: Any, scoring: Any) -> Any:
    """Scorer ``f(estimator, X, y)`` of a fitted estimator, as ``cross_val_score`` takes it."""
    return check_scoring(estimator, scoring=scoring)
