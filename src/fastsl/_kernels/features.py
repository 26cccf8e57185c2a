"""Work space and rows of features, for spheres of few voxels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.groups import flat_sums
from fastsl._runtime.jit import helper, inlined


class FeatureSpace(NamedTuple):
    """Work space for the spheres of a part with few voxels, flat: each cuts its own matrices from it."""

    rows: NDArray[np.float64]  # one or more for each sample
    P: NDArray[np.float64]  # sums of groups
    total: NDArray[np.float64]  # sum of a fold
    A: NDArray[np.float64]
    beta: NDArray[np.float64]


@inlined
def feature_space(block, groups, n_rows, n_targets, most_solved):
    """Work space for the spheres ``block.order``.

    ``n_rows`` for each sample, with ``n_targets`` beside their features, and so many systems solved at once.
    """
    n, largest = block.X.shape[1], 0
    for b in block.order:
        p = block.indptr[b + 1] - block.indptr[b]
        if p < block.features_below:
            largest = max(largest, p + 1)
    order = largest + n_targets if largest > 0 else 0
    return FeatureSpace(
        np.empty(n_rows * n * order),
        flat_sums(groups, order),
        np.empty(order * order),
        np.empty(order * order),
        np.empty(most_solved * order),
    )


@helper
def write_row(sphere, i, scale, row):
    """row = scale phi_i, of the length that phi has."""
    Z = sphere.Z[i]
    for q in range(Z.shape[0]):
        row[q] = scale * Z[q]
    if sphere.inv_c < np.inf:
        row[Z.shape[0]] = scale * sphere.u[i]
