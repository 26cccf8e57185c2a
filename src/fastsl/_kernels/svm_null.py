"""LinearSVC with the squared hinge loss for many labellings of one sphere, whose Gram matrix is computed once.

Folds of a labelling start from each other's decision values, as in :mod:`fastsl._kernels.svm`; the solution does not
depend on where it starts.
"""

import numba as nb
import numpy as np

from fastsl._kernels.block import PER_TASK, allocate, read_sphere
from fastsl._kernels.labellings import add_scores, most_tested
from fastsl._kernels.svm import squared_hinge
from fastsl._runtime.jit import entry, helper


@helper
def _decode_labelling(sphere, labellings, labelling, D, work, F, beta, values):
    """Held-out ``values`` (n_folds, n_columns, n_test) of one labelling; returns the first status that is not 0."""
    for k in range(labellings.targets.shape[1]):
        T = labellings.targets[labelling, k : k + 1]
        F[:] = 0.0
        for fold in range(labellings.train.shape[0]):
            code = squared_hinge(sphere, labellings.train[fold], D, T, work.A, work.rows, F, beta)
            if code != 0:
                return code
            tested = labellings.test[labellings.test_ptr[fold] : labellings.test_ptr[fold + 1]]
            for j in range(tested.shape[0]):
                values[fold, k, j] = F[0, tested[j]]
    return 0


@helper
def _svc_null_sphere(sphere, labellings, D, work, sums):
    """Scores (n_scores, n_labellings) of one sphere, NaN for a labelling that fails."""
    n_labellings, n_columns, n = labellings.targets.shape
    n_folds, most = labellings.train.shape[0], most_tested(labellings)
    F, beta, true = np.empty((1, n)), np.empty((1, n)), np.empty(most)
    values = np.empty((n_folds, n_columns, most))
    sums[:] = 0.0
    for labelling in range(n_labellings):
        failed = _decode_labelling(sphere, labellings, labelling, D, work, F, beta, values) != 0
        for fold in range(n_folds):
            if not failed:
                add_scores(labellings, fold, labelling, values[fold], true, sums)
        for s in range(sums.shape[0]):
            sums[s, labelling] = np.nan if failed else sums[s, labelling] / n_folds


@helper
def _svc_null_task(block, labellings, D, start, stop, null, status):
    work = allocate(block, start, stop, 0)
    for b in range(start, stop):
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            _svc_null_sphere(read_sphere(block, b, work), labellings, D, work, null[b])
            status[b] = 1 if np.isnan(null[b]).all() else 0
        else:
            null[b] = np.nan


@entry
def svc_squared_hinge_null(block, labellings, D, null, status):
    """Scores ``null`` (n_centres, n_scores, n_labellings), means over folds; D (n_samples,) is 1 / (2 C).

    NaN for a labelling whose solver fails. Status 1: none has a score; -1: fewer than ``min_voxels``.
    """
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + PER_TASK - 1) // PER_TASK):
        start, stop = task * PER_TASK, min(n_centres, (task + 1) * PER_TASK)
        _svc_null_task(block, labellings, D, start, stop, null, status)
