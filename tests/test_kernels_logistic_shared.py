"""Folds of a sphere from one inverse: a vanishing gradient proves each optimum, as in test_kernels_logistic.py."""

import numpy as np
import pytest
from scipy.special import expit

import naive
from fastsl._kernels import logistic, logistic_shared
from fastsl._kernels.block import Work
from fastsl._kernels.lapack import multiply_symmetric, subtract_product
from fastsl._kernels.shared_gram import nothing_at_hand
from fastsl.decoders.problems import classification_problems
from fastsl.folds import Folds
from test_kernels import EMPTY, N_SAMPLES, launch, make_data, two_terms
from test_kernels_logistic import assert_fits, solve

#: Spheres of 48 samples in six runs, with C for each: G_ii times C stays below what is refused.
DATA = {
    "white": lambda: make_data(48, 60)[0],
    "smooth": lambda: standardised(naive.epi_like(48, 60, smooth=4.0)),
    "raw, smooth": lambda: naive.epi_like(48, 60),
    "few voxels": lambda: make_data(48, 7)[0],
    "repeated samples": lambda: np.repeat(make_data(12, 60)[0], 4, axis=0),
    "no voxel varies": lambda: np.ones((48, 5), np.float32),
}
COSTS = {"raw, smooth": [1e-6, 1e-3], "few voxels": [1e-3, 1.0, 1e4]}
CASES = [
    (data, C, s2)
    for data in DATA
    for C in COSTS.get(data, [1e-3, 1.0, 100.0])
    for s2 in ([np.inf] if data == "raw, smooth" else [0.0, 1.0, np.inf])
]


def standardised(X):
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)


def share(X, y, cost, s2):
    """The sphere, its shared space, and whether folds may begin from it."""
    n = len(X)
    sphere = two_terms(X, s2, "gram")
    A, rows = np.full((2, n, n), np.nan)
    work = Work(np.empty((0, n)), sphere.Z, np.empty((n, n)), A, rows, *nothing_at_hand(n, False))
    space = logistic_shared.shared_space(work, n)
    return sphere, space, logistic_shared.share(sphere, y, cost, space)


def labels_of(n, seed=0):
    return np.where(np.random.default_rng(seed).permutation(n) % 2 == 0, 1.0, -1.0)


