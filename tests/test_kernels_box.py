"""Bounded coefficients: the conditions of the optimum, which are sufficient since the problem is convex.

min  1/2 beta' (K + diag(D)) beta - t' beta + eps sum |beta_i|,   low_i <= beta_i <= high_i,   f = K beta
"""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import naive
from fastsl._kernels import machines
from fastsl._kernels.box import box
from fastsl._kernels.machines import Machine
from fastsl.decoders.problems import classification_problems, regression_problems
from test_kernels import EMPTY, FOLDS, LABELS, N_SAMPLES, by_definition, launch, make_data, two_terms, work_space


def solve(X, t, low, high, s2, *, eps=0.0, D=0.0, train=None):
    """Run box on the samples ``train``; returns status, decision values f (n,) and coefficients beta (n,)."""
    n, p = X.shape
    S = np.arange(n) if train is None else np.flatnonzero(train)
    f, beta = np.full(n, np.nan), np.full(n, np.nan)
    A, rows = work_space(n, p)
    state = np.ones(n, np.int8)
    state[high <= 0] = -1
    sphere = two_terms(X, s2, "gram")
    status = box(sphere, S, np.full(n, D), t, eps, low, high, state, A, rows, f, beta)
    return status, f, beta


def hinge_bounds(y, C):
    return np.minimum(C * y, 0.0), np.maximum(C * y, 0.0)


def assert_optimal(X, t, low, high, s2, f, beta, *, eps=0.0, D=0.0, tolerance=1e-8):
    """Check the conditions of the optimum, on all samples of X."""
    K = naive.kernel_matrix(X.astype(np.float64), 0.0 if np.isinf(s2) else s2)
    centred = K - K.mean() if np.isinf(s2) else K
    scale = tolerance * max(1.0, np.abs(t).max())
    tie = 1e-9 * np.abs(beta).max()
    assert (beta >= low - tie).all()
    assert (beta <= high + tie).all()
    rest = f - centred @ beta
    if np.isinf(s2):
        assert abs(beta.sum()) <= 1e-9 * max(np.abs(beta).sum(), 1e-300)
        rest = rest - rest.mean()
    np.testing.assert_allclose(rest, 0.0, atol=scale)
    pull = t - D * beta - f  # eps * sign(beta) where beta is free; more than that pulls it up
    kinked = eps > 0 or not ((low < 0) & (high > 0)).any()
    for i in range(len(t)):
        if beta[i] < high[i] - tie:  # it does not rise
            assert pull[i] <= (-eps if kinked and beta[i] < -tie else eps) + scale
        if beta[i] > low[i] + tie:  # it does not fall
            assert pull[i] >= (eps if kinked and beta[i] > tie else -eps) - scale


@pytest.mark.parametrize(("n", "p"), [(20, 7), (14, 30)], ids=["few voxels", "many voxels"])
@pytest.mark.parametrize("C", [1e-3, 0.05, 1.0, 1e3])
@pytest.mark.parametrize("s2", [0.0, 1.0, 9.0])
def test_the_hinge_loss_equals_coordinate_descent(n, p, C, s2):
    X, y = make_data(n, p)
    weights = C * np.random.default_rng(2).uniform(0.5, 2.0, n)
    train = np.arange(n) % 5 != 2
    status, f, beta = solve(X, y, *hinge_bounds(y, weights), s2, train=train)
    assert status == 0
    assert (beta[~train] == 0.0).all()
    if C <= 1.0:  # the twin takes too long for more
        expected = naive.hinge(X[train].astype(float), y[train], X.astype(float), C=weights[train], s2=s2)
        np.testing.assert_allclose(f, expected, rtol=0, atol=1e-6)
    low, high = hinge_bounds(y, weights)
    assert_optimal(X[train], y[train], low[train], high[train], s2, f[train], beta[train])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("s2", [0.0, 1.0, np.inf])
@pytest.mark.parametrize("p", [1, 3, 40])
@pytest.mark.parametrize("C", [1e-2, 1.0, 100.0])
def test_support_vector_machines_are_optimal(seed, s2, p, C):
    X, y = make_data(16, p, seed=seed)
    X[3] = X[5]  # the same sample twice, of one class
    X[4] = X[7]  # and of two classes
    low, high = hinge_bounds(y, C * np.random.default_rng(seed).uniform(0.5, 2.0, 16))
    status, f, beta = solve(X, y, low, high, s2)
    assert status == 0
    assert_optimal(X, y, low, high, s2, f, beta)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("s2", [0.0, 1.0, np.inf])
@pytest.mark.parametrize("p", [1, 3, 40])
@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0, 100.0])
@pytest.mark.parametrize(("C", "D"), [(1e-2, 0.0), (10.0, 0.0), (np.inf, 0.5), (np.inf, 50.0), (0.3, 0.5)])
def test_support_vector_regression_is_optimal(seed, s2, p, eps, C, D):
    X, _ = make_data(16, p, seed=seed)
    t = X[:, 0].astype(np.float64) + np.random.default_rng(seed).standard_normal(16) + 3.0
    t[4] = t[9]
    bound = np.full(16, C)
    status, f, beta = solve(X, t, -bound, bound, s2, eps=eps, D=D)
    assert status == 0
    assert_optimal(X, t, -bound, bound, s2, f, beta, eps=eps, D=D)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 8), st.integers(1, 4), st.data())
