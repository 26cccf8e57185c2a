"""Sums over what folds train on, from sums over groups. Also run as plain Python (NUMBA_DISABLE_JIT=1)."""

import numba as nb
import numpy as np
import pytest

from fastsl._kernels import groups as kernels
from fastsl.decoders.groups import sample_groups
from fastsl.decoders.problems import classification_problems, regression_problems
from fastsl.folds import Folds

N, ORDER = 48, 7


def leave_out(of):
    """Folds that leave out the samples with each value of ``of``."""
    tests = tuple(np.flatnonzero(of == value) for value in np.unique(of))
    return Folds(N, tuple(np.setdiff1d(np.arange(N), test) for test in tests), tests)


RUN = np.arange(N) // 12
RUNS = leave_out(RUN)
FOLDS = {
    "runs": RUNS,
    "runs, some samples never trained on": Folds(N, tuple(train[train > 4] for train in RUNS.train), RUNS.test),
    "single samples": leave_out(np.arange(N)),
    "trained and tested on all": Folds(N, (np.arange(N),), (np.arange(N),)),
}
HAS_SUMS = {name: name != "single samples" for name in FOLDS}


@nb.njit
def fold_sums(W, groups, flat, out):
    P = kernels.group_sums(W, groups, flat)
    for fold in range(out.shape[0]):
        kernels.fold_sum(W, groups.ptr, groups.weight[fold], P, np.empty(W.shape), out[fold])
    return P.shape[0]


@nb.njit
def room(groups, order):
    return kernels.flat_sums(groups, order)


def problems_of(folds, weights):
    y = np.arange(N) % 3
    if weights == "values":
        return regression_problems(y.astype(float), folds)
    return classification_problems(y, folds, {0: 1.0, 1: 2.0, 2: 0.25} if weights == "unequal" else None)[0]


@pytest.mark.parametrize("weights", ["values", "equal", "unequal"])
@pytest.mark.parametrize("name", FOLDS)
def test_sums_of_folds_are_what_their_samples_add(name, weights):
    folds = FOLDS[name]
    problems = problems_of(folds, weights)
    groups = sample_groups(problems)
    X = np.random.default_rng(0).standard_normal((N, ORDER))
    out = np.full((len(folds), ORDER, ORDER), np.nan)
    n_sums = fold_sums(np.ascontiguousarray(X[groups.samples]), groups, room(groups, ORDER + 2), out)
    assert n_sums == (len(groups.ptr) - 1 if HAS_SUMS[name] and len(groups.ptr) - 1 <= N // 4 else 0)
    for fold, train in enumerate(folds.train):
        w = 1.0 / problems.ridge[problems.of_fold[fold], train]
        expected = np.triu((X[train] * w[:, None]).T @ X[train])
        np.testing.assert_allclose(np.triu(out[fold]), expected, rtol=1e-12, atol=1e-12)


def test_groups_are_runs_and_the_classes_in_them_that_weigh_differently():
    folds = FOLDS["runs"]
    assert len(sample_groups(problems_of(folds, "equal")).ptr) - 1 == 4
    groups = sample_groups(problems_of(folds, "unequal"))
    assert len(groups.ptr) - 1 == 12
    for g in range(12):
        members = groups.samples[groups.ptr[g] : groups.ptr[g + 1]]
        assert len(np.unique(RUN[members])) == len(np.unique(members % 3)) == 1
    np.testing.assert_array_equal(np.sort(groups.samples), np.arange(N))


def test_sums_that_would_be_large_are_not_kept():
    groups = sample_groups(problems_of(FOLDS["runs"], "equal"))
    most = int((kernels._MOST // 4) ** 0.5)
    assert len(room(groups, most)) == 4 * most**2 <= kernels._MOST
    assert len(room(groups, most + 1)) == 4 * most**2  # for the smaller spheres beside
    assert len(room(groups, 2 * most)) == 4 * most**2
