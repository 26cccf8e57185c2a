"""Scores inside kernels against the metrics of the same names and scikit-learn's. Also run as plain Python."""

import warnings

import numba as nb
import numpy as np
import pytest
from sklearn import metrics as theirs

from fastsl import metrics
from fastsl._kernels import scores
from fastsl.permutation.nulls import CODES
from fastsl.predictions import HeldOut

N_CENTRES = 6
exact = {"rtol": 1e-14, "atol": 1e-14}


@nb.njit
def _call(code, values, true):
    return scores.score_fold(code, values, true)


def computed(metric, case):
    """The kernel's score of every sphere of a case."""
    true = np.asarray(case.y_true, np.float64) if case.classes is None else metrics.true_places(case).astype(np.float64)
    return [_call(CODES[metric], np.ascontiguousarray(values.T), true) for values in case.values]


def held_out(y_true, n_columns, *, ties=False, seed=0):
    """Random values for spheres of test samples; with ``ties`` whole numbers, zero among them."""
    values = np.random.default_rng(seed).standard_normal((N_CENTRES, len(y_true), n_columns))
    classes = np.arange(max(2, n_columns))
    return HeldOut(np.asarray(y_true), np.rint(values) if ties else values, classes)


def regression(y_true, seed=0):
    noise = np.random.default_rng(seed).standard_normal((N_CENTRES, len(y_true), 1))
    y = np.asarray(y_true, np.float64)
    return HeldOut(y, y[:, None] + noise, None)


LABELS = np.random.default_rng(1).integers(0, 3, 17)
CLASSIFICATIONS = {
    "two classes": held_out(LABELS % 2, 1),
    "two classes, ties": held_out(LABELS % 2, 1, ties=True),
    "two classes, unbalanced": held_out((LABELS > 1).astype(int), 1),
    "two classes, one tested": held_out(np.ones(5, int), 1),
    "three classes": held_out(LABELS, 3),
    "three classes, ties": held_out(LABELS, 3, ties=True),
    "three classes, the middle one untested": held_out(LABELS // 2 * 2, 3),
    "three classes, the last one untested": held_out(LABELS % 2, 3),
    "one test sample of the first class": held_out([0], 1),
    "one test sample of the second class": held_out([1], 1),
    "one test sample of three classes": held_out([2], 3),
    "one test sample on the border": HeldOut(np.array([1]), np.zeros((N_CENTRES, 1, 1)), np.arange(2)),
}
REGRESSIONS = {
    "values": regression(np.random.default_rng(2).normal(1000.0, 3.0, 11)),
    "ties": regression(LABELS),
    "two test samples": regression([0.3, -2.0]),
    "equal values": regression(np.full(4, 2.5)),
    "equal values, hit": HeldOut(np.full(4, 2.5), np.full((N_CENTRES, 4, 1), 2.5), None),
    "all hit": HeldOut(np.arange(4.0), np.tile(np.arange(4.0)[:, None], (N_CENTRES, 1, 1)), None),
    "one test sample": regression([7.0]),
}
of_classes = [metrics.accuracy, metrics.balanced_accuracy, metrics.roc_auc]
of_values = [metrics.r2, metrics.neg_mean_squared_error, metrics.neg_mean_absolute_error]


#: roc_auc of more classes is refused before any work.
PAIRS = [
    pytest.param(metric, case, id=f"{metric.__name__}, {name}")
    for metric in of_classes
    for name, case in CLASSIFICATIONS.items()
    if metric is not metrics.roc_auc or len(case.classes) == 2
] + [
    pytest.param(metric, case, id=f"{metric.__name__}, {name}")
    for metric in of_values
    for name, case in REGRESSIONS.items()
]
all_pairs = pytest.mark.parametrize(("metric", "case"), PAIRS)


def test_every_code_is_tried():
    assert sorted(CODES.values()) == list(range(6))
    assert set(of_classes + of_values) == set(CODES)
    assert all(getattr(scores, metric.__name__.upper()) == code for metric, code in CODES.items())


@all_pairs
def test_scores_equal_the_metrics(metric, case):
    np.testing.assert_allclose(computed(metric, case), metric(case), **exact)


#: Name: function of (true, predicted, values of one sphere).
THEIRS = {
    metrics.accuracy: lambda y, p, f: theirs.accuracy_score(y, p),
    metrics.balanced_accuracy: lambda y, p, f: theirs.balanced_accuracy_score(y, p),
    metrics.roc_auc: lambda y, p, f: theirs.roc_auc_score(y, f[:, 0]),
    metrics.r2: lambda y, p, f: theirs.r2_score(y, f[:, 0]),
    metrics.neg_mean_squared_error: lambda y, p, f: -theirs.mean_squared_error(y, f[:, 0]),
    metrics.neg_mean_absolute_error: lambda y, p, f: -theirs.mean_absolute_error(y, f[:, 0]),
}


def by_scikit_learn(metric, case):
    """Predicted places written without fastsl: sign of one column, first largest of several."""
    found = []
    for values in case.values:
        places = values[:, 0] > 0 if values.shape[1] == 1 else values.argmax(axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes that are not tested, and of single samples
            found.append(THEIRS[metric](case.y_true, places.astype(int), values))
    return found


@all_pairs
def test_scores_equal_scikit_learn(metric, case):
    if metric is metrics.roc_auc and len(np.unique(case.y_true)) < 2:
        assert np.isnan(computed(metric, case)).all()  # scikit-learn raises, or has NaN, by its version
    else:
        np.testing.assert_allclose(computed(metric, case), by_scikit_learn(metric, case), **exact)


@pytest.mark.parametrize("n_columns", [1, 3])
def test_ties_go_to_the_first_class(n_columns):
    tied = HeldOut(np.array([0, 1, 1]), np.zeros((1, 3, n_columns)), np.arange(max(2, n_columns)))
    assert computed(metrics.accuracy, tied) == [1 / 3]
    assert computed(metrics.balanced_accuracy, tied) == [0.5]


def test_equal_values_rank_as_chance_does():
    tied = HeldOut(np.array([0, 1, 1]), np.full((1, 3, 1), 0.25), np.arange(2))
    assert computed(metrics.roc_auc, tied) == [0.5]
