"""Logistic regression: a vanishing gradient proves the optimum, since the problem is strictly convex.

two classes    beta_i = cost_i y_i / (1 + exp(y_i f_i)),          f = K beta
more           beta_ic = cost_i (1 if own class else 0) - cost_i p_ic,   p_i = softmax(f_i),   f_c = K beta_c
"""

import numpy as np
import pytest
from scipy.special import expit, softmax

import naive
from fastsl._kernels import logistic
from fastsl.decoders.problems import classification_problems
from test_kernels import EMPTY, FOLDS, LABELS, N_SAMPLES, launch, make_data, two_terms, work_space

both_forms = pytest.mark.parametrize("form", ["gram", "features"])
all_intercepts = pytest.mark.parametrize("s2", [0.0, 1.0, 9.0, np.inf])
both_shapes = pytest.mark.parametrize(("n", "p"), [(20, 7), (14, 30)], ids=["few voxels", "many voxels"])


def assert_fits(X, beta, f, s2, tolerance):
    """f = K beta, plus any constant and with beta that sum to zero where the intercept is free; (n,) or (n, k)."""
    free = np.isinf(s2)
    K = naive.kernel_matrix(X.astype(np.float64), 0.0 if free else s2)
    if free:
        np.testing.assert_allclose(beta.sum(axis=0), 0.0, atol=tolerance * np.abs(beta).sum())
        K = K - K.mean(axis=0) - K.mean(axis=1)[:, None] + K.mean()
        f = f - f.mean(axis=0)
    np.testing.assert_allclose(K @ beta, f, rtol=0, atol=tolerance)


def solve(X, y, cost, s2, form, train):
    n, p = X.shape
    F, beta = np.full((1, n), np.nan), np.full((1, n), np.nan)
    A, rows = work_space(n, p)
    code = logistic.logistic(two_terms(X, s2, form), np.flatnonzero(train), cost, y[None].copy(), A, rows, F, beta)
    return code, F[0]


@both_forms
@both_shapes
@all_intercepts
@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0, 100.0])
def test_two_classes_are_the_optimum(form, n, p, s2, C):
    X, y = make_data(n, p)
    cost = C * np.random.default_rng(2).uniform(0.5, 2.0, n)
    train = np.arange(n) % 5 != 2
    code, f = solve(X, y, cost, s2, form, train)
    assert code == 0
    beta = cost[train] * y[train] * expit(-y[train] * f[train])
    assert_fits(X[train], beta, f[train], s2, 1e-7)


@both_forms
@both_shapes
@pytest.mark.parametrize("C", [1e-6, 1e-2, 1.0])
def test_raw_intensities_come_to_an_end(form, n, p, C):
    X = naive.epi_like(n, p)
    y = np.where(np.arange(n) % 3 == 0, 1.0, -1.0)
    code, f = solve(X, y, np.full(n, C), np.inf, form, np.ones(n, bool))
    assert code == 0
    centred = X - X.mean(axis=0, dtype=np.float64)
    assert_fits(centred, C * y * expit(-y * f), f, np.inf, 1e-4)


def test_a_system_that_is_not_positive_definite_is_reported():
    X, y = make_data(14, 30)
    assert solve(X, y, np.full(14, -1e-3), 1.0, "gram", np.ones(14, bool))[0] == 1


@all_intercepts
@both_shapes
@pytest.mark.parametrize("C", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("k", [3, 5])
def test_more_classes_are_the_optimum(s2, n, p, C, k):
    X, _ = make_data(n, p)
    labels, train = np.arange(n) % k, np.arange(n) % 7 != 3
    cost = C * np.random.default_rng(2).uniform(0.5, 2.0, n)
    T = np.where(labels == np.arange(k)[:, None], 1.0, -1.0)
    F, S = np.empty((k, n)), np.flatnonzero(train)
    work = np.empty((k, n, n)), np.empty((n, n)), np.empty((3, n))
    assert logistic.multinomial(two_terms(X, s2, "gram"), S, cost, T, *work, F) == 0
    f = F[:, train].T
    beta = cost[train, None] * ((T[:, train].T > 0) - softmax(f, axis=1))
    if s2 > 0:
        f = f - f.mean(axis=1, keepdims=True)
    assert_fits(X[train], beta, f, s2, 1e-7)


@pytest.mark.parametrize("labels", LABELS)
def test_a_block(labels):
    """The last fold has one class; of three classes one fold may have two, which is the binary problem."""
    X, _ = make_data(N_SAMPLES, 24)
    y = LABELS[labels]
    problems, fold_classes = classification_problems(y, FOLDS, "balanced", C=0.5)
    kernel = logistic.logistic_many if labels == "three classes" else logistic.logistic_two
    out, status = launch(kernel, X, problems, np.inf, "gram")
    np.testing.assert_array_equal(status, np.where(EMPTY, -1, 0))
    assert np.isnan(out).all(axis=1).tolist() == EMPTY
    cost = 1.0 / problems.ridge
    for q, fold in enumerate(problems.fold):
        if len(fold_classes[fold]) == 2:
            train = np.isin(np.arange(N_SAMPLES), FOLDS.train[fold])
            target = problems.targets[problems.target[q]]
            code, f = solve(X, target, cost[q], np.inf, "gram", train)
            assert code == 0
            found = out[0, problems.out_ptr[q] : problems.out_ptr[q + 1]]
            np.testing.assert_allclose(found, f[FOLDS.test[fold]], rtol=0, atol=1e-8)
