"""Scores of held-out predictions, for all spheres of a block at once. Knows nothing of decoders.

A metric is one function from :class:`~fastsl.predictions.HeldOut` to an array (n_centres,), and one line in
``METRICS`` under the name of the scikit-learn scorer that it equals. Any other scikit-learn scorer is applied sphere by
sphere to the same predictions; see :func:`score_by_replay`.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.metaestimators import available_if

from fastsl.predictions import HeldOut

Scores: TypeAlias = NDArray[np.float64]
Metric: TypeAlias = Callable[[HeldOut], Scores]


def confusion(held_out: HeldOut) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Counts of (true, predicted) label pairs, shape (n_centres, n_labels, n_labels), and the sorted labels."""
    classes = _classes(held_out)
    labels = np.unique(np.concatenate([classes, held_out.y_true]))
    n = len(labels)
    true = np.searchsorted(labels, held_out.y_true)
    predicted = np.searchsorted(labels, classes)[held_out.predicted]
    n_centres = len(predicted)
    cell = (np.arange(n_centres)[:, None] * n + true) * n + predicted
    return np.bincount(cell.ravel(), minlength=n_centres * n * n).reshape(-1, n, n), labels


def _classes(held_out: HeldOut) -> NDArray[Any]:
    if held_out.classes is None:
        raise ValueError("this score is for classifiers; for a regressor use for instance scoring='r2'.")
    return held_out.classes


def true_places(held_out: HeldOut) -> NDArray[np.int64]:
    """Position of each test sample's class in ``classes``, -1 for a class that was not trained; shape (n_test,)."""
    classes = _classes(held_out)
    place = np.searchsorted(classes, held_out.y_true)
    found = classes[np.minimum(place, len(classes) - 1)] == held_out.y_true
    return np.where(found, place, -1)


def accuracy(held_out: HeldOut) -> Scores:
    """Fraction of the test samples whose class is predicted."""
    # A product with ones, exact below 2^24, counts in half the time that count_nonzero along rows takes.
    hits = (held_out.predicted == true_places(held_out)).astype(np.float32)
    n_hits = hits @ np.ones(hits.shape[1], np.float32)
    return n_hits.astype(np.float64) / hits.shape[1]


def balanced_accuracy(held_out: HeldOut) -> Scores:
    """Mean over the classes among the test samples of the fraction that is predicted."""
    counts, _ = confusion(held_out)
    present = counts.sum(axis=(0, 2)) > 0
    recall = np.diagonal(counts, axis1=1, axis2=2)[:, present] / counts.sum(axis=2)[:, present]
    return _mean_of_rows(recall)


def _mean_of_rows(values: NDArray[np.float64]) -> Scores:
    """Mean of each row, in an order that does not depend on how many there are: numpy's follows the layout."""
    return np.asarray(np.ascontiguousarray(values).mean(axis=1))


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Ratio with 0/0 = 0, scikit-learn's convention for precision, recall and F1."""
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=below > 0)


def _class_scores(kind: str, hits: Any, predicted: Any, true: Any) -> NDArray[np.float64]:
    if kind == "precision":
        return _ratio(hits, predicted)
    if kind == "recall":
        return _ratio(hits, true)
    return _ratio(2.0 * hits, predicted + true)


def _per_class_metric(kind: str, average: str) -> Metric:
    def metric(held_out: HeldOut) -> Scores:
        counts, labels = confusion(held_out)
        hits = np.diagonal(counts, axis1=1, axis2=2)
        predicted, true = counts.sum(axis=1), counts.sum(axis=2)
        if average == "micro":
            return _class_scores(kind, hits.sum(axis=1), predicted.sum(axis=1), true.sum(axis=1))
        each = _class_scores(kind, hits, predicted, true)
        if average == "binary":
            if len(labels) > 2 or 1 not in labels.tolist():
                raise ValueError(
                    f"scoring={kind!r} needs two classes of which one is the number 1, got {labels.tolist()}; "
                    f"use '{kind}_macro' or '{kind}_weighted'."
                )
            return each[:, int(np.flatnonzero(labels == 1)[0])]
        seen = (predicted + true) > 0  # scikit-learn averages over labels that occur, true or predicted
        weights = true if average == "weighted" else seen
        return _ratio((each * weights).sum(axis=1), weights.sum(axis=1))

    metric.__name__ = kind if average == "binary" else f"{kind}_{average}"
    metric.__doc__ = f"{kind.capitalize()}, {average}: as scikit-learn's scorer of that name."
    return metric


