"""Results of all spheres, put together from blocks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsl.kept import Keep, Kept
from fastsl.layout import Layout
from fastsl.outcome import Decoded, Troubles, mean_over_folds, report
from fastsl.permutation.nullmaps import NullMaps, NullResult


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What is known of every sphere.

    Attributes
    ----------
    names : tuple of str
        Of the scores.
    fold_scores : ndarray of float64, shape (n_scores, n_folds, n_centres)
        NaN where a fold could not be scored, or the sphere has too few voxels.
    n_voxels : ndarray of int32, shape (n_centres,)
        Sphere sizes.
    kept : Kept or None
        Predictions and confusion matrices, where they were asked for.
    null : NullResult or None
        Scores under permuted labels, where they were asked for.
    """

    names: tuple[str, ...]
    fold_scores: NDArray[np.float64]
    n_voxels: NDArray[np.int32]
    kept: Kept | None
    null: NullResult | None = None

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Unweighted mean over folds, shape (n_scores, n_centres)."""
        return mean_over_folds(self.fold_scores)


class Collector:
    """Takes the blocks of one analysis, in any order, wherever they were decoded."""

    def __init__(self, layout: Layout, n_centres: int, keep: Keep) -> None:
        self._names, self._min_voxels = layout.names, layout.min_voxels
        self._fold_scores = np.full((len(self._names), len(layout.folds), n_centres), np.nan)
        self._n_voxels = np.zeros(n_centres, np.int32)
        self._kept = _make_kept(keep, layout, n_centres)
        self._null: NullMaps | None = None
        if layout.n_permutations:
            shape = len(self._names), layout.n_permutations, n_centres
            self._null = NullMaps(*shape, maps=keep.null_maps, folder=keep.null_folder)
        self._troubles = Troubles()

    def put(self, start: int, sizes: ArrayLike, decoded: Decoded) -> None:
        """Take the block of the centres from ``start`` on, whose spheres have ``sizes`` voxels."""
        stop = start + decoded.scores.shape[2]
        self._fold_scores[:, :, start:stop] = decoded.scores
        self._n_voxels[start:stop] = sizes
        if self._kept is not None:
            assert decoded.predicted is not None
            assert decoded.decision is not None
            self._kept.put(start, decoded.predicted, decoded.decision)
        if self._null is not None:
            assert decoded.null is not None
            self._null.put(start, mean_over_folds(decoded.scores), decoded.null)
        self._troubles.add(decoded.troubles)

    def leave_out(self, start: int, stop: int) -> None:
        """Let the centres ``start`` to ``stop - 1``, which nobody decoded, have no result: NaN, no prediction."""
        if self._kept is not None:
            self._kept.leave_out(start, stop)
        if self._null is not None:
            self._null.leave_out(start, stop)

    def finish(self, *, is_part: bool = False) -> SearchResult:
        """Everything, after one warning for each kind of trouble; an error when nothing could be done.

        Not so for a part of the centres: all of its spheres may be empty while others are not.
        """
        report(self._troubles, self._n_voxels, self._min_voxels, self._fold_scores, is_part=is_part)
        null = None if self._null is None else self._null.finish()
        return SearchResult(self._names, self._fold_scores, self._n_voxels, self._kept, null)


def _make_kept(keep: Keep, layout: Layout, n_centres: int) -> Kept | None:
    """Room for what is to be kept of every sphere; None: nothing."""
    if not keep:
        return None
    return Kept(keep, layout.folds.test_rows(), layout.y, layout.classes, layout.n_columns, n_centres)
