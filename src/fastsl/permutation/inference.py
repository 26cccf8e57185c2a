"""From scores under permuted labels to p values: counts, maxima, and z against the null. Knows nothing of images."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Values of a null that are read at once: 64 MB of float32.
_VALUES_AT_ONCE = 1 << 24


def p_uncorrected(count: ArrayLike, n: int) -> NDArray[np.float64]:
    """Permutation p value of each centre: p = (r + 1) / (n + 1).

    The observed labelling is one of the n + 1 that could have been, so that p is never 0 and the test is exact (Phipson
    and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9:39).

    Parameters
    ----------
    count : array_like
        r, of each centre: the permutations whose score is at least the observed one. NaN stays NaN.
    n : int
        Number of permutations.

    Returns
    -------
    ndarray of float64, shape of ``count``

    Raises
    ------
    ValueError
        For fewer than one permutation, and counts that are not between 0 and n.

    Examples
    --------
    >>> p_uncorrected([0, 49, 999], 999)
    array([0.001, 0.05 , 1.   ])
    """
    r = np.asarray(count, np.float64)
    if n < 1:
        raise ValueError(f"n must be at least 1 permutation, got {n}.")
    outside = r[(r < 0) | (r > n)]
    if outside.size:
        raise ValueError(f"count must lie between 0 and the number of permutations, n={n}, got {outside[0]:g}.")
    return (r + 1.0) / (n + 1.0)


def p_fwe(observed: ArrayLike, null_max: ArrayLike) -> NDArray[np.float64]:
    """Family-wise p value of each centre or cluster, by the maximum statistic: p = (r + 1) / (n + 1).

    r counts the permutations whose largest value anywhere is at least the observed value here (Nichols and Holmes 2002,
    Human Brain Mapping 15:1, section "Single threshold test"). Values in every place must mean the same.

    Parameters
    ----------
    observed : array_like
        Larger is more significant. NaN stays NaN.
    null_max : array_like, shape (n,)
        Largest value of each permuted map. NaN, from a map without any value, counts as a value that nothing exceeds.

    Returns
    -------
    ndarray of float64, shape of ``observed``

    Raises
    ------
    ValueError
        For a null that is not one-dimensional or is empty.

    Notes
    -----
    Where ``null_max`` is float32, ``observed`` is rounded to float32 first: else an accuracy of 0.7 would look larger
    than the same accuracy in a permutation (0.69999999), and ties, which are frequent, would be lost.

    Examples
    --------
    >>> p_fwe([0.9, 0.7, 0.5], [0.6, 0.7, 0.65, 0.55])
    array([0.2, 0.4, 1. ])
    """
    null = np.asarray(null_max)
    if null.ndim != 1 or not len(null):
        raise ValueError(f"null_max must hold one value a permutation, shape (n_permutations,), got {null.shape}.")
    values = as_precise_as(observed, null.dtype)
    at_least = len(null) - np.searchsorted(np.sort(null), values, side="left")
    return np.where(np.isnan(values), np.nan, p_uncorrected(at_least, len(null)))


def as_precise_as(values: ArrayLike, dtype: Any) -> NDArray[np.float64]:
    """Round ``values`` to a narrower type of floats, so that what is equal there is equal; as float64."""
    given = np.asarray(values, np.float64)
    narrow = np.dtype(dtype).kind == "f"
    return given.astype(dtype).astype(np.float64) if narrow else given


def null_moments(null: Any, observed: ArrayLike | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each centre over the permutations, and over the observed map where it is given.

    Parameters
    ----------
    null : array_like, shape (n_permutations, n_centres)
        Scores under permuted labels; may be a memory map, which is read once, some rows at a time.
    observed : array_like, shape (n_centres,), optional
        One more map. With it, the n + 1 maps are treated alike, which keeps a test on z exact for any n.

    Returns
    -------
    mean, sd : ndarray of float64, shape (n_centres,)
        sd has n - 1 in its denominator, n being the number of maps. NaN where a map is NaN.

    Raises
    ------
    ValueError
        For a null that is not two-dimensional, fewer than two maps, an observed map of another length.

    Examples
    --------
    >>> null_moments(np.array([[0.4, 0.5], [0.6, 0.5]]), observed=[0.8, 0.5])
    (array([0.6, 0.5]), array([0.2, 0. ]))
    """
    n_permutations, n_centres = check_null(null)
    batches: Iterable[NDArray[Any]] = null_batches(null, max(1, _VALUES_AT_ONCE // max(1, n_centres)))
    if observed is not None:
        batches = chain(batches, [check_map(observed, null)[None]])
    n, mean, squares = 0, np.zeros(n_centres), np.zeros(n_centres)
    for batch in batches:
        for row in batch:
            # Welford's update: a score that never changes leaves exactly 0.
            n += 1
            change = row - mean
            mean += change / n
            squares += change * (row - mean)
    if n < 2:
        raise ValueError(f"a standard deviation needs at least two maps, got {n_permutations} permutation alone.")
    return mean, np.sqrt(squares / (n - 1))


def usable_moments(mean: ArrayLike, sd: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moments that make z = (s - mean) / sd 0 where the null does not vary, or is NaN: there sd becomes infinite.

    A null that varies by no more than float32's rounding of its mean does not vary.
    """
    m, s = np.array(mean, np.float64), np.array(sd, np.float64)
    still = ~((s > np.finfo(np.float32).eps * np.abs(m)) & np.isfinite(m) & np.isfinite(s))
    m[still], s[still] = 0.0, np.inf
    return m, s


def z_scores(scores: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> NDArray[np.float64]:
    """Scores of a map against the null of each centre: z = (s - mean) / sd.

    0 where the null does not vary (sd is 0, within float32's rounding of the mean, or NaN); NaN where the score is NaN
    or infinite.

    Examples
    --------
    >>> z_scores([0.9, 0.7, np.nan], mean=[0.5, 0.5, 0.5], sd=[0.1, 0.0, 0.1])
    array([ 4.,  0., nan])
    """
    s = np.asarray(scores, np.float64)
    m, d = usable_moments(mean, sd)
    return (np.where(np.isfinite(s), s, np.nan) - m) / d


def check_null(null: Any) -> tuple[int, int]:
    """Shape (n_permutations, n_centres) of a null, without reading it."""
    shape = np.shape(null)
    if len(shape) != 2 or not shape[0]:
        raise ValueError(f"null must have shape (n_permutations, n_centres), a map in each row, got {shape}.")
    return shape[0], shape[1]


def check_map(observed: ArrayLike, null: Any) -> NDArray[np.float64]:
    """Return an observed map that has a value for each centre of the null, as precise as the null's."""
    values = as_precise_as(observed, np.asarray(null[:1]).dtype)
    n_centres = np.shape(null)[1]
    if values.shape != (n_centres,):
        raise ValueError(f"the observed map has shape {values.shape} but the null has {n_centres} centres.")
    return values


def null_batches(null: Any, rows: int) -> Iterator[NDArray[np.float32] | NDArray[np.float64]]:
    """Copies of some rows of a null at a time: in C order, native and writeable, float32 where that holds them."""
    for start in range(0, np.shape(null)[0], rows):
        batch = np.asarray(null[start : start + rows])
        narrow = batch.dtype.kind == "f" and batch.dtype.itemsize <= 4
        yield np.array(batch, np.float32 if narrow else np.float64, order="C", subok=False)
