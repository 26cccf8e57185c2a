"""New images, by decoders that are trained in each sphere on all images of ``fit``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastsl._runtime.cpus import resolve_n_jobs
from fastsl._runtime.launch import kernel_threads, max_threads
from fastsl.analysis import Analysis
from fastsl.collected import SearchResult
from fastsl.folds import check_groups, check_target
from fastsl.images import Grid, Series
from fastsl.kept import Keep
from fastsl.maps import Maps
from fastsl.matrix import standardize_groups
from fastsl.neighbours import Spheres
from fastsl.progress import Progress
from fastsl.search import run_search


@dataclass(frozen=True, eq=False)
class Fitted:
    """What decoders for new images are trained on."""

    X: NDArray[Any]  # (n_voxels, n_samples), standardised if that was asked for
    spheres: Spheres
    inside: NDArray[np.bool_]
    grid: Grid
    analysis: Analysis


class NewImages(Maps):
    """The methods of :class:`fastsl.SearchLight` that take new images."""

    estimator: Any
    n_jobs: int
    standardize: bool
    verbose: int
    fit: Callable[..., Any]
    _fitted: Fitted

    def _decode(self, imgs: Any, groups: Any, y: Any = None) -> SearchResult:
        """Train on all that was fitted and test on new images."""
        check_is_fitted(self)
        fitted = self._fitted
        threads = resolve_n_jobs(self.n_jobs, max_threads())
        series = imgs if isinstance(imgs, Series) else Series(imgs)
        if not series.grid.matches(fitted.grid):
            raise ValueError(
                f"imgs are on another grid ({series.grid}) than the images of fit ({fitted.grid}): resample them first."
            )
        new_groups = check_groups(groups, series.n_volumes)
        analysis = fitted.analysis.transfer(series.n_volumes, y)
        with kernel_threads(threads):
            X_new = series.read(fitted.inside, fitted.X.dtype)
            if self.standardize:
                standardize_groups(X_new, new_groups)
        progress = Progress(self.verbose, f"{type(self).__name__}.decode")
        X = np.concatenate([fitted.X, X_new], axis=1)
        return run_search(X, fitted.spheres, analysis, threads, progress, Keep(predictions=True))

    def predict(self, imgs: Any, groups: Any = None) -> NDArray[Any]:
        """Labels or values of new images, by decoders that are trained in each sphere on all samples of ``fit``.

        Parameters
        ----------
        imgs : image, path, wildcard, or list of these
            New images, on the grid of those of ``fit``.
        groups : array_like, shape (n_new,), optional
            Runs of the new images, within which ``standardize`` works.

        Returns
        -------
        ndarray, shape (n_new, n_centres)
            Labels as in ``y``. Where a sphere failed or is too small: NaN for numbers (which are then floats), an empty
            string for strings, None else.
        """
        kept = self._decode(imgs, groups).kept
        assert kept is not None
        assert kept.predicted is not None
        if self.classes_ is None:
            return kept.predicted.astype(np.float64)
        return _labels(self.classes_, kept.predicted)

    def decision_function(self, imgs: Any, groups: Any = None) -> NDArray[np.float64]:
        """Decision values of new images; parameters as :meth:`predict`.

        Returns
        -------
        ndarray of float64, shape (n_new, n_centres) or (n_new, n_centres, n_classes)
            For two classes larger speaks for the second. Probabilities, where the decoder has no decision function.
            NaN where a sphere failed or is too small.

        Raises
        ------
        AttributeError
            For a regressor: see :meth:`predict`.
        """
        check_is_fitted(self)
        if self.classes_ is None:
            raise AttributeError("a regressor has no decision_function; predict gives its values.")
        kept = self._decode(imgs, groups).kept
        assert kept is not None
        assert kept.decision is not None
        return kept.decision.astype(np.float64)

    def transform(self, imgs: Any, groups: Any = None) -> NDArray[np.float64]:
        """Decision values of new images, or a regressor's predictions: what each sphere says of each image.

        nilearn's ``transform`` fits again, to labels that it makes up; this one does not.
        """
        check_is_fitted(self)
        return self.predict(imgs, groups) if self.classes_ is None else self.decision_function(imgs, groups)

    def fit_transform(self, imgs: Any, y: Any, groups: Any = None) -> NDArray[np.float64]:
        """Fit, and transform the same images: their decision values are not held out, see ``keep_predictions``."""
        return self.fit(imgs, y, groups).transform(imgs, groups)

    def score(self, imgs: Any, y: Any, groups: Any = None) -> Any:
        """Score each sphere's decoder, trained on all samples of ``fit``, on new images.

        Parameters
        ----------
        imgs, groups
            As in :meth:`predict`.
        y : array_like, shape (n_new,)
            Labels or values of the new images.

        Returns
        -------
        ndarray of float64, shape (n_centres,), or dict of these by name
            By ``scoring``. :meth:`to_img` makes an image of it.
        """
        check_is_fitted(self)
        series = imgs if isinstance(imgs, Series) else Series(imgs)
        target = check_target(y, series.n_volumes, classifier=False, name=str(self.estimator))
        if self.classes_ is not None:
            unknown = np.setdiff1d(target, self.classes_)
            if len(unknown):
                raise ValueError(f"y has classes that fit did not see: {unknown[:5].tolist()}.")
        return self._by_name(self._decode(series, groups, target).scores)


def _labels(classes: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """Labels at ``places``; where there is none (-1): NaN, an empty string or None, whatever fits the labels."""
    labels = classes[places]
    absent = places < 0
    if absent.any():
        if classes.dtype.kind in "biuf":
            labels = labels.astype(np.float64)
            labels[absent] = np.nan
        else:
            labels[absent] = "" if classes.dtype.kind in "US" else None
    return labels
