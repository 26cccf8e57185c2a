"""Many labellings of the same samples, decoded in one sphere after one factorisation: permutations."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.scores import score_fold
from fastsl._runtime.jit import helper


class Labellings(NamedTuple):
    """Targets of every labelling, and how its predictions are scored.

    A labelling has ``n_columns`` targets: one for two classes or a regression, else one a class against the rest. Folds
    train on the samples that they do not test on, or on fewer; all classes are in each.
    """

    targets: NDArray[np.float64]  # (n_labellings, n_columns, n_samples) values, or +-1
    true: NDArray[np.float64]  # (n_labellings, n_samples) values, or numbers of classes
    train: NDArray[np.bool_]  # (n_folds, n_samples)
    test: NDArray[np.int64]  # test samples, fold after fold
    test_ptr: NDArray[np.int64]  # (n_folds + 1,) into test
    codes: NDArray[np.int64]  # (n_scores,) of fastsl._kernels.scores


@helper
def add_scores(labellings, fold, labelling, values, true, sums):
    """Add the scores of a fold's ``values`` (n_columns, at least n_test) to ``sums`` (n_scores, n_labellings).

    ``true`` is work space (n_test,). Sums are divided by the number of folds at the end, as a mean is: else rounding
    would decide whether a permuted score reaches an observed one that it equals.
    """
    first, last = labellings.test_ptr[fold], labellings.test_ptr[fold + 1]
    for k in range(last - first):
        true[k] = labellings.true[labelling, labellings.test[first + k]]
    for s in range(labellings.codes.shape[0]):
        sums[s, labelling] += score_fold(labellings.codes[s], values[:, : last - first], true[: last - first])


@helper
def add_fold(labellings, fold, start, stop, values, true, sums):
    """Add a fold's scores of the labellings ``start`` to ``stop - 1``, whose columns are the rows of ``values``."""
    n_columns = labellings.targets.shape[1]
    for labelling in range(start, stop):
        k = (labelling - start) * n_columns
        add_scores(labellings, fold, labelling, values[k : k + n_columns], true, sums)


@helper
def take_means(sums, n_folds):
    """Sums over folds become means."""
    for s in range(sums.shape[0]):
        for labelling in range(sums.shape[1]):
            sums[s, labelling] /= n_folds


@helper
def most_tested(labellings):
    """Largest number of test samples of a fold."""
    most = 1
    for fold in range(labellings.train.shape[0]):
        most = max(most, labellings.test_ptr[fold + 1] - labellings.test_ptr[fold])
    return most


@helper
def list_samples(train, chosen, out):
    """Numbers of the samples that are trained on, or of the others."""
    n = 0
    for i in range(train.shape[0]):
        if train[i] == chosen:
            out[n] = i
            n += 1
    return out[:n]
