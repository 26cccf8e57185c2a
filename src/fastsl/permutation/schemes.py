"""Targets whose entries were exchanged as the null hypothesis allows: one row a permutation, for all spheres."""

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from fastsl.folds import check_groups, check_target

SCHEMES = ("within_groups", "whole_groups", "free", "sign_flip")


def permuted_targets(
    y: ArrayLike,
    n_permutations: int,
    scheme: str | ArrayLike = "within_groups",
    groups: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = 0,
    *,
    classifier: bool = True,
) -> NDArray[Any]:
    """Targets under permutation, for a test of the hypothesis that y has nothing to do with the images.

    Parameters
    ----------
    y : array_like, shape (n_samples,)
        Labels of a classifier, values of a regressor.
    n_permutations : int
        How many.
    scheme : {"within_groups", "whole_groups", "free", "sign_flip"} or array_like of int
        What may be exchanged:

        - "within_groups": entries of y among the samples of the same group (run); all samples where there are no
          groups. Each group keeps its entries, so that folds of whole groups stay balanced.
        - "whole_groups": the entries of a whole group for those of another, in their order. Where labels differ between
          groups and not within. Groups must have the same number of samples.
        - "free": entries of y among all samples, whatever the groups.
        - "sign_flip": regression only: mean(y) + s (y - mean(y)) with a random sign s for each sample. Right where the
          deviations of y are independent and symmetric around the mean; ``groups`` do not matter.
        - an integer array of shape (n_permutations, n_samples), each row a permutation of the sample numbers: row p
          gives sample i the target ``y[scheme[p, i]]``.
    groups : array_like, shape (n_samples,), optional
        Group (run) of each sample.
    random_state : int, RandomState or None
        Seed. The set is a function of the seed, y and groups alone. As in scikit-learn, None (numpy's global generator)
        and a RandomState are drawn from, and so give another set with every call.
    classifier : bool
        Whether y holds labels.

    Returns
    -------
    ndarray of y's dtype (float64 for flipped integers), shape (n_permutations, n_samples)
        y itself is not put among the rows, and not kept out where it is drawn by chance. Row p is the same however many
        rows are asked for, as long as there are more relabellings than rows: where there are not, every distinct one
        except y is listed once, in a fixed order, which makes the test exact.

    Warns
    -----
    UserWarning
        Where there are fewer distinct relabellings than rows asked for; p cannot be smaller than 1 / their number.

    Raises
    ------
    TypeError, ValueError
        For an unknown scheme, a scheme that cannot change y (labels constant within each group, for instance), groups
        that are missing or differ in size, labels to be flipped, a matrix that holds no permutations.

    Examples
    --------
    >>> y = np.array(["face", "house", "face", "house", "face", "house"])
    >>> runs = [1, 1, 2, 2, 3, 3]
    >>> permuted_targets(y, 2, groups=runs).shape
    (2, 6)
    >>> permuted_targets(y, 7, groups=runs)[:2]  # 2 * 2 * 2 orders in all, one of which is y
    array([['face', 'house', 'face', 'house', 'house', 'face'],
           ['face', 'house', 'house', 'face', 'face', 'house']], dtype='<U5')
    """
    target = check_target(y, np.size(y), classifier=classifier, name="the estimator")
    if isinstance(n_permutations, bool) or not isinstance(n_permutations, int | np.integer) or n_permutations < 1:
        raise ValueError(f"n_permutations must be a whole number of at least 1, got {n_permutations!r}.")
    if not isinstance(scheme, str):
        return target[_check_matrix(scheme, int(n_permutations), len(target))]
    if scheme not in SCHEMES:
        raise ValueError(
            f"unknown permutation scheme {scheme!r}; choose one of {', '.join(map(repr, SCHEMES))}, or give an integer "
            "array (n_permutations, n_samples) of permutations."
        )
    if scheme == "sign_flip":
        changes: _Exchanges | _Flips = _flips(target, classifier=classifier)
    else:
        changes = _exchanges(target, scheme, check_groups(groups, len(target)))
    others = changes.n_distinct - 1
    if others == 0:
        raise ValueError(_hopeless(scheme, groups))
    if others > n_permutations:
        seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        return _stack(
            (
                changes.draw(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(p,))))
                for p in range(n_permutations)
            ),
            n_permutations,
            changes.y,
        )
    if others < n_permutations:
        warnings.warn(
            f"there are {changes.n_distinct} distinct relabellings in all (scheme={scheme!r}), fewer than "
            f"n_permutations={n_permutations} and y itself: each of the {others} others is used once, and no p value "
            f"can be smaller than 1/{changes.n_distinct} = {1 / changes.n_distinct:.3g}.",
            UserWarning,
            stacklevel=2,
        )
    rows = (row for row in changes.every() if not np.array_equal(row, changes.y))
    return _stack(rows, others, changes.y)


def _stack(rows: Iterator[NDArray[Any]], n: int, y: NDArray[Any]) -> NDArray[Any]:
    out = np.empty((n, len(y)), y.dtype)
    for place, row in zip(out, rows, strict=True):
        place[:] = row
    return out


