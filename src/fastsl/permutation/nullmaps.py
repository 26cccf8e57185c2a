"""What is kept of the scores under permuted labels: counts, maxima, moments, and the maps where they are asked for."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl.permutation.inference import p_fwe, p_uncorrected, z_scores
from fastsl.record import create_array, reserve_room

#: Maps that take more are written to a file, in ``keep_null`` or in the system's folder for temporary files.
_IN_MEMORY = 64 * 2**20


@dataclass(frozen=True, eq=False)
class NullResult:
    """Observed scores against those under permuted labels. Scores are compared as float32, in which equals are equal.

    Attributes
    ----------
    reached : ndarray of float64, shape (n_scores, n_centres)
        Number of permutations whose score is at least the observed one; NaN where that is NaN.
    largest : ndarray of float32, shape (n_scores, n_permutations)
        Largest score of each permuted map, among centres that have an observed one; infinite where one of them is not
        defined, NaN where there are none.
    mean, sd : ndarray of float64, shape (n_scores, n_centres)
        Over the n + 1 maps, the observed one among them.
    maps : ndarray of float32, shape (n_scores, n_permutations, n_centres), or None
        In memory or in a file.
    """

    reached: NDArray[np.float64]
    largest: NDArray[np.float32]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    maps: NDArray[np.float32] | None

    @property
    def n_permutations(self) -> int:
        """Number of permuted maps."""
        return self.largest.shape[1]

    @property
    def p(self) -> NDArray[np.float64]:
        """Uncorrected p values, (r + 1) / (n + 1), shape (n_scores, n_centres)."""
        return p_uncorrected(self.reached, self.n_permutations)

    def p_fwe(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Family-wise p values of observed ``scores`` (n_scores, n_centres), by the largest of each permuted map."""
        return np.stack([p_fwe(one, largest) for one, largest in zip(scores, self.largest, strict=True)])

    def z(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Observed ``scores`` (n_scores, n_centres) in deviations from the mean of each centre's null."""
        return np.stack([z_scores(*one) for one in zip(scores, self.mean, self.sd, strict=True)])


class NullMaps:
    """Takes the permuted scores of blocks of spheres, in any order."""

    def __init__(
        self, n_scores: int, n_permutations: int, n_centres: int, *, maps: bool = False, folder: Path | None = None
    ) -> None:
        self._reached = np.full((n_scores, n_centres), np.nan)
        self._largest = np.full((n_scores, n_permutations), np.nan, np.float32)
        self._mean, self._sd = np.full((2, n_scores, n_centres), np.nan)
        self._undefined = 0
        self._spheres, self._permutations = np.zeros(n_centres, bool), np.zeros(n_permutations, bool)
        self._maps = _allocate((n_scores, n_permutations, n_centres), folder) if maps or folder is not None else None

    def put(self, start: int, scores: NDArray[np.float64], null: NDArray[np.float32]) -> None:
        """Take the centres from ``start`` on: observed (n_scores, n) and permuted (n_scores, n_permutations, n)."""
        centres = slice(start, start + scores.shape[1])
        observed = scores.astype(np.float32)
        # What is not defined under permuted labels counts as reaching every score, here and in the maximum: p is never
        # too small for it. A centre without an observed score is nobody's competitor.
        reached = (~(null < observed[:, None])).sum(axis=1).astype(np.float64)
        reached[np.isnan(observed)] = np.nan
        self._reached[:, centres] = reached
        known = ~np.isnan(observed)[:, None]
        self._count(centres, np.isnan(null) & known)
        rivals = np.where(known, np.where(np.isnan(null), np.float32(np.inf), null), np.float32(np.nan))
        self._largest = np.fmax(self._largest, np.fmax.reduce(rivals, axis=2))
        self._mean[:, centres], self._sd[:, centres] = _moments(observed, null)
        if self._maps is not None:
            self._maps[:, :, centres] = null

    def _count(self, centres: slice, undefined: NDArray[np.bool_]) -> None:
        """Note which spheres and permutations have scores that are not defined."""
        self._undefined += int(undefined.sum())
        self._spheres[centres] = undefined.any(axis=(0, 1))
        self._permutations |= undefined.any(axis=(0, 2))

    def leave_out(self, start: int, stop: int) -> None:
        """Let the centres ``start`` to ``stop - 1``, which nobody decoded, have no permuted scores."""
        if self._maps is not None:
            self._maps[:, :, start:stop] = np.nan

    def finish(self) -> NullResult:
        """Everything, after a warning for what was not defined."""
        if self._undefined:
            warnings.warn(
                f"{self._undefined} scores under permuted labels are not defined, in {self._spheres.sum()} of "
                f"{self._spheres.size} spheres and {self._permutations.sum()} of {self._permutations.size} "
                "permutations. Each counts as reaching the observed score, uncorrected and family-wise; z is 0 in such "
                "spheres. Either a fold of permuted labels cannot be scored (permute within groups, or take folds that "
                "keep the labels' balance), or a solver did not come to an end (standardise the data).",
                RuntimeWarning,
                stacklevel=5,
            )
        return NullResult(self._reached, self._largest, self._mean, self._sd, self._maps)


def _moments(
    observed: NDArray[np.float32], null: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (n_scores, n) over all maps; a score that never changes deviates by exactly 0."""
    first = observed.astype(np.float64)
    n = null.shape[1] + 1
    # Permutations last and without gaps: numpy then adds up each sphere by itself. Along another axis the order of a
    # sum depends on how many spheres there are.
    shifted = np.array(np.moveaxis(null, 1, 2), np.float64, order="C")
    shifted -= first[:, :, None]
    mean = shifted.sum(axis=2) / n
    shifted -= mean[:, :, None]
    squares = np.square(shifted, out=shifted).sum(axis=2) + mean**2
    return first + mean, np.sqrt(squares / (n - 1))


def _allocate(shape: tuple[int, ...], folder: Path | None) -> NDArray[np.float32]:
    """Memory, or a file: ``null.npy`` in a folder, else one that vanishes with this process."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        advice = "they are the permuted maps; make room, or give keep_null (--out) another folder"
        return create_array(folder / "null.npy", np.float32, shape, advice)
    n_bytes = 4 * int(np.prod(shape))
    if n_bytes <= _IN_MEMORY:
        return np.empty(shape, np.float32)
    file: Any
    with tempfile.TemporaryFile(prefix="fastsl-null-") as file:  # the map keeps what it needs of it
        reserve_room(
            file.fileno(),
            n_bytes,
            tempfile.gettempdir(),
            "they are the permuted maps, which TFCE and clusters need; set TMPDIR to a folder that has, or keep_null",
        )
        return np.memmap(file, np.float32, "w+", shape=shape)
