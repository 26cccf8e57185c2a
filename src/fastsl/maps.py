"""Results of all centres as attributes: vectors, volumes, images. A fitted ``SearchLight`` has them, and a merge."""

from functools import cached_property
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fastsl.collected import SearchResult
from fastsl.images import map_image
from fastsl.layout import Layout
from fastsl.outcome import Engine
from fastsl.significance import PermutationMaps


class Maps(PermutationMaps):
    """Results by the names of :class:`fastsl.SearchLight`, where they are described."""

    process_mask_: NDArray[np.bool_]
    process_mask_affine_: NDArray[np.float64]
    n_elements_: int
    engine_: Engine
    classes_: NDArray[Any] | None
    n_voxels_: NDArray[np.int32]
    fold_scores_: Any
    masked_scores_: Any
    predictions_: NDArray[Any] | None
    decisions_: NDArray[Any] | None
    confusion_: NDArray[Any] | None
    prediction_samples_: NDArray[np.int64] | None
    prediction_folds_: NDArray[np.int64] | None

    def _fill(
        self,
        layout: Layout,
        result: SearchResult,
        process_mask: NDArray[np.bool_],
        affine: NDArray[np.float64],
    ) -> None:
        """Take the results of the centres in ``process_mask``."""
        self._names = layout.names if layout.several else None
        self.process_mask_ = process_mask
        self.process_mask_affine_ = affine
        self.n_elements_ = len(result.n_voxels)
        self.engine_ = layout.engine
        self.classes_ = layout.classes
        self.n_voxels_ = result.n_voxels
        self.fold_scores_ = self._by_name(result.fold_scores)
        self.masked_scores_ = self._by_name(result.scores)
        self.__dict__.pop("scores_", None)  # those of an earlier fit
        kept = result.kept
        self.predictions_ = None if kept is None else kept.predicted
        self.decisions_ = None if kept is None else kept.decision
        self.confusion_ = None if kept is None else kept.confusion
        rows = None if self.predictions_ is None else layout.folds.test_rows()
        self.prediction_samples_ = None if rows is None else rows.samples
        self.prediction_folds_ = None if rows is None else rows.folds

    @cached_property
    def scores_(self) -> Any:
        """The scores on the grid of the process mask, zeros outside, or a dict of these by name.

        Made when they are first asked for: of a 0.8 mm brain they take 134 MB, and a command line can do without the
        images by then.
        """
        self._check_filled()
        if isinstance(self.masked_scores_, dict):
            return {name: self._volume(scores) for name, scores in self.masked_scores_.items()}
        return self._volume(self.masked_scores_)

    def _volume(self, values: NDArray[Any]) -> NDArray[Any]:
        volume = np.zeros(self.process_mask_.shape)
        volume[self.process_mask_] = values
        return volume

    def _check_filled(self) -> None:
        """Raise where there are no results yet."""

    def to_img(self, values: Any, outside: float = 0.0) -> nib.Nifti1Image:
        """Put values of the centres on the volume: a 3-D image of (n_centres,), a 4-D one of (n, n_centres).

        Voxels that are no centres get the value ``outside``: 0 for scores, 1 for p values.
        """
        self._check_filled()
        array = np.asarray(values)
        if array.ndim not in (1, 2) or array.shape[-1] != self.n_elements_:
            raise ValueError(
                f"values must have shape ({self.n_elements_},) or (n, {self.n_elements_}), one a centre, got "
                f"{array.shape}."
            )
        return map_image(array.T, self.process_mask_, self.process_mask_affine_, outside)

    @property
    def scores_img_(self) -> Any:
        """The scores as an image on the grid of the process mask, or a dict of images by name."""
        self._check_filled()
        if isinstance(self.masked_scores_, dict):
            return {name: self.to_img(scores) for name, scores in self.masked_scores_.items()}
        return self.to_img(self.masked_scores_)

    @property
    def n_voxels_img_(self) -> nib.Nifti1Image:
        """Sphere sizes as an image on the grid of the process mask."""
        self._check_filled()
        return map_image(self.n_voxels_, self.process_mask_, self.process_mask_affine_)
