"""Data and spheres of one launch, the work space of a task, and the list of models that are fitted in a sphere."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.shared_gram import N_LEVELS, nothing_at_hand, sphere_gram
from fastsl._kernels.waist import Sphere, complete_gram, sphere_features
from fastsl._runtime.jit import helper, inlined


class Problems(NamedTuple):
    """Every model that is fitted in one sphere: for each fold, one per target. Sorted by fold.

    A target is a vector over all samples: the values of a regression, or +-1 for one class against others.
    """

    train: NDArray[np.bool_]  # (n_folds, n_samples)
    test: NDArray[np.int64]  # test samples, fold after fold
    test_ptr: NDArray[np.int64]  # (n_folds + 1,) into test
    of_fold: NDArray[np.int64]  # (n_folds + 1,) into the problems
    fold: NDArray[np.int64]  # (n_problems,)
    target: NDArray[np.int64]  # (n_problems,) row of targets
    targets: NDArray[np.float64]  # (n_targets, n_samples)
    ridge: NDArray[np.float64]  # (n_problems, n_samples) weight of each sample, inverted
    new_weights: NDArray[np.bool_]  # (n_folds,) whether ridge differs from the fold before
    out_ptr: NDArray[np.int64]  # (n_problems + 1,) into the row of results of a sphere


class Block(NamedTuple):
    """Data and spheres of one launch."""

    X: NDArray[np.float32]  # (n_voxels, n_samples)
    means: NDArray[np.float64]  # (n_voxels,) what was subtracted from each voxel
    indptr: NDArray[np.int64]  # (n_centres + 1,)
    indices: NDArray[np.int32]
    s2: float  # intercept: squared scale, 0 none, infinite free
    features_below: int  # spheres with fewer voxels take the features path
    min_voxels: int  # smaller spheres are not decoded
    order: NDArray[np.int64] = np.empty(0, np.int64)  # (n_centres,) to decode them in; empty: as they are listed
    levels: NDArray[np.int8] = np.empty(0, np.int8)  # of indices, or empty: see fastsl._kernels.shared_gram
    groups: NDArray[np.int64] = np.empty((0, N_LEVELS), np.int64)  # (n_centres, 3), or empty


def part_of(block: Block, start: int, stop: int) -> Block:
    """The spheres ``start`` to ``stop - 1``, as they are listed, sharing nothing."""
    first, last = block.indptr[start], block.indptr[stop]
    indptr, indices = block.indptr[start : stop + 1] - first, block.indices[first:last]
    return Block(block.X, block.means, indptr, indices, block.s2, block.features_below, block.min_voxels)


class Work(NamedTuple):
    """Work space of a task: what is too large to allocate for every sphere."""

    B: NDArray[np.float64]  # voxels of a sphere (n_voxels, n_samples)
    G: NDArray[np.float64]  # (n_samples, n_samples); empty where no sphere takes the Gram path, like B and M
    M: NDArray[np.float64]
    A: NDArray[np.float64]  # square, of the order of the largest system
    rows: NDArray[np.float64]  # right-hand sides
    cores: NDArray[np.float64]  # (3, n_samples, n_samples) what spheres share; empty where they do not
    at_hand: NDArray[np.int64]  # (3,) groups that cores are of


@inlined
def allocate(block, n_rows):
    """Work space for the spheres ``block.order``."""
    n = block.X.shape[1]
    largest, order, n_gram = 0, 1, 0
    for b in block.order:
        p = block.indptr[b + 1] - block.indptr[b]
        if p < block.features_below:
            order = max(order, p + 1)
        else:
            largest, order, n_gram = max(largest, p), max(order, n), n
    cores, at_hand = nothing_at_hand(n_gram, block.levels.shape[0] > 0)
    return Work(
        np.empty((largest, n)),
        np.empty((n_gram, n)),
        np.empty((n_gram, n)),
        np.empty((order, order)),
        np.empty((max(n, n_rows), order)),
        cores,
        at_hand,
    )


@inlined
def read_sphere(block, b, work):
    """Gather sphere b and bring it to the form of its path."""
    members = block.indices[block.indptr[b] : block.indptr[b + 1]]
    if members.shape[0] < block.features_below:
        n = block.X.shape[1]
        Phi, u = np.empty((n, members.shape[0])), np.empty(n)
        return Sphere(True, Phi, u, sphere_features(block.X, members, block.means, block.s2, Phi, u))
    return read_gram(block, b, work)


@inlined
def read_gram(block, b, work):
    """Gather sphere b, in the form of its Gram matrix."""
    first, last = block.indptr[b], block.indptr[b + 1]
    members, u = block.indices[first:last], np.empty(block.X.shape[1])
    levels, group = block.levels, work.at_hand
    if levels.shape[0] > 0:
        levels, group = levels[first:last], block.groups[b]
    sphere_gram(block.X, members, levels, group, work.B, work.cores, work.at_hand, work.G)
    return Sphere(False, work.G, u, complete_gram(block.X, members, block.means, block.s2, work.G, u))


@helper
def write_problem(problems, q, f, out):
    """Put the test samples' values of problem q in their place."""
    fold, place = problems.fold[q], problems.out_ptr[q]
    for i in problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]:
        out[place] = f[i]
        place += 1


@helper
def most_targets(problems):
    """Largest number of targets of a fold."""
    most = 1
    for fold in range(len(problems.of_fold) - 1):
        most = max(most, problems.of_fold[fold + 1] - problems.of_fold[fold])
    return most