def roc_auc(held_out: HeldOut) -> Scores:
    """Area under the ROC curve: the chance that a sample of the second class has the larger decision value.

    Of a decoder without decision values, the larger probability. NaN where the test samples lack a class, or have one
    that was not trained.
    """
    classes = _classes(held_out)
    if len(classes) != 2:
        raise ValueError(
            f"scoring='roc_auc' needs two classes, got {len(classes)} ({classes.tolist()}); use 'balanced_accuracy' "
            "or 'roc_auc_ovr' with an estimator that gives probabilities."
        )
    values = held_out.decision
    if values is None:
        if held_out.probability is None:
            raise ValueError("scoring='roc_auc' needs decision values or probabilities, and the estimator has neither.")
        values = held_out.probability[:, :, 1]
    positive = held_out.y_true == classes[1]
    n_positive, n_negative = positive.sum(), (~positive).sum()
    if n_positive == 0 or n_negative == 0 or not np.isin(held_out.y_true, classes).all():
        return np.full(len(held_out.values), np.nan)
    ranks = rankdata(values, axis=1)
    wins = ranks[:, positive].sum(axis=1) - n_positive * (n_positive + 1) / 2
    return wins / (n_positive * n_negative)


def neg_log_loss(held_out: HeldOut) -> Scores:
    """Mean over the test samples of the log probability of the true class, within (eps, 1 - eps) of float64."""
    classes = _classes(held_out)
    if held_out.probability is None:
        raise ValueError(
            "scoring='neg_log_loss' needs probabilities, and the estimator has no predict_proba; use "
            "'balanced_accuracy' or 'roc_auc'."
        )
    missing = np.setxor1d(classes, held_out.y_true)
    if missing.size:
        raise ValueError(
            f"scoring='neg_log_loss' needs every class among the training and the test samples, but {missing.tolist()} "
            "is in one of them only."
        )
    eps = np.finfo(np.float64).eps
    of_true = held_out.probability[:, np.arange(len(held_out.y_true)), np.searchsorted(classes, held_out.y_true)]
    return _mean_of_rows(np.log(np.clip(of_true, eps, 1 - eps)))


def _errors(held_out: HeldOut) -> NDArray[np.float64]:
    return held_out.y_true.astype(np.float64) - held_out.values[:, :, 0]


def r2(held_out: HeldOut) -> Scores:
    """1 - sum(error^2) / sum((y - mean(y))^2) over the test samples; NaN for fewer than two of them."""
    y = held_out.y_true.astype(np.float64)
    if len(y) < 2:
        return np.full(len(held_out.values), np.nan)
    residual = (_errors(held_out) ** 2).sum(axis=1)
    y = y - y[0]  # equal values then leave exactly 0
    return _explained(residual, ((y - y.mean()) ** 2).sum())


def explained_variance(held_out: HeldOut) -> Scores:
    """1 - variance of the errors / variance of y, over the test samples."""
    y = held_out.y_true.astype(np.float64)
    return _explained(_errors(held_out).var(axis=1), (y - y[0]).var())


def _explained(residual: Scores, total: float) -> Scores:
    # Constant y: 1 for a perfect prediction, else 0, as scikit-learn has it.
    if total == 0:
        return np.where(residual == 0, 1.0, 0.0)
    return 1.0 - residual / total


