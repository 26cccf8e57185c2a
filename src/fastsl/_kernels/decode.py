"""The compiled loops over spheres: what Python calls for a block of centres."""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.ridge import ridge_features, ridge_gram
from fastsl._kernels.svm import hinge, squared_hinge
from fastsl._kernels.waist import sphere_features, sphere_gram
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


@helper
def _task_sizes(block, start, stop):
    """Largest sphere of a task, order of its largest system, whether any sphere takes the Gram path."""
    n = block.X.shape[1]
    largest, order, gram = 1, 1, False
    for b in range(start, stop):
        p = block.indptr[b + 1] - block.indptr[b]
        largest = max(largest, p)
        if p < block.features_below:
            order = max(order, p + 1)
        else:
            order, gram = max(order, n), True
    return largest, order, gram


@entry
def linear_svc(block, problems, squared, out, status):
    """Held-out decision values ``out`` (n_centres, n_out), NaN where ``status`` (n_centres,) is not 0.

    ``problems.ridge`` is 1 / C. Status 1: not positive definite; 2: no convergence; -1: fewer than ``min_voxels``.
    """
    n, n_centres = block.X.shape[1], len(block.indptr) - 1
    for task in nb.prange((n_centres + _PER_TASK - 1) // _PER_TASK):
        start, stop = task * _PER_TASK, min(n_centres, (task + 1) * _PER_TASK)
        largest, order, gram = _task_sizes(block, start, stop)
        B = np.empty((largest if gram else 0, n))
        G = np.empty((n if gram else 0, n))
        A, rows = np.empty((order, order)), np.empty((n, order))
        u, S, D, C = np.empty(n), np.empty(n, np.int64), np.empty(n), np.empty(n)
        low, high, R = np.empty(n), np.empty(n), np.empty((1, n))
        F, beta, F_new, beta_new = np.empty((4, 1, n))
        for b in range(start, stop):
            members = block.indices[block.indptr[b] : block.indptr[b + 1]]
            out[b] = np.nan
            if members.shape[0] < block.min_voxels:
                status[b] = -1
                continue
            primal = members.shape[0] < block.features_below
            if primal:
                Z = np.empty((n, members.shape[0]))
                inv_c = sphere_features(block.X, members, block.means, block.s2, Z, u)
            else:
                Z = G
                inv_c = sphere_gram(block.X, members, block.means, block.s2, B, G, u)
            code = _all_machines(
                primal, Z, u, inv_c, problems, squared, A, rows, S, D, C, R, low, high,
                F, beta, F_new, beta_new, out[b],
            )  # fmt: skip
            status[b] = code
            if code != 0:
                out[b] = np.nan


@helper
def _all_machines(
    primal, Z, u, inv_c, problems, squared, A, rows, S, D, C, R, low, high, F, beta, F_new, beta_new, out
):  # fmt: skip
    """Every problem of one sphere; returns the first status that is not 0.

    Target by target, so that each fold starts from the decision values of the fold before: a sixth fewer steps.
    """
    n = u.shape[0]
    for target in range(problems.targets.shape[0]):
        T = problems.targets[target : target + 1]
        F[:] = 0.0
        for q in range(len(problems.target)):
            if problems.target[q] != target:
                continue
            fold = problems.fold[q]
            train = problems.train[fold]
            m = 0
            for i in range(n):
                D[i] = 0.5 * problems.ridge[q, i]
                C[i] = 1.0 / problems.ridge[q, i]
                if train[i]:
                    S[m] = i
                    m += 1
            if squared:
                code = squared_hinge(primal, Z, u, inv_c, train, D, T, S, A, rows, F, beta, F_new, beta_new)
            else:
                code = hinge(primal, Z, u, inv_c, S[:m], C, T, A, rows, F, beta, D, R, F_new, beta_new, low, high)
            if code != 0:
                return code
            place = problems.out_ptr[q]
            for i in problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]:
                out[place] = F[0, i]
                place += 1
    return 0


@entry
def ridge(block, problems, alphas, out, status):
    """Held-out predictions ``out`` (n_centres, n_out) of ridge regression; status as in :func:`linear_svc`.

    ``problems.ridge`` is 1 / sample weight; of several ``alphas`` each fold takes its best.
    """
    n, n_centres = block.X.shape[1], len(block.indptr) - 1
    k = 1
    for fold in range(len(problems.of_fold) - 1):
        k = max(k, problems.of_fold[fold + 1] - problems.of_fold[fold])
    for task in nb.prange((n_centres + _PER_TASK - 1) // _PER_TASK):
        start, stop = task * _PER_TASK, min(n_centres, (task + 1) * _PER_TASK)
        largest, order, gram = _task_sizes(block, start, stop)
        B = np.empty((largest if gram else 0, n))
        G, M = np.empty((2, n if gram else 0, n))
        A, rows = np.empty((order, order)), np.empty((max(n, k), order))
        u, S, D, h = np.empty(n), np.empty(n, np.int64), np.empty(n), np.empty(n)
        c = np.empty((problems.targets.shape[0], n))
        z, T, F, beta = np.empty((4, k, n))
        for b in range(start, stop):
            members = block.indices[block.indptr[b] : block.indptr[b + 1]]
            out[b] = np.nan
            if members.shape[0] < block.min_voxels:
                status[b] = -1
                continue
            if members.shape[0] < block.features_below:
                Phi = np.empty((n, members.shape[0]))
                inv_c = sphere_features(block.X, members, block.means, block.s2, Phi, u)
                code = ridge_features(Phi, u, inv_c, problems, alphas, A, rows, T, F, beta, D, h, S, out[b])
            else:
                inv_c = sphere_gram(block.X, members, block.means, block.s2, B, G, u)
                code = ridge_gram(G, u, inv_c, problems, alphas, M, A, rows, c, z, S, out[b])
            status[b] = code
            if code != 0:
                out[b] = np.nan
