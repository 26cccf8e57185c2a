"""What the options of ``fastsl run`` say of a table of labels: volumes, targets, groups and folds."""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut

from fastsl.estimators import estimator_type
from fastsl.labels import LabelTable, as_numbers


def make_cv(cv: str | None, split: NDArray[Any] | None, has_groups: bool) -> Any:
    """Folds of ``--cv`` or ``--split``: by groups, where there are any and nothing else is said."""
    if split is not None:
        if cv is not None:
            raise ValueError("--split is one split by itself: leave out --cv.")
        train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
        if not (train.size and test.size):
            raise ValueError(
                f"--split: the column must say 'train' and 'test', but it says: {', '.join(sorted(set(split)))}."
            )
        return [(train, test)]
    if cv is None:
        return LeaveOneGroupOut() if has_groups else None
    if cv == "logo":
        if not has_groups:
            raise ValueError("--cv logo leaves one group out: name the column of groups with --groups.")
        return LeaveOneGroupOut()
    if cv.isdecimal():
        return int(cv)
    raise ValueError(f"--cv must be 'logo' or a number of folds, got {cv!r}.")


def select(
    table: LabelTable, arguments: argparse.Namespace, n_volumes: int
) -> tuple[NDArray[np.bool_], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    """Volumes to keep, and their targets, groups and parts of the split.

    Raises
    ------
    ValueError
        When the table does not go with the images, or with what is asked of it.
    """
    if len(table) != n_volumes:
        raise ValueError(
            f"--labels: {table.path} has {len(table)} rows but --imgs have {n_volumes} volumes; it needs one row a "
            "volume."
        )
    target: NDArray[Any] = table.column(arguments.target, "--target")
    keep = np.ones(n_volumes, bool)
    if arguments.keep is not None:
        wanted = [name.strip() for name in arguments.keep.split(",")]
        absent = [name for name in wanted if name not in target]
        if absent:
            raise ValueError(
                f"--keep: {', '.join(map(repr, absent))} not in column {arguments.target!r}, which has: "
                f"{', '.join(sorted(set(target)))}."
            )
        keep = np.isin(target, wanted)
    groups = None if arguments.groups is None else table.column(arguments.groups, "--groups")[keep]
    split = None if arguments.split is None else table.column(arguments.split, "--split")[keep]
    target = target[keep]
    if estimator_type(arguments.estimator) == "regressor":
        target = as_numbers(target, f"--target {arguments.target}")
    return keep, target, groups, split


def one_or_list(names: list[str] | None) -> str | list[str] | None:
    """Scorers of the command line as ``scoring`` takes them."""
    return names[0] if names is not None and len(names) == 1 else names
