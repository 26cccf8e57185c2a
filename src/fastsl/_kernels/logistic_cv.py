"""Logistic regression whose penalty is chosen by cross-validation within the training samples of each fold."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import allocate, read_sphere, write_problem
from fastsl._kernels.logistic import logistic
from fastsl._kernels.over_spheres import over_spheres
from fastsl._runtime.jit import helper


class InnerFolds(NamedTuple):
    """Folds within the training samples of each problem, and the penalties to choose from."""

    train: NDArray[np.bool_]  # (n_problems, n_inner, n_samples)
    test: NDArray[np.bool_]  # (n_problems, n_inner, n_samples)
    C: NDArray[np.float64]  # (n_C,)
    by_log_loss: bool  # else by accuracy


@helper
def _score(test, y, f, by_log_loss):
    """Mean log probability, or part that is right, of the samples ``test``."""
    total, n, eps = 0.0, 0, 2.0**-52
    for i in range(test.shape[0]):
        if test[i]:
            n += 1
            if by_log_loss:
                total += np.log(min(max(1.0 / (1.0 + np.exp(-y[i] * f[i])), eps), 1.0 - eps))
            elif (f[i] > 0.0) == (y[i] > 0.0):
                total += 1.0
    return total / n


@helper
def _choose(sphere, q, inner, weight, T, work, scores, F, beta):
    """Fill ``scores`` (n_C,), the sum over inner folds; returns the first status that is not 0."""
    scores[:] = 0.0
    for k in range(inner.train.shape[1]):
        S = np.flatnonzero(inner.train[q, k])
        for c in range(inner.C.shape[0]):
            code = logistic(sphere, S, inner.C[c] * weight, T, work.A, work.rows, F, beta)
            if code != 0:
                return code
            scores[c] += _score(inner.test[q, k], T[0], F[0], inner.by_log_loss)
    return 0


@helper
def _sphere(sphere, problems, inner, work, out):
    """Every problem of one sphere; returns the first status that is not 0."""
    n = problems.train.shape[1]
    scores, F, beta = np.empty(inner.C.shape[0]), np.empty((1, n)), np.empty((1, n))
    for q in range(problems.target.shape[0]):
        T = problems.targets[problems.target[q] : problems.target[q] + 1]
        weight = 1.0 / problems.ridge[q]
        code = _choose(sphere, q, inner, weight, T, work, scores, F, beta)
        if code == 0:
            S, best = np.flatnonzero(problems.train[problems.fold[q]]), inner.C[np.argmax(scores)]
            code = logistic(sphere, S, best * weight, T, work.A, work.rows, F, beta)
        if code != 0:
            return code
        write_problem(problems, q, F[0], out)
    return 0


@over_spheres
def logistic_cv(block, problems, inner, out, status):
    """Held-out log-odds ``out`` (n_centres, n_out), two classes. ``problems.ridge`` is 1 / weight.

    Status 1: not positive definite; 2: no convergence; -1: fewer than ``min_voxels``.
    """
    work = allocate(block, 0)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _sphere(read_sphere(block, b, work), problems, inner, work, out[b])
            if status[b] != 0:
                out[b] = np.nan