@pytest.mark.parametrize(("data", "C", "s2"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_fold_is_the_optimum(data, C, s2, weighted):
    X, y = DATA[data](), labels_of(48)
    cost = C * np.random.default_rng(1).uniform(0.5, 2.0, 48) if weighted else np.full(48, C)
    centred = X - X.mean(axis=0, dtype=np.float64) if s2 == np.inf else X
    sphere, space, ready = share(X, y, cost, s2)
    assert ready
    for run in range(6):
        train, F = np.arange(48) // 8 != run, np.full((1, 48), np.nan)
        if not logistic_shared.fit_fold(sphere, train, cost, space, F):
            assert C >= 100.0  # left to the other kernel
            continue
        beta = cost * y * expit(-y * F[0])
        # An error in f of 1e-10 is one in K beta of up to so much.
        tolerance = 1e-10 * (1.0 + 0.25 * cost.max() * np.linalg.eigvalsh(sphere.Z)[-1])
        assert_fits(centred[train], beta[train], F[0, train], s2, 1e-4 if "raw" in data else tolerance)
        code, f = solve(X, y, cost, s2, "gram", train)
        assert code == 0
        np.testing.assert_allclose(F[0], f, rtol=0, atol=1e-8 * max(1.0, np.abs(f).max()))


@pytest.mark.parametrize(
    "train", [np.arange(24) >= 0, np.arange(24) > 0, np.arange(24) % 3 > 0], ids=["all", "one", "3"]
)
def test_folds_leave_out_none_one_or_a_third(train):
    X, _ = make_data(24, 40)
    y, cost = labels_of(24), np.ones(24)
    sphere, space, _ = share(X, y, cost, np.inf)
    F = np.full((1, 24), np.nan)
    assert logistic_shared.fit_fold(sphere, train, cost, space, F)
    assert_fits(X[train], (y * expit(-y * F[0]))[train], F[0, train], np.inf, 1e-8)


def test_a_fold_with_weights_of_its_own():
    X, _ = make_data(24, 40)
    y, cost = labels_of(24), np.ones(24)
    sphere, space, _ = share(X, y, cost, np.inf)
    own, train, F = np.where(y > 0, 3.0, 0.5), np.arange(24) > 5, np.full((1, 24), np.nan)
    assert logistic_shared.fit_fold(sphere, train, own, space, F)
    assert_fits(X[train], (own * y * expit(-y * F[0]))[train], F[0, train], np.inf, 1e-8)


def test_what_is_not_for_it_is_refused():
    X, _ = make_data(24, 40)
    y = labels_of(24)
    assert not share(100 * X, y, np.ones(24), np.inf)[2]  # steep
    assert not share(X, y, np.full(24, -1e-3), 1.0)[2]  # not positive definite
    assert not share(np.where(X == X, np.nan, X), y, np.ones(24), 1.0)[2]
    sphere, space, ready = share(X, y, np.ones(24), np.inf)
    assert ready
    F = np.full((1, 24), np.nan)
    assert not logistic_shared.fit_fold(sphere, np.arange(24) % 2 > 0, np.ones(24), space, F)  # half is left out
    assert not logistic_shared.fit_fold(sphere, np.arange(24) > 5, np.full(24, np.nan), space, F)


@pytest.mark.parametrize("C", [1.0, 1e9])
def test_a_block_is_solved_by_either_kernel(C):
    """Spheres do not tell which kernel solved their folds: with C = 1e9 all are refused."""
    y = labels_of(N_SAMPLES)
    runs = np.arange(N_SAMPLES) % 6
    folds = Folds(
        N_SAMPLES,
        tuple(np.flatnonzero(runs != run) for run in range(6)),
        tuple(np.flatnonzero(runs == run) for run in range(6)),
    )
    X, _ = make_data(N_SAMPLES, 24)
    problems, _ = classification_problems(y, folds, "balanced", C=C)
    out, status = launch(logistic.logistic_two, X, problems, np.inf, "gram")
    np.testing.assert_array_equal(status, np.where(EMPTY, -1, 0))
    for q, fold in enumerate(problems.fold):
        train = np.isin(np.arange(N_SAMPLES), folds.train[fold])
        code, f = solve(X, problems.targets[problems.target[q]], 1.0 / problems.ridge[q], np.inf, "gram", train)
        assert code == 0
        found = out[0, problems.out_ptr[q] : problems.out_ptr[q + 1]]
        np.testing.assert_allclose(found, f[folds.test[fold]], rtol=0, atol=1e-8 * max(1.0, np.abs(f).max()))


@pytest.mark.parametrize(("m", "r"), [(1, 1), (5, 3), (9, 9)])
def test_products_of_triangles(m, r):
    rng = np.random.default_rng(0)
    A, B, x, y = rng.standard_normal((11, 11)), rng.standard_normal((10, 12)), rng.standard_normal(m), np.empty(m)
    symmetric, lower = np.triu(A) + np.triu(A, 1).T, np.tril(A, -1)
    multiply_symmetric(A, m, x, y)
    np.testing.assert_allclose(y, symmetric[:m, :m] @ x, rtol=1e-13, atol=1e-13)
    subtract_product(B, m, r, A)
    symmetric[:m, :m] -= B[:r, :m].T @ B[:r, :m]
    np.testing.assert_allclose(np.triu(A), np.triu(symmetric), rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(np.tril(A, -1), lower)


@pytest.mark.parametrize(("r", "width"), [(1, 1), (4, 7), (6, 3)])
def test_solutions_stand_in_rows(r, width):
    rng = np.random.default_rng(0)
    U, rows = rng.standard_normal((8, 8)) + 4.0 * np.eye(8), rng.standard_normal((9, 8))
    expected = rows.copy()
    expected[:r, :width] = np.linalg.solve(np.triu(U[:r, :r]).T, rows[:r, :width])
    logistic_shared._solve_rows(U, r, rows, width)
    np.testing.assert_allclose(rows, expected, rtol=1e-13, atol=1e-13)
