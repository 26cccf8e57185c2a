"""What a decoder hands to a metric: predictions for the test samples of one fold, for a block of spheres."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of one fold. Spheres that failed have NaN in ``values``.

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
    classes: NDArray[Any] | None

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Spheres without predictions, shape (n_centres,)."""
        return np.asarray(np.isnan(self.values).any(axis=(1, 2)))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Position of the predicted class in ``classes``, shape (n_centres, n_test); ties go to the first class."""
        if self.values.shape[2] == 1:
            return (self.values[:, :, 0] > 0).astype(np.int64)
        return self.values.argmax(axis=2)
