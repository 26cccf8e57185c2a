"""Cross-validation splits and labels, drawn and checked once for all spheres."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import KFold, check_cv
from sklearn.utils.multiclass import type_of_target


@dataclass(frozen=True, eq=False)
class TestRows:
    """Every test sample of every fold, in the order of samples, then of folds.

    When each sample is tested once, row ``i`` is sample ``i``.

    Attributes
    ----------
    samples, folds : ndarray of int64, shape (n_rows,)
        Whose row it is.
    of_fold : tuple of ndarray of int64
        Rows of a fold, in the order of its test samples.
    """

    __test__ = False  # not a test class, whatever its name begins with

    samples: NDArray[np.int64]
    folds: NDArray[np.int64]
    of_fold: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, eq=False)
class Folds:
    """Train and test samples of every fold, as sample numbers."""

    n_samples: int
    train: tuple[NDArray[np.int64], ...]
    test: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.train)

    def __iter__(self) -> Any:
        return zip(self.train, self.test, strict=True)

    def train_masks(self) -> NDArray[np.bool_]:
        """Training samples of each fold, shape (n_folds, n_samples)."""
        masks = np.zeros((len(self), self.n_samples), bool)
        for mask, train in zip(masks, self.train, strict=True):
            mask[train] = True
        return masks

    def test_rows(self) -> TestRows:
        """Number the test samples of all folds."""
        sizes = [len(test) for test in self.test]
        samples = np.concatenate(self.test)
        folds = np.repeat(np.arange(len(self)), sizes)
        order = np.lexsort((folds, samples))
        row = np.empty(len(order), np.int64)
        row[order] = np.arange(len(order))
        return TestRows(samples[order], folds[order], tuple(np.split(row, np.cumsum(sizes)[:-1])))

    @property
    def has_repeats(self) -> bool:
        """Whether a fold trains on a sample twice (bootstraps)."""
        return any(len(np.unique(train)) < len(train) for train in self.train)


def check_target(y: ArrayLike, n_samples: int, *, classifier: bool, name: str) -> NDArray[Any]:
    """Return y as a 1-D array that the kind of estimator ``name`` can learn, or say why it cannot be."""
    if y is None:
        raise TypeError(f"y is missing: {name} needs one label or value for each of the {n_samples} volumes.")
    target = np.asarray(y)
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim != 1:
        raise ValueError(f"y must be one-dimensional, one entry a volume, got shape {target.shape}.")
    if len(target) != n_samples:
        raise ValueError(
            f"y and the images have inconsistent numbers of samples: {len(target)} and {n_samples}; give one label a "
            "volume (select volumes and labels together, for instance with nilearn.image.index_img(imgs, keep))."
        )
    _check_no_missing(target, "y")
    if classifier:
        kind = type_of_target(target)
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"y is {kind} but {name} is a classifier: give class labels, or use a regressor such as "
                "estimator='ridge'."
            )
        if len(np.unique(target)) < 2:
            raise ValueError(f"y holds one class only ({target.tolist()[0]!r}): a classifier needs at least two.")
    return target


def _check_no_missing(target: NDArray[Any], name: str) -> None:
    if target.dtype.kind == "f":
        missing = ~np.isfinite(target)
    elif target.dtype == object:
        missing = np.array([entry is None or entry != entry for entry in target])
    else:
        return
    if missing.any():
        raise ValueError(
            f"{name} has {np.count_nonzero(missing)} missing or infinite entries (Input contains NaN), the first at "
            f"volume {np.flatnonzero(missing)[0]}; leave those volumes out of imgs, y and groups."
        )


def check_groups(groups: ArrayLike | None, n_samples: int) -> NDArray[Any] | None:
    """Return groups as an array with one entry a sample, or None."""
    if groups is None:
        return None
    values = np.asarray(groups)
    if values.ndim != 1 or len(values) != n_samples:
        raise ValueError(
            f"groups and the images have inconsistent numbers of samples: groups has shape {values.shape}, {n_samples} "
            "entries are needed, one a volume."
        )
    _check_no_missing(values, "groups")
    return values


def draw_folds(cv: Any, y: NDArray[Any], groups: ArrayLike | None = None, *, classifier: bool = True) -> Folds:
    """Draw the splits of ``cv`` once.

    ``None`` and integers mean stratified folds for a classifier, plain folds otherwise, unshuffled, 5 by default;
    else a scikit-learn splitter or (train, test) pairs. Unseeded splitters are thus the same for every sphere.

    Raises
    ------
    TypeError, ValueError
        For what is no cross-validation, groups of another length, splits that are empty or name no sample.
    """
    n_samples = len(y)
    checked_groups = check_groups(groups, n_samples)
    hint = f"cv={cv!r} is no cross-validation: give an integer of at least 2, a splitter, or (train, test) pairs"
    if isinstance(cv, bool | str | float | type) or (isinstance(cv, int | np.integer) and cv < 2):
        raise ValueError(f"{hint}.")
    if _is_pairs(cv):
        cv = list(cv)
        if any(not hasattr(pair, "__len__") or len(pair) != 2 for pair in cv):
            raise ValueError(f"{hint}.")
    try:
        splitter = check_cv(cv, y, classifier=classifier)
    except ValueError as error:
        raise ValueError(f"{hint} ({error}).") from error
    if type(splitter) is KFold:
        checked_groups = None  # scikit-learn would warn that KFold has no use for them; so would nobody be helped
    by_number = cv is None or isinstance(cv, int | np.integer)
    with warnings.catch_warnings():
        if by_number:
            warnings.filterwarnings("ignore", "The groups parameter is ignored")
        try:
            splits = list(splitter.split(np.zeros((n_samples, 1)), y, checked_groups))
        except ValueError as error:
            if groups is None and "'groups' parameter should not be None" in str(error):
                raise ValueError(
                    f"cv={cv!r} needs groups: pass groups=, one entry a volume, such as the run "
                    f"({str(error).rstrip('.')})."
                ) from error
            raise
    pairs = [
        (_sample_numbers(train, n_samples, "train"), _sample_numbers(test, n_samples, "test")) for train, test in splits
    ]
    if by_number and checked_groups is not None:
        warnings.warn(
            f"groups are given but cv={cv!r} is {len(pairs)}-fold cross-validation, which ignores them; pass "
            "cv=LeaveOneGroupOut() to keep whole groups together.",
            UserWarning,
            stacklevel=4,
        )
    if not pairs:
        raise ValueError(f"cv={cv!r} gave no split.")
    return Folds(n_samples, *zip(*pairs, strict=True))


def check_classes_are_known(folds: Folds, y: NDArray[Any]) -> None:
    """Refuse folds none of which tests a class that it trained on: every prediction would be wrong.

    Raises
    ------
    ValueError
        For these, as when the runs themselves are decoded and one run is left out.
    """
    if any(np.isin(y[test], y[train]).any() for train, test in folds):
        return
    train, test = (np.unique(y[samples]).tolist() for samples in (folds.train[0], folds.test[0]))
    raise ValueError(
        f"no fold tests a class that it trained on (fold 0 trains on {_some(train)} and tests {_some(test)}), so that "
        "every prediction would be wrong: give y that varies within groups, or groups or cv whose folds have all "
        "classes on both sides."
    )


def _some(labels: list[Any]) -> str:
    return ", ".join(map(repr, labels[:3])) + (", ..." if len(labels) > 3 else "")


def _is_pairs(cv: Any) -> bool:
    return isinstance(cv, Iterable) and not hasattr(cv, "split")


def _sample_numbers(chosen: ArrayLike, n_samples: int, which: str) -> NDArray[np.int64]:
    numbers = np.asarray(chosen)
    if numbers.dtype == bool and numbers.shape == (n_samples,):
        numbers = np.flatnonzero(numbers)
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iu":
        raise ValueError(f"cv gave {which} samples that are no list of sample numbers: {numbers!r}.")
    beyond = numbers[(numbers < -n_samples) | (numbers >= n_samples)]
    if beyond.size:
        raise ValueError(f"cv gave {which} sample {beyond[0]} but there are {n_samples} volumes, numbered from 0.")
    return numbers.astype(np.int64) % n_samples


def whole_sample(n_samples: int) -> Folds:
    """One fold that trains and tests on everything, for estimators that score themselves."""
    everything = np.arange(n_samples)
    return Folds(n_samples, (everything,), (everything,))
