"""What ``estimator`` may be: one of nilearn's fourteen names, a name of our own, or any scikit-learn estimator."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LassoCV, LogisticRegressionCV, Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVR, LinearSVC
from sklearn.utils.validation import has_fit_parameter

from fastsl.correlation import CorrelationClassifier
from fastsl.spelling import meant


def _logistic(l1_ratio: int) -> dict[str, Any]:
    """Arguments of the same model in scikit-learn's old and new spelling."""
    common = {"solver": "liblinear", "scoring": "neg_log_loss"}
    if "use_legacy_attributes" in inspect.signature(LogisticRegressionCV).parameters:
        return {**common, "l1_ratios": (l1_ratio,), "use_legacy_attributes": False}
    return {**common, "penalty": "l1" if l1_ratio else "l2"}


#: name: (class, what the name fixes, what ``estimator_args`` may replace).
Names = dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]]

#: The meaning of each is nilearn 0.14's.
NAMED_BY_NILEARN: Names = {
    "svc": (LinearSVC, {"penalty": "l2"}, {"max_iter": 10_000}),
    "svc_l2": (LinearSVC, {"penalty": "l2"}, {"max_iter": 10_000}),
    "svc_l1": (LinearSVC, {"penalty": "l1"}, {"max_iter": 10_000}),
    "logistic": (LogisticRegressionCV, _logistic(0), {}),
    "logistic_l2": (LogisticRegressionCV, _logistic(0), {}),
    "logistic_l1": (LogisticRegressionCV, _logistic(1), {}),
    "ridge_classifier": (RidgeClassifierCV, {}, {}),
    "dummy_classifier": (DummyClassifier, {}, {"strategy": "stratified"}),
    "ridge": (RidgeCV, {}, {}),
    "ridge_regressor": (RidgeCV, {}, {}),
    "lasso": (LassoCV, {}, {}),
    "lasso_regressor": (LassoCV, {}, {}),
    "svr": (SVR, {"kernel": "linear"}, {"max_iter": 10_000}),
    "dummy_regressor": (DummyRegressor, {}, {"strategy": "mean"}),
}
#: What nilearn has no name for: its "ridge" and "ridge_classifier" choose a penalty in every fold, which is slower with
#: permutations. Without shrinkage a sphere with more voxels than volumes has a singular covariance.
NAMED_HERE: Names = {
    "RidgeClassifier": (RidgeClassifier, {}, {}),
    "Ridge": (Ridge, {}, {}),
    "correlation": (CorrelationClassifier, {}, {}),
    "gnb": (GaussianNB, {}, {}),
    "lda": (LinearDiscriminantAnalysis, {}, {"solver": "lsqr", "shrinkage": "auto"}),
}
NAMED: Names = {**NAMED_BY_NILEARN, **NAMED_HERE}
_SEEDED = {"svc", "svc_l2", "svc_l1", "dummy_classifier"}


def make_estimator(
    estimator: Any,
    estimator_args: Mapping[str, Any] | None = None,
    random_state: Any = 0,
    scoring: Any = None,
) -> Any:
    """Build the estimator that a name stands for, or check the one given.

    Raises
    ------
    ValueError
        For an unknown name (the message lists those that exist).
    TypeError
        For a class instead of an instance, arguments that the estimator does not have, or what is no scikit-learn
        estimator.

    Examples
    --------
    >>> make_estimator("svc", {"C": 0.1})
    LinearSVC(C=0.1, max_iter=10000, random_state=0)
    """
    if estimator_args is not None and not isinstance(estimator_args, Mapping):
        raise TypeError(f"estimator_args must be a dict or None, got {estimator_args!r}.")
    if isinstance(estimator, str):
        if estimator not in NAMED:
            raise ValueError(
                f"estimator={estimator!r} is not known{meant(estimator, NAMED)}. Give a scikit-learn estimator or one "
                f"of: {', '.join(NAMED)}."
            )
        build, fixed, defaults = NAMED[estimator]
        seed = {"random_state": random_state} if estimator in _SEEDED else {}
        known = inspect.signature(build).parameters
        for name in estimator_args or {}:
            if name not in known or name in fixed:
                raise TypeError(
                    f"estimator_args has {name!r}, which estimator={estimator!r} "
                    + ("fixes itself" if name in fixed else f"does not take; it takes: {', '.join(known)}")
                    + "."
                )
        return build(**{**seed, **defaults, **(estimator_args or {}), **fixed})
    check_estimator(estimator, scoring)
    if estimator_args:
        raise TypeError("estimator_args only goes with an estimator name; set the parameters on the estimator instead.")
    return estimator


def check_estimator(estimator: Any, scoring: Any = None) -> None:
    """Raise unless ``estimator`` can be fitted and, with ``scoring``, scored in a sphere."""
    if inspect.isclass(estimator):
        raise TypeError(
            f"estimator must be an *instance*, got the class {estimator.__name__}: write {estimator.__name__}()."
        )
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"estimator must be a name or a scikit-learn estimator (a BaseEstimator), got {estimator!r}.")
    if scoring is None and not scores_itself(estimator) and not hasattr(estimator, "score"):
        raise TypeError(
            f"scoring=None asks {type(estimator).__name__} for its own score, but it has no score method: name one."
        )
    if scores_itself(estimator):
        if not hasattr(estimator, "score"):
            raise TypeError(
                f"{type(estimator).__name__} must implement score(X, y, groups), because its "
                "nilearn_searchlight_uses_cv is False."
            )
        if not has_fit_parameter(estimator, "groups"):
            raise TypeError(
                f"{type(estimator).__name__} must accept a 'groups' parameter in fit, because its "
                "nilearn_searchlight_uses_cv is False."
            )
    if not type(estimator).__module__.startswith(("sklearn.", "fastsl.")):
        warnings.warn(
            "Use a custom estimator at your own risk of the process not working as intended.",
            UserWarning,
            stacklevel=5,
        )


def scores_itself(estimator: Any) -> bool:
    """Whether the estimator asks, by nilearn's protocol, to be fitted and scored on all samples, without folds."""
    return not getattr(estimator, "nilearn_searchlight_uses_cv", True)


def estimator_type(estimator: Any) -> str:
    """Return "classifier", "regressor" or "" for a name or an estimator; "" for what is neither."""
    if isinstance(estimator, str):
        if estimator not in NAMED:
            return ""
        estimator = NAMED[estimator][0]()
    if is_classifier(estimator):
        return "classifier"
    return "regressor" if is_regressor(estimator) else ""
