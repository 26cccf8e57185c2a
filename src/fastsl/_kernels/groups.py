"""Products of samples summed over what a fold trains on, from sums over groups that all folds keep together.

With w the weight that a fold gives to each sample of group g, 0 where it does not train on it,

    sum_i w_i x_i x_i' = sum_g w_g P_g,    P_g = sum_(i in g) x_i x_i'

so that folds that leave out runs share all their products, where each would make (n_folds - 1) / n_folds of them
again. Nothing is subtracted here. Only upper triangles are made.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.matrices import syrk
from fastsl._kernels.rows import add, clear
from fastsl._runtime.jit import helper

#: Most numbers of P: 16 MB a thread. What would be more is made fold by fold, and so are small groups, for which adding
#: their products takes as long.
_MOST, _SMALL = 2_000_000, 4


class Groups(NamedTuple):
    """Samples with the same weight as each other in every fold."""

    samples: NDArray[np.int64]  # (n_samples,) group after group
    ptr: NDArray[np.int64]  # (n_groups + 1,) into samples
    weight: NDArray[np.float64]  # (n_folds, n_groups), or of each class of each fold


@helper
def ungrouped(n):
    """A group for each of n samples: no sums are kept."""
    return Groups(np.arange(n), np.arange(n + 1), np.empty((0, n)))


@helper
def _size_of_sums(groups, order):
    """Numbers of P; 0 where it is not worth it, which depends on the sphere alone."""
    n_groups = groups.ptr.shape[0] - 1
    size = n_groups * order * order
    return size if size <= _MOST and _SMALL * n_groups <= groups.samples.shape[0] else 0


@helper
def flat_sums(groups, order):
    """Room for P of any order up to this, flat: a large one may be too large to keep, and need none."""
    size = 0
    for smaller in range(order + 1):
        size = max(size, _size_of_sums(groups, smaller))
    return np.empty(size)


@helper
def group_sums(W, groups, flat):
    """P (n_groups, order, order) from the rows of W (n_samples, order), sorted by group, or none."""
    n_groups, order = groups.ptr.shape[0] - 1, W.shape[1]
    size = _size_of_sums(groups, order)
    P = flat[:size].reshape(n_groups if size > 0 else 0, order, order)
    for g in range(P.shape[0]):
        syrk(W[groups.ptr[g] : groups.ptr[g + 1]], P[g])
    return P


@helper
def add_groups(weights, P, total):
    """Upper triangle of ``total``: the sum of the groups by their ``weights``."""
    clear(total)
    for g in range(weights.shape[0]):
        if weights[g] > 0.0:
            for q in range(total.shape[0]):
                add(weights[g], P[g, q, q:], total[q, q:])


@helper
def fold_sum(W, ptr, weights, P, scaled, total):
    """As :func:`add_groups`; where there is no P, from the rows W of the groups ``ptr``.

    ``scaled`` makes room for as many rows as W.
    """
    if P.shape[0] > 0:
        add_groups(weights, P, total)
        return
    m = 0
    for g in range(weights.shape[0]):
        if weights[g] > 0.0:
            for i in range(ptr[g], ptr[g + 1]):
                for q in range(W.shape[1]):
                    scaled[m, q] = np.sqrt(weights[g]) * W[i, q]
                m += 1
    syrk(scaled[:m], total)
