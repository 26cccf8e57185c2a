"""What a decoder hands to a metric: predictions for the test samples of one fold, for a block of spheres.

Decoders differ in what their numbers mean; a metric asks for classes (``predicted``), for something to rank by
(``decision``) or for probabilities (``probability``), and each kind of decoder answers what scikit-learn's would.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax
from sklearn.base import is_classifier


def first_largest(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """``values.argmax(axis=2)``, 0 where a value is NaN; column by column, five times as fast for few columns."""
    if values.shape[2] == 2:
        return (values[:, :, 1] > values[:, :, 0]).astype(np.int64)
    largest = values[:, :, 0]
    place = np.zeros(values.shape[:2], np.int64)
    for column in range(1, values.shape[2]):
        larger = values[:, :, column] > largest
        place[larger] = column
        if column + 1 < values.shape[2]:
            largest = np.where(larger, values[:, :, column], largest)
    return place


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predicted values of a regressor, or decision values of a classifier without probabilities.

    Spheres that failed have NaN in ``values``.

    Attributes
    ----------
    y_true : ndarray, shape (n_test,)
        Labels or values of the test samples, as given by the user.
    values : ndarray of float64, shape (n_centres, n_test, n_columns)
        Predicted values of a regressor (one column); decision values of a classifier: one column for two classes
        (positive: the second), else one a class.
    classes : ndarray or None
        Classes of the training samples, sorted; None for a regressor.
    """

    y_true: NDArray[Any]
    values: NDArray[np.float64]
    classes: NDArray[Any] | None = None

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Spheres without predictions, shape (n_centres,)."""
        return np.asarray(np.isnan(self.values).any(axis=(1, 2)))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the predicted class in ``classes``, shape (n_centres, n_test); ties go to the first class."""
        if self.values.shape[2] == 1:
            return (self.values[:, :, 0] > 0).astype(np.int64)
        return first_largest(self.values)

    @property
    def decision(self) -> NDArray[np.float64] | None:
        """What ``decision_function`` returns, (n_centres, n_test) or (n_centres, n_test, n_classes); None: has none."""
        return self.values[:, :, 0] if self.values.shape[2] == 1 else self.values

    @property
    def probability(self) -> NDArray[np.float64] | None:
        """What ``predict_proba`` returns, shape (n_centres, n_test, n_classes); None where the decoder has none."""
        return None


@dataclass(frozen=True, eq=False)
class Answers(HeldOut):
    """What a fitted scikit-learn estimator said of the test samples; of one sphere, so ``n_centres`` is 1."""

    predicted: NDArray[np.int64] | None = None  # type: ignore[assignment]
    decision: NDArray[np.float64] | None = None
    probability: NDArray[np.float64] | None = None


def ask(fitted: Any, X: NDArray[Any], y_true: NDArray[Any]) -> HeldOut:
    """Predictions of a fitted estimator for the samples X (n_test, n_voxels)."""
    labels = fitted.predict(X)
    if not is_classifier(fitted):
        return HeldOut(y_true, np.asarray(labels, dtype=np.float64).reshape(1, -1, 1))
    decision = fitted.decision_function(X)[None] if hasattr(fitted, "decision_function") else None
    probability = fitted.predict_proba(X)[None] if hasattr(fitted, "predict_proba") else None
    values = np.zeros((1, len(X), 1))
    return Answers(
        y_true, values, fitted.classes_, np.searchsorted(fitted.classes_, labels)[None], decision, probability
    )


class LogOdds(HeldOut):
    """Decision values that are log-odds: logistic regression, discriminant analysis.

    Probabilities: 1 / (1 + exp(-f)) for two classes, exp(f_k) / sum_j exp(f_j) for more.
    """

    @property
    def probability(self) -> NDArray[np.float64]:
        """Of each class, shape (n_centres, n_test, n_classes)."""
        if self.values.shape[2] == 1:
            second = expit(self.values)
            return np.concatenate([1.0 - second, second], axis=2)
        return softmax(self.values, axis=2)


class ClassesAlone(HeldOut):
    """What predicts, of a decoder that was asked for classes and nothing else: it takes less to compute."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the class, the only one where a fold was trained on one."""
        if self.classes is not None and len(self.classes) == 1:
            return np.zeros(self.values.shape[:2], np.int64)
        return super().predicted

    @property
    def decision(self) -> None:
        """None: was not asked for."""
        return


