"""The correlation classifier: which class's mean pattern a pattern correlates with best."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data


class CorrelationClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Predict the class whose mean training pattern correlates best with a pattern, over voxels.

    .. math:: \hat y(x) = \arg\max_k \operatorname{corr}(x - \mu, m_k - \mu)

    with :math:`m_k` the mean pattern of class k over its training samples, :math:`\mu` the mean of the :math:`m_k`
    (each class counts the same; zero with ``centre=False``), and corr Pearson's correlation over voxels. A tie goes to
    the first class.

    Parameters
    ----------
    centre : bool, default=True
        Whether to subtract :math:`\mu`, the pattern that all classes share, from every voxel. Without it raw
        intensities, whose voxels have means of their own, correlate near 1 with everything.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    patterns_ : ndarray of float64, shape (n_classes, n_voxels)
        :math:`m_k - \mu`.
    centre_ : ndarray of float64, shape (n_voxels,)
        :math:`\mu`.

    Raises
    ------
    ValueError
        From ``fit``: for fewer than two classes or voxels.

    Notes
    -----
    The split-half analysis of Haxby et al. (2001, Science 293:2425) with any folds and any number of classes. Compiled
    in a searchlight, where a sphere in which some pattern does not vary over voxels scores NaN.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [3.0, 1.0, 1.0], [1.0, 0.0, 3.0]])
    >>> classifier = CorrelationClassifier().fit(X, ["face", "house", "face", "house"])
    >>> classifier.predict([[9.0, 5.0, 4.0]])
    array(['face'], dtype='<U5')
    """

    def __init__(self, *, centre: bool = True) -> None:
        self.centre = centre

    def fit(self, X: ArrayLike, y: ArrayLike) -> "CorrelationClassifier":
        """Take the mean pattern of each class; X (n_samples, n_voxels), y (n_samples,)."""
        samples, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_features=2)
        check_classification_targets(labels)
        self.classes_, code = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"CorrelationClassifier needs two classes or more, got one class: {self.classes_.tolist()[0]!r}."
            )
        means = np.stack([samples[code == k].mean(axis=0, dtype=np.float64) for k in range(len(self.classes_))])
        self.centre_: NDArray[np.float64] = means.mean(axis=0) if self.centre else np.zeros(means.shape[1])
        self.patterns_: NDArray[np.float64] = means - self.centre_
        return self

    def correlations(self, X: ArrayLike) -> NDArray[np.float64]:
        """Correlation of each sample with each class's pattern, shape (n_samples, n_classes); NaN where undefined."""
        check_is_fitted(self)
        samples: NDArray[np.float64] = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        with np.errstate(invalid="ignore"):
            return np.asarray(_unit(samples - self.centre_) @ _unit(self.patterns_).T)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Correlations (n_samples, n_classes); of two classes the second's less the first's, (n_samples,)."""
        found = self.correlations(X)
        return found[:, 1] - found[:, 0] if len(self.classes_) == 2 else found

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class of each sample, shape (n_samples,)."""
        best = self.correlations(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # of two voxels, as scikit-learn's checks have it
        return tags


def _unit(patterns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows less their mean, of length 1; NaN for rows that do not vary."""
    deviations = patterns - patterns.mean(axis=1, keepdims=True)
    return np.asarray(deviations / np.linalg.norm(deviations, axis=1, keepdims=True))
