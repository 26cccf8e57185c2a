"""Features of a sphere of few voxels beside the targets, so that one product gives all that a linear model sums."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.groups import flat_sums
from fastsl._kernels.rows import copy_row
from fastsl._runtime.jit import helper, inlined


class FeatureSpace(NamedTuple):
    """Work space for the spheres of a part with few voxels, flat: each cuts its own matrices from it."""

    W: NDArray[np.float64]  # features and targets of all samples, sorted by group
    scaled: NDArray[np.float64]  # as W
    P: NDArray[np.float64]  # sums of groups
    total: NDArray[np.float64]  # sum of a fold
    A: NDArray[np.float64]
    beta: NDArray[np.float64]


@inlined
def feature_space(block, groups, n_targets, most_solved):
    """Work space for the spheres ``block.order``, ``n_targets`` beside their features, and so many solved at once."""
    n, largest = block.X.shape[1], 0
    for b in block.order:
        p = block.indptr[b + 1] - block.indptr[b]
        if p < block.features_below:
            largest = max(largest, p + 1)
    order = largest + n_targets if largest > 0 else 0
    return FeatureSpace(
        np.empty(n * order),
        np.empty(n * order),
        flat_sums(groups, order),
        np.empty(order * order),
        np.empty(order * order),
        np.empty(most_solved * order),
    )


@helper
def write_rows(sphere, targets, samples, order, W):
    """A row for each sample: phi, and all targets."""
    p = sphere.Z.shape[1]
    for a in range(samples.shape[0]):
        i, row = samples[a], W[a]
        copy_row(sphere.Z[i], row[:p])
        if order > p:
            row[p] = sphere.u[i]
        for t in range(targets.shape[0]):
            row[order + t] = targets[t, i]