class LogRatios(HeldOut):
    """Joint log-likelihood of the first class, then how much larger those of the others are: naive Bayes.

    Has no decision function. The first has float32's digits only: alone it means nothing.
    """

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the likeliest class, the only one where a fold was trained on one."""
        ratios = self.values.copy()
        ratios[:, :, 0] = 0.0
        return first_largest(ratios)

    @property
    def decision(self) -> None:
        """None: naive Bayes of scikit-learn has probabilities only."""
        return

    @property
    def probability(self) -> NDArray[np.float64]:
        """Of each class, shape (n_centres, n_test, n_classes), as scikit-learn rounds: near 1 that decides on ties."""
        joint = self.values.copy()
        joint[:, :, 1:] += joint[:, :, :1]
        return np.asarray(np.exp(joint - logsumexp(joint, axis=2, keepdims=True)))


class LogLikelihoods(HeldOut):
    """Joint log-likelihood of every class, one column each even for two. Has no decision function."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the likeliest class, the only one where a fold was trained on one."""
        return first_largest(self.values)

    @property
    def decision(self) -> None:
        """None: naive Bayes of scikit-learn has probabilities only."""
        return

    @property
    def probability(self) -> NDArray[np.float64]:
        """Of each class, shape (n_centres, n_test, n_classes), as scikit-learn rounds: near 1 that decides on ties."""
        return np.asarray(np.exp(self.values - logsumexp(self.values, axis=2, keepdims=True)))


class NearestMeans(HeldOut):
    """Two columns a class, of two classes the differences: what predicts, then discriminant scores.

    Larger is nearer.
    """

    @property
    def _scores(self) -> NDArray[np.float64]:
        return self.values[:, :, self.values.shape[2] // 2 :]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the nearest class; the first of those that tie."""
        if self.values.shape[2] == 2:
            return (self.values[:, :, 0] > 0).astype(np.int64)
        return first_largest(self.values[:, :, : self.values.shape[2] // 2])

    @property
    def decision(self) -> NDArray[np.float64]:
        """Discriminant scores, their difference for two classes."""
        scores = self._scores
        return scores[:, :, 0] if scores.shape[2] == 1 else scores

    @property
    def probability(self) -> NDArray[np.float64]:
        """Of each class, shape (n_centres, n_test, n_classes)."""
        scores = self._scores
        if scores.shape[2] == 1:
            return np.concatenate([expit(-scores), expit(scores)], axis=2)
        return softmax(scores, axis=2)


class Similarities(HeldOut):
    """How similar a sample is to each class, one column each even for two: correlations. No probabilities."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the most similar class; the first of those that tie."""
        return first_largest(self.values)

    @property
    def decision(self) -> NDArray[np.float64]:
        """Similarities; of two classes their difference."""
        return self.values[:, :, 1] - self.values[:, :, 0] if self.values.shape[2] == 2 else self.values


class Constant(HeldOut):
    """One column with the position of the predicted class, then log probabilities of all classes: dummies."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the predicted class."""
        last = self.values.shape[2] - 2
        return np.clip(np.nan_to_num(self.values[:, :, 0]), 0, last).astype(np.int64)

    @property
    def decision(self) -> None:
        """None: scikit-learn's dummies have probabilities only."""
        return

    @property
    def probability(self) -> NDArray[np.float64]:
        """Of each class, shape (n_centres, n_test, n_classes)."""
        return softmax(self.values[:, :, 1:], axis=2)


class Votes(HeldOut):
    """Decision values of one classifier for each pair of classes, as libsvm has them.

    Columns are the pairs (0, 1), (0, 2), ..., (1, 2), ...; positive votes for the first of the pair. With two classes
    the sign is turned: positive is the second class, as in every binary decision function.
    """

    #: Whether ``decision`` has one column a class, or one a pair.
    one_a_class = True

    @property
    def _votes(self) -> NDArray[np.int64]:
        n_classes = _count_of_pairs(self.values.shape[2])
        votes = np.zeros((*self.values.shape[:2], n_classes), np.int64)
        for column, (i, j) in enumerate(zip(*np.triu_indices(n_classes, 1), strict=True)):
            first = self.values[:, :, column] > 0
            votes[:, :, i] += first
            votes[:, :, j] += ~first
        return votes

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the class with most votes; the first of those that tie."""
        if self.values.shape[2] == 1:
            return (self.values[:, :, 0] > 0).astype(np.int64)
        return self._votes.argmax(axis=2)

    @property
    def decision(self) -> NDArray[np.float64]:
        """Votes, with ties broken by the sum of the pairwise values squeezed into (-1/3, 1/3)."""
        if self.values.shape[2] == 1 or not self.one_a_class:
            return self.values[:, :, 0] if self.values.shape[2] == 1 else self.values
        votes = self._votes
        confidence = np.zeros(votes.shape)
        for column, (i, j) in enumerate(zip(*np.triu_indices(votes.shape[2], 1), strict=True)):
            confidence[:, :, i] += self.values[:, :, column]
            confidence[:, :, j] -= self.values[:, :, column]
        return votes + confidence / (3.0 * (np.abs(confidence) + 1.0))


class VotesOfPairs(Votes):
    """As :class:`Votes`, with the pairs themselves as decision values: ``decision_function_shape="ovo"``."""

    one_a_class = False


def _count_of_pairs(n_pairs: int) -> int:
    """Number of classes with so many pairs: n (n - 1) / 2 = n_pairs."""
    return round((1 + (1 + 8 * n_pairs) ** 0.5) / 2)
