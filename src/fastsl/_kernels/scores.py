"""Scores of the held-out values of one fold, inside kernels: of permutations, whose values are too many to keep.

Each equals the function of the same name in :mod:`fastsl.metrics`, which works on whole blocks.
"""

import numpy as np

from fastsl._runtime.jit import helper

ACCURACY, BALANCED_ACCURACY, ROC_AUC, R2, NEG_MEAN_SQUARED_ERROR, NEG_MEAN_ABSOLUTE_ERROR = range(6)


@helper
def score_fold(code, values, true):
    """Score ``code`` of ``values`` (n_columns, n_test) for ``true`` (n_test,): numbers of classes, or values.

    One column for two classes (positive: class 1) and for a regression, else one a class.
    """
    for k in range(values.shape[0]):
        for i in range(values.shape[1]):
            if np.isnan(values[k, i]):
                return np.nan
    if code == ACCURACY:
        return _accuracy(values, true)
    if code == BALANCED_ACCURACY:
        return _balanced_accuracy(values, true)
    if code == ROC_AUC:
        return _roc_auc(values[0], true)
    if code == R2:
        return _r2(values[0], true)
    if code == NEG_MEAN_SQUARED_ERROR:
        return -_squared_error(values[0], true) / len(true)
    return -_absolute_error(values[0], true) / len(true)


@helper
def _predicted(values, i):
    if values.shape[0] == 1:
        return 1 if values[0, i] > 0.0 else 0
    best = 0
    for k in range(1, values.shape[0]):
        if values[k, i] > values[best, i]:
            best = k
    return best


@helper
def _accuracy(values, true):
    right = 0
    if values.shape[0] == 1:
        for i in range(len(true)):
            right += (values[0, i] > 0.0) == (true[i] > 0.0)
    else:
        for i in range(len(true)):
            right += _predicted(values, i) == true[i]
    return right / len(true)


@helper
def _balanced_accuracy(values, true):
    """Mean over the classes among ``true`` of the part that is predicted."""
    total, n_present = 0.0, 0
    for k in range(max(2, values.shape[0])):
        right, n = 0, 0
        for i in range(len(true)):
            if true[i] == k:
                n += 1
                right += _predicted(values, i) == k
        if n > 0:
            n_present += 1
            total += right / n
    return total / n_present


@helper
def _roc_auc(value, true):
    """Part of the pairs of a positive and a negative sample that are in order; ties count half."""
    wins, n_pairs = 0.0, 0
    for i in range(len(true)):
        for j in range(len(true)):
            if true[i] > 0.0 and not true[j] > 0.0:
                n_pairs += 1
                wins += 1.0 if value[i] > value[j] else 0.5 if value[i] == value[j] else 0.0
    return wins / n_pairs if n_pairs > 0 else np.nan


@helper
def _squared_error(value, true):
    error = 0.0
    for i in range(len(true)):
        error += (true[i] - value[i]) ** 2
    return error


@helper
def _absolute_error(value, true):
    error = 0.0
    for i in range(len(true)):
        error += abs(true[i] - value[i])
    return error


@helper
def _r2(value, true):
    """1 - sum(error^2) / sum((y - mean(y))^2)"""
    if len(true) < 2:
        return np.nan
    # Less the first, so that equal values leave exactly 0.
    mean, total = 0.0, 0.0
    for i in range(len(true)):
        mean += true[i] - true[0]
    mean /= len(true)
    for i in range(len(true)):
        total += (true[i] - true[0] - mean) ** 2
    error = _squared_error(value, true)
    if total == 0.0:
        return 1.0 if error == 0.0 else 0.0
    return 1.0 - error / total
