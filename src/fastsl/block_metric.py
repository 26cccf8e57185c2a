"""Scores of your own that are computed for all spheres of a block at once."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl.predictions import HeldOut, ask


class BlockMetric:
    """A function of held-out predictions, as a value of ``scoring``. Use it as a decorator.

    Compiled decoders hand it the predictions of a whole block of spheres; for any other estimator it is a scorer
    ``metric(estimator, X, y)`` as scikit-learn has them.

    Parameters
    ----------
    function : callable
        ``function(held_out)`` from a :class:`fastsl.predictions.HeldOut` to an array (n_centres,); larger is better.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsl.extend import BlockMetric
    >>> @BlockMetric
    ... def mean_decision(held_out):
    ...     return held_out.decision.mean(axis=1)
    >>> from fastsl import search_light
    >>> from scipy import sparse
    >>> X = np.random.default_rng(0).standard_normal((20, 3))
    >>> scores = search_light(X, np.arange(20) % 2, "svc", sparse.eye(3), scoring=mean_decision, n_jobs=1)
    >>> scores.shape
    (3,)
    """

    def __init__(self, function: Callable[[HeldOut], NDArray[Any]]) -> None:
        self.function = function
        functools.update_wrapper(self, function)

    def of_block(self, held_out: HeldOut) -> NDArray[np.float64]:
        """Scores (n_centres,) of one fold."""
        scores = np.asarray(self.function(held_out), dtype=np.float64)
        n_centres = len(held_out.values)
        if scores.shape != (n_centres,):
            raise ValueError(
                f"the metric {getattr(self, '__name__', self.function)!r} gave shape {scores.shape} for {n_centres} "
                f"spheres; it must give ({n_centres},), one score each."
            )
        return scores

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Score a fitted estimator, as a scikit-learn scorer does."""
        return float(self.of_block(ask(estimator, np.asarray(X), np.asarray(y)))[0])
