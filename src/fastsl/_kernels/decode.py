"""The compiled loops over spheres: what Python calls for a block of centres."""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.ridge import most_targets, ridge_features, ridge_gram
from fastsl._kernels.svm import hinge, squared_hinge
from fastsl._kernels.waist import Sphere, sphere_features, sphere_gram
from fastsl._runtime.jit import entry, helper

#: Spheres that share one work space; large enough that allocation does not show, small enough to balance threads.
_PER_TASK = 8


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


class Work(NamedTuple):
    """Work space of a task: what is too large to allocate for every sphere."""

    B: NDArray[np.float64]  # voxels of a sphere (n_voxels, n_samples)
    G: NDArray[np.float64]  # (n_samples, n_samples); empty where no sphere takes the Gram path, like B and M
    M: NDArray[np.float64]
    A: NDArray[np.float64]  # square, of the order of the largest system
    rows: NDArray[np.float64]  # right-hand sides


@helper
def _allocate(block, start, stop, n_rows):
    """Work space for the spheres ``start`` to ``stop - 1``."""
    n = block.X.shape[1]
    largest, order, n_gram = 0, 1, 0
    for b in range(start, stop):
        p = block.indptr[b + 1] - block.indptr[b]
        if p < block.features_below:
            order = max(order, p + 1)
        else:
            largest, order, n_gram = max(largest, p), max(order, n), n
    return Work(
        np.empty((largest, n)),
        np.empty((n_gram, n)),
        np.empty((n_gram, n)),
        np.empty((order, order)),
        np.empty((max(n, n_rows), order)),
    )


@helper
def _read_sphere(block, b, work):
    """Gather sphere b and bring it to the form of its path."""
    n = block.X.shape[1]
    members = block.indices[block.indptr[b] : block.indptr[b + 1]]
    u = np.empty(n)
    if members.shape[0] < block.features_below:
        Phi = np.empty((n, members.shape[0]))
        return Sphere(True, Phi, u, sphere_features(block.X, members, block.means, block.s2, Phi, u))
    return Sphere(False, work.G, u, sphere_gram(block.X, members, block.means, block.s2, work.B, work.G, u))


@helper
def _write(problems, q, f, out):
    """Put the test samples' values of problem q in their place."""
    fold, place = problems.fold[q], problems.out_ptr[q]
    for i in problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]:
        out[place] = f[i]
        place += 1


@helper
def _squared_hinge_sphere(sphere, problems, work, out):
    """Every problem of one sphere; returns the first status that is not 0.

    Target by target, so that each fold starts from the decision values of the fold before: a sixth less time.
    """
    n = problems.train.shape[1]
    D, F, beta = np.empty(n), np.empty((1, n)), np.empty((1, n))
    for target in range(problems.targets.shape[0]):
        T = problems.targets[target : target + 1]
        F[:] = 0.0
        for q in range(len(problems.target)):
            if problems.target[q] == target:
                for i in range(n):
                    D[i] = 0.5 * problems.ridge[q, i]
                train = problems.train[problems.fold[q]]
                code = squared_hinge(sphere, train, D, T, work.A, work.rows, F, beta)
                if code != 0:
                    return code
                _write(problems, q, F[0], out)
    return 0


@helper
def _hinge_sphere(sphere, problems, work, out):
    """Every problem of one sphere; returns the first status that is not 0."""
    n = problems.train.shape[1]
    C, F, beta = np.empty(n), np.empty((1, n)), np.empty((1, n))
    for q in range(len(problems.target)):
        T = problems.targets[problems.target[q] : problems.target[q] + 1]
        for i in range(n):
            C[i] = 1.0 / problems.ridge[q, i]
        S = np.flatnonzero(problems.train[problems.fold[q]])
        code = hinge(sphere, S, C, T, work.A, work.rows, F, beta)
        if code != 0:
            return code
        _write(problems, q, F[0], out)
    return 0


# Numba analyses the whole body of a prange, which takes longer than compiling it: so the body is one call. The two
# losses are two kernels, so that nobody waits for the compilation of what is not used.


@helper
def _squared_hinge_task(block, problems, start, stop, out, status):
    work = _allocate(block, start, stop, 0)
    for b in range(start, stop):
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _squared_hinge_sphere(_read_sphere(block, b, work), problems, work, out[b])
            if status[b] != 0:
                out[b] = np.nan


@entry
def svc_squared_hinge(block, problems, out, status):
    """Held-out decision values ``out`` (n_centres, n_out), NaN where ``status`` (n_centres,) is not 0.

    ``problems.ridge`` is 1 / C. Status 1: not positive definite; 2: no convergence; -1: fewer than ``min_voxels``.
    """
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + _PER_TASK - 1) // _PER_TASK):
        _squared_hinge_task(block, problems, task * _PER_TASK, min(n_centres, (task + 1) * _PER_TASK), out, status)


@helper
def _hinge_task(block, problems, start, stop, out, status):
    work = _allocate(block, start, stop, 0)
    for b in range(start, stop):
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _hinge_sphere(_read_sphere(block, b, work), problems, work, out[b])
            if status[b] != 0:
                out[b] = np.nan


@entry
def svc_hinge(block, problems, out, status):
    """As :func:`svc_squared_hinge`, with the hinge loss."""
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + _PER_TASK - 1) // _PER_TASK):
        _hinge_task(block, problems, task * _PER_TASK, min(n_centres, (task + 1) * _PER_TASK), out, status)


@helper
def _ridge_task(block, problems, alphas, start, stop, out, status):
    work = _allocate(block, start, stop, most_targets(problems) + 1)
    for b in range(start, stop):
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            sphere = _read_sphere(block, b, work)
            if sphere.primal:
                status[b] = ridge_features(sphere, problems, alphas, work.A, work.rows, out[b])
            else:
                status[b] = ridge_gram(sphere, problems, alphas, work.M, work.A, work.rows, out[b])
            if status[b] != 0:
                out[b] = np.nan


@entry
def ridge(block, problems, alphas, out, status):
    """Held-out predictions ``out`` (n_centres, n_out) of ridge regression; status as in :func:`svc_squared_hinge`.

    ``problems.ridge`` is 1 / sample weight; of several ``alphas`` each fold takes its best.
    """
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + _PER_TASK - 1) // _PER_TASK):
        _ridge_task(block, problems, alphas, task * _PER_TASK, min(n_centres, (task + 1) * _PER_TASK), out, status)
