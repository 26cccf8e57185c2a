"""Which samples all folds weigh alike, so that kernels sum over them once."""

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import Problems
from fastsl._kernels.groups import Groups


def alike(weight: NDArray[np.float64]) -> Groups:
    """Samples whose columns of ``weight`` (n_entries, n_samples) are the same."""
    columns, group = np.unique(weight, axis=1, return_inverse=True)
    group = group.reshape(-1)
    return Groups(
        samples=np.argsort(group, kind="stable").astype(np.int64),
        ptr=np.concatenate([[0], np.cumsum(np.bincount(group))]).astype(np.int64),
        weight=np.ascontiguousarray(columns),
    )


def sample_groups(problems: Problems) -> Groups:
    """Samples that weigh the same in every fold, whose problems have the same weights."""
    n_folds, n_samples = problems.train.shape
    weight = np.zeros((n_folds, n_samples))
    for fold in np.flatnonzero(np.diff(problems.of_fold)):
        weight[fold] = problems.train[fold] / problems.ridge[problems.of_fold[fold]]
    return alike(weight)
