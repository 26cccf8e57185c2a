"""The data matrix (n_voxels, n_samples): what is done to it before and around decoding, in place."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Values that are worked on at a time. A second thread would save a third of 0.2 s in a whole brain, and each takes
#: 8 MB; with an eighth of these values numpy's calls are so short that threads wait for the GIL, and it saves nothing.
_VALUES = 2**19
#: A deviation of this part of the mean is the rounding of float64: float32 that vary at all have more than 1e-9.
_ROUNDING = 1e-12


def _row_blocks(X: NDArray[Any]) -> Iterator[slice]:
    """Blocks of voxels. Their sums are made of float64 in C order: those of a voxel then depend on no other's.

    numpy adds in another order when it has to convert on the way, or finds the samples further apart than the voxels.
    """
    step = max(1, _VALUES // max(1, X.shape[1]))
    for start in range(0, len(X), step):
        yield slice(start, min(start + step, len(X)))


def zero_non_finite(X: NDArray[Any], name: str) -> None:
    """Set NaN and infinite values to 0 in place, with one warning that counts them."""
    finite = np.isfinite(X)
    if not finite.all():
        X[~finite] = 0
        warnings.warn(
            f"{name} has {np.count_nonzero(~finite)} NaN or infinite values (of {X.size}); they are taken as 0.",
            RuntimeWarning,
            stacklevel=3,
        )


def standardize_groups(X: NDArray[Any], groups: NDArray[Any] | None) -> None:
    """Z-score each voxel of X (n_voxels, n_samples) within each group, in place; constant voxels become 0."""
    labels = np.zeros(X.shape[1]) if groups is None else groups
    columns = [_as_slice(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    for block in _row_blocks(X):
        rows = X[block]
        for chosen in columns:
            values = rows[:, chosen].astype(np.float64, order="C")
            mean = values.mean(axis=1)
            values -= mean[:, None]
            spread = _root_mean_square(values)
            spread[spread <= _ROUNDING * np.abs(mean)] = np.inf
            values /= spread[:, None]
            rows[:, chosen] = values


def _as_slice(places: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Places that follow each other, as runs do, as a slice, which numpy copies in half the time."""
    first, last = places[0], places[-1]
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def _root_mean_square(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row; of deviations from a mean that is their standard deviation, in one pass instead of std's four."""
    found: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", values, values) / values.shape[1])
    return found


def subtract_means(X: NDArray[np.float32]) -> NDArray[np.float64]:
    """Subtract each voxel's mean in place where it exceeds 8 standard deviations; return what was subtracted.

    Raw fMRI has means some hundred times its signal, and products of such numbers lose it. The mean is rounded to
    float32 first: the difference of two float32 within a factor of two of each other is exact (Sterbenz), and beyond 8
    standard deviations all samples but outliers are within it, so raw data lose nothing. Smaller means cost products of
    float64 two digits at most, and stay, as standardised data do.
    """
    means = np.zeros(len(X))
    for block in _row_blocks(X):
        values = X[block].astype(np.float64)
        mean = values.mean(axis=1)
        values -= mean[:, None]
        shift = np.where(np.abs(mean) > 8.0 * _root_mean_square(values), mean, 0.0).astype(np.float32)
        if shift.any():  # memory of zeros that nobody writes is none: 29 MB of 3.64 million voxels
            X[block] -= shift[:, None]
            means[block] = shift
    return means


@contextmanager
def means_subtracted(X: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    """Shift X as :func:`subtract_means` for as long as the context lasts, then shift it back."""
    means = subtract_means(X)
    try:
        yield means
    finally:
        for block in _row_blocks(X):
            if means[block].any():
                X[block] += means[block, None].astype(np.float32)
