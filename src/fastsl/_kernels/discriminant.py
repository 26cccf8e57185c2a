"""What the kernels of discriminant analysis share: the classes of the folds, work space, and scores from products.

    score_k(x) = x' S^-1 m_k - 1/2 m_k' S^-1 m_k + log pi_k       two classes: score_1 - score_0

Data z = x - m are shifted by the voxels' means m. Differences between scores do not notice; the scores themselves do:
score_k(x) = score_k(z) + z' S^-1 m + 1/2 m' S^-1 m, which only matters to three classes or more.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.groups import Groups
from fastsl._kernels.rows import cut, dot
from fastsl._runtime.jit import helper


class InOrder(NamedTuple):
    """Training samples, fold after fold, in their order."""

    samples: NDArray[np.int64]  # as many as ClassFolds.train
    label: NDArray[np.int64]  # the class of each, from 0 in every fold
    ends: NDArray[np.int64]  # where the stretch of samples that follow each other ends, from 0 in every fold


class ClassFolds(NamedTuple):
    """The classes of the training samples of every fold. A fold with one class has none here and no results."""

    train: NDArray[np.int64]  # training samples, fold after fold, class after class
    ordered: InOrder
    class_ptr: NDArray[np.int64]  # (n_entries + 1,) into train; an entry is a class in a fold
    of_fold: NDArray[np.int64]  # (n_folds + 1,) into the entries
    prior: NDArray[np.float64]  # (n_entries,)
    test: NDArray[np.int64]  # test samples, fold after fold
    test_ptr: NDArray[np.int64]  # (n_folds + 1,) into test
    out_ptr: NDArray[np.int64]  # (n_folds + 1,) into the row of results of a sphere
    most: int  # largest number of classes of a fold
    groups: Groups  # training samples that are together in every entry; its weights are 1 and 0


class Space(NamedTuple):
    """Work space of a task, flat: every sphere cuts its own matrices from it."""

    Z: NDArray[np.float64]  # samples, and the means as one row more (n_samples + 1, n_voxels)
    R: NDArray[np.float64]  # centred training samples and some vectors, in voxels
    A: NDArray[np.float64]  # square
    C: NDArray[np.float64]  # square
    rows: NDArray[np.float64]  # right-hand sides


@helper
def allocate_space(block, folds, features_below):
    """Work space for the spheres of a block; with fewer voxels than ``features_below`` no matrix has samples' order."""
    n, largest, order = block.X.shape[1], 1, 1
    for b in block.order:
        p = block.indptr[b + 1] - block.indptr[b]
        largest = max(largest, p)
        order = max(order, p if p < features_below else n + folds.most + 1)
    return Space(
        np.empty((n + 1) * largest),
        np.empty((n + folds.most + 1) * largest),
        np.empty(order * order),
        np.empty(order * order),
        np.empty((folds.most + 1) * max(order, largest)),
    )


@helper
def read_samples(block, b, space):
    """Z (n_samples + 1, n_voxels): the samples of sphere b, and the means that were subtracted from them."""
    n, first, last = block.X.shape[1], block.indptr[b], block.indptr[b + 1]
    Z = cut(space.Z, n + 1, last - first)
    for q in range(last - first):
        voxel = block.indices[first + q]
        for i in range(n):
            Z[i, q] = block.X[voxel, i]
        Z[n, q] = block.means[voxel]
    return Z


@helper
def ledoit_wolf(squares, fourth, trace, m, p):
    """Shrinkage of m centred samples of p voxels, from squares = |X'X|^2, fourth = sum_i |x_i|^4 and trace = tr(X'X).

    delta = |X'X / m - mu I|^2 / p,   beta = (sum_i |x_i|^4 / m - |X'X / m|^2) / (m p),   min(beta, delta) / delta
    """
    if p == 1:
        return 0.0
    mu = trace / m / p
    delta = (squares / m**2 - p * mu**2) / p
    beta = min((fourth / m - squares / m**2) / (m * p), delta)
    return beta / delta if beta > 0.0 else 0.0


@helper
def count_vectors(Z, k):
    """How many S^-1 v are needed: one for two classes; else one a class, and one for the means if there are any."""
    if k == 2:
        return 1
    last = Z.shape[0] - 1
    for q in range(Z.shape[1]):
        if Z[last, q] != 0.0:
            return k + 1
    return k


@helper
def class_mean(Z, S, mean):
    """Mean of the rows ``S``."""
    for q in range(Z.shape[1]):
        mean[q] = 0.0
    for i in S:
        for q in range(Z.shape[1]):
            mean[q] += Z[i, q]
    for q in range(Z.shape[1]):
        mean[q] /= S.shape[0]


@helper
def make_vector(t, k, mean, Z, v):
    """Vector t: the difference of two class means; or the mean of class t; or the voxels' means."""
    for q in range(Z.shape[1]):
        if k == 2:
            v[q] = mean[1, q] - mean[0, q]
        elif t < k:
            v[q] = mean[t, q]
        else:
            v[q] = Z[Z.shape[0] - 1, q]


@helper
def write_scores(folds, fold, F, at_mean, half_square, out):
    """Scores of the test samples, from F[t, i] = z_i' S^-1 v_t and at_mean[t, k] = m_k' S^-1 v_t."""
    first, place = folds.of_fold[fold], folds.out_ptr[fold]
    k = folds.of_fold[fold + 1] - first
    for t in range(1 if k == 2 else k):
        if k == 2:
            offset = np.log(folds.prior[first + 1] / folds.prior[first]) - 0.5 * (at_mean[0, 0] + at_mean[0, 1])
        else:
            offset = np.log(folds.prior[first + t]) - 0.5 * at_mean[t, t]
        for i in folds.test[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]:
            out[place] = F[t, i] + offset
            if F.shape[0] > k and k > 2:
                out[place] += F[k, i] + half_square
            place += 1


@helper
def write_from_weights(folds, fold, Z, mean, weights, out):
    """Scores from the weights S^-1 v_t in voxels, (n_vectors, n_voxels)."""
    k = folds.of_fold[fold + 1] - folds.of_fold[fold]
    nv = weights.shape[0]
    F, at_mean = np.empty((nv, Z.shape[0])), np.empty((nv, k))
    for t in range(nv):
        for i in folds.test[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]:
            F[t, i] = dot(Z[i], weights[t])
        for c in range(k):
            at_mean[t, c] = dot(mean[c], weights[t])
    half_square = 0.5 * dot(Z[Z.shape[0] - 1], weights[nv - 1])
    write_scores(folds, fold, F, at_mean, half_square, out)
