"""What comes out of a block of spheres, and what to say of spheres and folds that came to nothing."""

import warnings
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Spheres of the first block, whose speed says how large the next can be, and how long a block should take: Ctrl-C
#: waits for it, and progress moves with it.
FIRST_BLOCK, SECONDS_A_BLOCK = 32, 0.25


@dataclass(frozen=True)
class Engine:
    """Which path ran, and why.

    Attributes
    ----------
    path : str
        ``"compiled"`` or ``"general"``.
    estimator : str
        The estimator that was decoded with.
    reason : str
        Why this path.
    scoring : str
        How scores were made.
    """

    path: str
    estimator: str
    reason: str
    scoring: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; scoring: {self.scoring}"


@dataclass
class Troubles:
    """What went wrong in single spheres and folds, counted, for one warning each at the end."""

    too_small: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    folds: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Troubles") -> None:
        """Count what another block met."""
        self.too_small += other.too_small
        self.failed += other.failed
        self.folds += other.folds


@dataclass(frozen=True, eq=False)
class Decoded:
    """Results of a block of spheres.

    Attributes
    ----------
    scores : ndarray of float64, shape (n_scores, n_folds, n_centres)
        NaN where there is none.
    troubles : Troubles
    predicted, decision : ndarray or None
        Held-out predictions, where they were asked for: see :class:`fastsl.kept.Kept`.
    null : ndarray of float32 or None, shape (n_scores, n_permutations, n_centres)
        Means over folds of the scores under permuted labels.
    """

    scores: NDArray[np.float64]
    troubles: Troubles
    predicted: NDArray[np.float32] | NDArray[np.int16] | None = None
    decision: NDArray[np.float32] | None = None
    null: NDArray[np.float32] | None = None


def mean_over_folds(fold_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unweighted mean (..., n_centres) of (..., n_folds, n_centres), fold after fold.

    numpy's own mean of eight folds and more adds them up in another order where there is one centre only.
    """
    n_folds = fold_scores.shape[-2]
    total = fold_scores[..., 0, :].copy()
    for fold in range(1, n_folds):
        total += fold_scores[..., fold, :]
    total /= n_folds
    return total


def stop_if_hopeless(troubles: Troubles, scores: NDArray[np.float64]) -> None:
    """Raise when nothing came of the first block but failures: estimator, labels and score do not go together."""
    if not np.isnan(scores).all():
        return
    if troubles.failed:
        failed = sum(troubles.failed.values())
        raise ValueError(
            f"stopped after the first {failed} spheres: all fits failed. {troubles.failed.most_common(1)[0][0]}"
        )
    if troubles.folds:
        raise ValueError(
            "stopped after the first spheres: no sphere could be scored in any fold. "
            f"{troubles.folds.most_common(1)[0][0]}"
        )


def report(
    troubles: Troubles,
    n_voxels: NDArray[np.int32],
    min_voxels: int,
    scores: NDArray[np.float64],
    *,
    is_part: bool = False,
) -> None:
    """One error when nothing could be done (unless this is a part), else one warning for each kind of trouble."""
    n = len(n_voxels)
    if n and not n_voxels.any() and not is_part:
        raise ValueError(
            f"these spheres are empty: none of the {n} holds a voxel of the mask. Do process_mask_img and mask_img "
            "overlap, and is the radius at least half a voxel?"
        )
    failed = sum(troubles.failed.values())
    if troubles.too_small:
        _warn(
            f"{troubles.too_small} of {n} spheres have fewer than min_voxels={min_voxels} voxels: their score is NaN."
        )
    if failed:
        reasons = "; ".join(f"{count}: {text}" for text, count in troubles.failed.most_common(3))
        _warn(f"{failed} of {n} spheres failed and score NaN ({reasons}).")
    if troubles.folds:
        reasons = "; ".join(text for text, _ in troubles.folds.most_common(3))
        _warn(
            f"{int(np.isnan(scores).any(axis=(0, 2)).sum())} of {scores.shape[1]} folds could not be scored "
            f"everywhere; their scores, and the means over folds, are NaN ({reasons})."
        )


def _warn(text: str) -> None:
    """Warn at the line of the user's call."""
    warnings.warn(text, RuntimeWarning, stacklevel=6)