@dataclass(frozen=True, eq=False)
class _Exchanges:
    """Sets of units that may change places among themselves, a unit being one sample or all samples of a group.

    ``units`` has the sample numbers of each set (n_units, unit_size); ``kinds`` says which units hold the same.
    """

    y: NDArray[Any]
    units: list[NDArray[np.int64]]
    kinds: list[NDArray[np.int64]]

    @property
    def n_distinct(self) -> int:
        """Product over the sets of n_units! / (n_1! n_2! ...), n_k being the units of kind k."""
        total = 1
        for kinds in self.kinds:
            total *= math.factorial(len(kinds))
            for n in np.bincount(kinds):
                total //= math.factorial(int(n))
        return total

    def draw(self, rng: np.random.Generator) -> NDArray[Any]:
        row = self.y.copy()
        for units in self.units:
            row[units] = self.y[units[rng.permutation(len(units))]]
        return row

    def every(self) -> Iterator[NDArray[Any]]:
        for orders in itertools.product(*(list(_arrangements(kinds)) for kinds in self.kinds)):
            row = self.y.copy()
            for units, kinds, order in zip(self.units, self.kinds, orders, strict=True):
                known, example = np.unique(kinds, return_index=True)
                row[units] = self.y[units[example[np.searchsorted(known, order)]]]
            yield row


def _arrangements(kinds: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Distinct orders of numbers some of which are equal, sorted first (Knuth, TAOCP 7.2.1.2, algorithm L)."""
    order = np.sort(kinds)
    while True:
        yield order.copy()
        rises = np.flatnonzero(order[:-1] < order[1:])
        if not rises.size:
            return
        j = rises[-1]
        last = np.flatnonzero(order > order[j])
        k = last[last > j][-1]
        order[j], order[k] = order[k], order[j]
        order[j + 1 :] = order[j + 1 :][::-1].copy()


def _exchanges(y: NDArray[Any], scheme: str, groups: NDArray[Any] | None) -> _Exchanges:
    values = np.unique(y, return_inverse=True)[1].reshape(-1)
    if scheme == "free" or (groups is None and scheme == "within_groups"):
        members = [np.arange(len(y))]
    elif groups is None:
        raise ValueError(f"scheme={scheme!r} exchanges groups: give groups, the run of each sample.")
    else:
        names, group = np.unique(groups, return_inverse=True)
        members = [np.flatnonzero(group == g) for g in range(len(names))]
    if scheme != "whole_groups":
        return _Exchanges(y, [samples[:, None] for samples in members], [values[samples] for samples in members])
    sizes = [len(samples) for samples in members]
    if len(set(sizes)) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in zip(names.tolist(), sizes, strict=True))
        raise ValueError(
            f"scheme='whole_groups' exchanges groups of equal size, but they have different numbers of samples "
            f"({listed}); leave samples out to make them equal, or give a matrix of permutations."
        )
    blocks = np.array(members)
    kinds = np.unique(values[blocks], axis=0, return_inverse=True)[1].reshape(-1)
    return _Exchanges(y, [blocks], [kinds])


@dataclass(frozen=True, eq=False)
class _Flips:
    """Deviations from the mean that may change their sign; those of 0 do not count."""

    y: NDArray[Any]
    mean: Any
    moving: NDArray[np.int64]

    @property
    def n_distinct(self) -> int:
        return 2 ** len(self.moving)

    def _flipped(self, minus: Any) -> NDArray[Any]:
        row = self.y.copy()
        chosen = self.moving[np.asarray(minus, bool)]
        row[chosen] = self.mean - (self.y[chosen] - self.mean)
        return row

    def draw(self, rng: np.random.Generator) -> NDArray[Any]:
        return self._flipped(rng.integers(0, 2, len(self.moving)))

    def every(self) -> Iterator[NDArray[Any]]:
        for minus in itertools.product((False, True), repeat=len(self.moving)):
            yield self._flipped(minus)


def _flips(y: NDArray[Any], *, classifier: bool) -> _Flips:
    if classifier:
        raise ValueError(
            "scheme='sign_flip' turns the deviations of a regression's y around; labels have none: use 'within_groups'."
        )
    if y.dtype.kind not in "biuf":
        raise ValueError(f"scheme='sign_flip' needs numbers, got y of dtype {y.dtype}.")
    values = y if y.dtype.kind == "f" else y.astype(np.float64)
    mean = values.mean()
    deviations = np.abs(values - mean)
    rounding = 4 * np.finfo(values.dtype).eps * np.abs(values).max()
    return _Flips(values, mean, np.flatnonzero(deviations > rounding))


def _hopeless(scheme: str, groups: ArrayLike | None) -> str:
    """Say why a scheme leaves y as it is, and what would not."""
    if scheme == "within_groups" and groups is not None:
        return (
            "scheme='within_groups' cannot change anything: y is constant within each group. Where a condition fills "
            "whole runs, use scheme='whole_groups' (groups of equal size), or 'free' where single samples are "
            "exchangeable."
        )
    if scheme == "whole_groups":
        return (
            "scheme='whole_groups' cannot change anything: every group holds the same targets in the same order, or "
            "there is one group only. Use scheme='within_groups'."
        )
    return f"scheme={scheme!r} cannot change anything: y is constant."


def _check_matrix(scheme: ArrayLike, n_permutations: int, n_samples: int) -> NDArray[np.int64]:
    rows = np.asarray(scheme)
    if rows.dtype.kind not in "iu":
        raise TypeError(f"a matrix of permutations holds sample numbers, integers; got dtype {rows.dtype}.")
    if rows.ndim != 2 or rows.shape[1] != n_samples:
        raise ValueError(
            f"a matrix of permutations has shape (n_permutations, n_samples), here (n_permutations, {n_samples}), "
            f"got {rows.shape}."
        )
    if len(rows) != n_permutations:
        raise ValueError(f"n_permutations={n_permutations} but the matrix has {len(rows)} rows; make them agree.")
    wrong = np.flatnonzero((np.sort(rows, axis=1) != np.arange(n_samples)).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"row {wrong[0]} of the matrix is no permutation: each of the sample numbers 0 to {n_samples - 1} must "
            f"occur in it once. {wrong.size} of {len(rows)} rows are not."
        )
    return rows.astype(np.int64)