def neg_mean_squared_error(held_out: HeldOut) -> Scores:
    """Mean squared error of the test samples, negative so that larger is better."""
    return -(_errors(held_out) ** 2).mean(axis=1)


def neg_root_mean_squared_error(held_out: HeldOut) -> Scores:
    """Root of the mean squared error, negative."""
    return -np.sqrt((_errors(held_out) ** 2).mean(axis=1))


def neg_mean_absolute_error(held_out: HeldOut) -> Scores:
    """Mean absolute error, negative."""
    return -np.abs(_errors(held_out)).mean(axis=1)


CLASSIFIER_METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "roc_auc": roc_auc,
    "neg_log_loss": neg_log_loss,
    **{
        metric.__name__: metric
        for metric in (
            _per_class_metric(kind, average)
            for kind in ("precision", "recall", "f1")
            for average in ("binary", "macro", "micro", "weighted")
        )
    },
}
REGRESSOR_METRICS: dict[str, Metric] = {
    "r2": r2,
    "explained_variance": explained_variance,
    "neg_mean_squared_error": neg_mean_squared_error,
    "neg_root_mean_squared_error": neg_root_mean_squared_error,
    "neg_mean_absolute_error": neg_mean_absolute_error,
}
#: Metrics that ask for predicted classes and nothing else.
CLASSES_ALONE = frozenset(CLASSIFIER_METRICS.values()) - {roc_auc, neg_log_loss}
#: Every metric that is vectorised over spheres, by the name of the scikit-learn scorer that it equals.
METRICS: dict[str, Metric] = {**CLASSIFIER_METRICS, **REGRESSOR_METRICS}


def _has(name: str) -> Callable[[Any], bool]:
    return lambda replay: getattr(replay, name) is not None


class _ReplayClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Answers a scorer with what a decoder said of one sphere; ``X`` is ignored."""

    def __init__(self, held_out: HeldOut) -> None:
        self.classes_ = held_out.classes
        self._predicted = held_out.predicted[0]
        self._decision = None if held_out.decision is None else held_out.decision[0]
        self._probability = None if held_out.probability is None else held_out.probability[0]

    def fit(self, X: Any, y: Any) -> "_ReplayClassifier":
        return self

    def predict(self, X: Any) -> Any:
        return self.classes_[self._predicted]  # type: ignore[index]

    @available_if(_has("_decision"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Any:
        return self._decision

    @available_if(_has("_probability"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        return self._probability


class _ReplayRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    def __init__(self, held_out: HeldOut) -> None:
        self.values_ = held_out.values[0, :, 0]

    def fit(self, X: Any, y: Any) -> "_ReplayRegressor":
        return self

    def predict(self, X: Any) -> Any:
        return self.values_


def score_by_replay(scorer: Any) -> Metric:
    """Make a metric of a scikit-learn scorer (made by ``make_scorer`` or ``get_scorer``), one call a sphere.

    Such scorers see an estimator only through ``predict``, ``decision_function`` and ``predict_proba``, so an object
    that repeats the held-out predictions stands in for the fitted one.
    """

    def metric(held_out: HeldOut) -> Scores:
        scores = np.empty(len(held_out.values))
        nothing = np.empty((len(held_out.y_true), 0))
        whole = np.flatnonzero(~held_out.failed)
        scores[:] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            for centre in whole:
                one = replace(held_out, values=held_out.values[centre : centre + 1])
                stand_in = _ReplayRegressor(one) if held_out.classes is None else _ReplayClassifier(one)
                scores[centre] = scorer(stand_in, nothing, held_out.y_true)
        return scores

    return metric


def score(metric: Metric, held_out: HeldOut, *, any_failed: bool = True) -> Scores:
    """Scores of one fold, (n_centres,), NaN for spheres that failed; which to look for takes as long as accuracy."""
    scores = metric(held_out)
    return np.where(held_out.failed, np.nan, scores) if any_failed else scores