def test_data_with_ties_are_solved(n, p, data):
    """Few integers: samples that repeat, margins met by many at once, coefficients at their bounds in groups."""
    whole = st.integers(-2, 2).map(float)
    X = np.array(data.draw(st.lists(st.lists(whole, min_size=p, max_size=p), min_size=n, max_size=n)), np.float32)
    y = np.array(data.draw(st.permutations([1.0, -1.0] * n)))[:n]
    if abs(y.sum()) == n:
        y[0] = -y[0]
    C, s2 = data.draw(st.sampled_from([0.25, 1.0, 4.0])), data.draw(st.sampled_from([0.0, 1.0, np.inf]))
    low, high = hinge_bounds(y, np.full(n, C))
    status, f, beta = solve(X, y, low, high, s2)
    assert status == 0
    assert_optimal(X, y, low, high, s2, f, beta, tolerance=1e-5)  # the float32 means of `shift` round


def test_an_intercept_that_is_not_determined_is_the_middle_of_what_is_allowed():
    """Two samples at x = 1 and x = -1, both at the bound C: f = 2 C x + b is right for |b| <= 1 - 2 C."""
    X, y, C = np.array([[1.0], [-1.0]], np.float32), np.array([1.0, -1.0]), 0.1
    for guess in range(2):
        _, f, beta = solve(X[:: 1 - 2 * guess], y[:: 1 - 2 * guess], *hinge_bounds(y[:: 1 - 2 * guess], C), np.inf)
        np.testing.assert_allclose(np.abs(beta), C, rtol=1e-12)
        np.testing.assert_allclose(f.sum(), 0.0, atol=1e-12)


def test_coefficients_that_may_not_move_are_zero():
    X, y = make_data(14, 30)
    status, f, beta = solve(X, y, np.zeros(14), np.zeros(14), 0.0)
    assert (status, np.abs(f).max(), np.abs(beta).max()) == (0, 0.0, 0.0)


@pytest.mark.parametrize("C", [1e-8, 1e-4, 1.0])
@pytest.mark.parametrize("s2", [1.0, np.inf])
@pytest.mark.parametrize(("n", "p"), [(20, 7), (24, 30)])
def test_raw_intensities_are_solved(C, s2, n, p):
    X = naive.epi_like(n, p)
    y = np.where(np.arange(n) % 3 == 0, 1.0, -1.0)
    low, high = hinge_bounds(y, np.full(n, C))
    status, f, beta = solve(X, y, low, high, s2)
    assert status == 0
    # Entries of K are 3e9 and its products with beta lose as much.
    assert_optimal(X - X.mean(axis=0) if np.isinf(s2) else X, y, low, high, s2, f, beta, tolerance=1e-5)


# Whole blocks


def machine(problems, low, high, *, eps=0.0, D=0.0, kernel=0, gamma=0.0, degree=1, coef0=0.0):
    train = FOLDS.train_masks()[problems.fold]
    return Machine(eps, np.full(problems.ridge.shape, D), low, high, kernel, gamma, degree, coef0, train)


@pytest.mark.parametrize("labels", LABELS)
def test_the_hinge_loss_of_a_block(labels):
    X, _ = make_data(N_SAMPLES, 24)
    problems, _ = classification_problems(LABELS[labels], FOLDS, "balanced", C=0.1, rest_weighted=False)
    bounds = hinge_bounds(problems.targets[problems.target], 1.0 / problems.ridge)
    out, status = launch(machines.support_vectors, X, problems, 1.0, "gram", machine(problems, *bounds))
    expected = by_definition(X, problems, lambda A, t, B, w: naive.hinge(A, t, B, C=w, s2=1.0))
    np.testing.assert_array_equal(status, np.where(EMPTY, -1, 0))
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, -1.0, 0.02], ids=["scale", "auto", "given"])
@pytest.mark.parametrize("kernel", [1, 2])
def test_kernels_of_raw_samples(kernel, gamma):
    """Squared hinge-like ridge in disguise: no bounds and D > 0 make it kernel ridge regression, in closed form."""
    X = np.round(make_data(N_SAMPLES, 24, means=True)[0] * 64.0) / 64.0  # less its mean it is still exact
    y = X[:, 3] + np.random.default_rng(4).standard_normal(N_SAMPLES)
    problems = regression_problems(y, FOLDS)
    wide = np.full(problems.ridge.shape, np.inf)
    ridge = machine(problems, -wide, wide, D=2.0, kernel=kernel, gamma=gamma, degree=2, coef0=1.0)
    out, status = launch(machines.support_vectors, X, problems, 0.0, "gram", ridge)

    def kernel_ridge(A, t, B, _):
        g = gamma if gamma > 0 else 1.0 / (A.shape[1] * (A.var() if gamma == 0.0 else 1.0))

        def matrix(P, Q):
            inner = P @ Q.T
            if kernel == 1:
                return np.exp(-g * ((P**2).sum(1)[:, None] + (Q**2).sum(1) - 2 * inner))
            return (g * inner + 1.0) ** 2

        n = len(A)
        border = np.block([[matrix(A, A) + 2.0 * np.eye(n), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
        solution = np.linalg.solve(border, np.r_[t, 0.0])
        return matrix(B, A) @ solution[:n] + solution[n]

    np.testing.assert_array_equal(status, np.where(EMPTY, -1, 0))
    np.testing.assert_allclose(out, by_definition(X, problems, kernel_ridge), rtol=0, atol=1e-7)
