"""The squared hinge loss by the samples beyond the margin, against that by those within. Also run as plain Python."""

import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve

import naive
from fastsl._kernels import margin, own_inverse
from fastsl._kernels.waist import Sphere

N, P = 26, 40
TRAIN = np.arange(N) % 5 != 2
TRAIN[7] = False  # in neither part


def make_problem(seed, smooth, signal):
    """A kernel matrix, and labels that it tells apart or does not."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.permutation(N) % 2, 1.0, -1.0)
    x = np.arange(P)
    X = rng.standard_normal((N, P)) + signal * y[:, None]
    X = X @ np.exp(-0.5 * ((x[:, None] - x) / smooth) ** 2) if smooth else X
    return X / X.std(), y


def inverse(X, d):
    """As kernels invert: a general inverse is not symmetric, and costs three digits here."""
    M = cho_solve(cho_factor(naive.kernel_matrix(X, 1.0) + d * np.eye(N)), np.eye(N))
    return 0.5 * (M + M.T)


def solve(X, y, d, *, train=TRAIN, guess=None, most_away=np.inf):
    """Whether the solver came to an end, and the decision values that it left."""
    M, F = inverse(X, d), np.zeros(N) if guess is None else guess.copy()
    sphere = Sphere(False, naive.kernel_matrix(X, 0.0), np.ones(N), 1.0)
    c = M @ np.where(train, y, 0.0)
    return margin.fit_fold(sphere, M, c, y, train, np.full(N, d), F, most_away, margin.margin_space(N)), F


def beyond(X, y, d):
    """How many samples the solution leaves beyond the margin, in long double."""
    expected = naive.squared_hinge_long(X, y, TRAIN, np.full(N, d), 1.0).astype(float)
    return expected, int((y * expected >= 1)[TRAIN].sum())


@pytest.mark.parametrize("signal", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("smooth", [0.0, 2.0])
@pytest.mark.parametrize("d", [1e-2, 0.5, 50.0])
def test_decision_values_are_those_of_the_optimum(d, smooth, signal):
    X, y = make_problem(1, smooth, signal)
    expected, _ = beyond(X, y, d)
    stands, found = solve(X, y, d)
    assert stands
    # What the rounding of the matrix itself may do.
    within = np.finfo(float).eps * np.linalg.cond(naive.kernel_matrix(X, 1.0) + d * np.eye(N))
    np.testing.assert_allclose(found, expected, rtol=0, atol=within * np.abs(expected).max())


def test_the_cases_above_leave_none_some_and_most_samples_beyond_the_margin():
    counts = [beyond(*make_problem(1, smooth, signal), d)[1] for smooth, signal, d in CASES]
    assert counts[0] == 0
    assert 0 < counts[1] < TRAIN.sum() / 2 < counts[2]


CASES = [(0.0, 0.0, 50.0), (2.0, 0.0, 0.5), (2.0, 3.0, 1e-2)]


@pytest.mark.parametrize("case", CASES, ids=["none", "some", "most"])
def test_the_guess_does_not_matter(case):
    smooth, signal, d = case
    X, y = make_problem(1, smooth, signal)
    found = solve(X, y, d)[1]
    for guess in (found, 10.0 * y, -y, np.random.default_rng(0).standard_normal(N)):
        stands, other = solve(X, y, d, guess=guess)
        assert stands
        np.testing.assert_allclose(other, found, rtol=0, atol=1e-12 * np.abs(found).max())


def test_more_beyond_the_margin_than_is_worth_it_is_refused_and_leaves_the_guess():
    X, y = make_problem(1, 2.0, 3.0)
    assert beyond(X, y, 1e-2)[1] > TRAIN.sum() / 2
    stands, left = solve(X, y, 1e-2, guess=0.25 * y, most_away=0.5)
    assert not stands
    np.testing.assert_array_equal(left, 0.25 * y)


def test_a_fold_may_train_on_all_samples():
    X, y = make_problem(2, 2.0, 0.3)
    everyone = np.ones(N, bool)
    stands, found = solve(X, y, 0.5, train=everyone)
    assert stands
    np.testing.assert_allclose(
        found, naive.squared_hinge_long(X, y, everyone, np.full(N, 0.5), 1.0).astype(float), atol=1e-11
    )


@pytest.mark.parametrize("wrong", ["indefinite", "not the inverse"])
def test_what_is_no_solution_says_so_and_leaves_the_guess(wrong):
    X, y = make_problem(3, 2.0, 0.0)
    M = -np.eye(N) if wrong == "indefinite" else 1.001 * inverse(X, 0.5)
    F, sphere = 0.25 * y, Sphere(False, naive.kernel_matrix(X, 0.0), np.ones(N), 1.0)
    c, d = M @ np.where(TRAIN, y, 0.0), np.full(N, 0.5)
    assert not margin.fit_fold(sphere, M, c, y, TRAIN, d, F, np.inf, margin.margin_space(N))
    np.testing.assert_array_equal(F, 0.25 * y)


def test_the_inverse_of_a_fold_is_its_own():
    X, d = make_problem(4, 2.0, 0.3)[0], 0.5
    fold, code = own_inverse.ready_fold(inverse(X, d), TRAIN, own_inverse.fold_space(N))
    K = naive.kernel_matrix(X, 1.0)
    expected = np.linalg.inv(K[np.ix_(TRAIN, TRAIN)] + d * np.eye(TRAIN.sum()))
    assert code == 0
    np.testing.assert_array_equal(fold.S, np.flatnonzero(TRAIN))
    np.testing.assert_array_equal(fold.R, np.flatnonzero(~TRAIN))
    np.testing.assert_allclose(fold.N, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(-fold.W.T, K[np.ix_(~TRAIN, TRAIN)] @ expected, rtol=0, atol=1e-10)


def test_a_fold_without_a_definite_matrix_has_a_status():
    M = np.diag(np.where(TRAIN, 1.0, -1.0))
    assert own_inverse.ready_fold(M, TRAIN, own_inverse.fold_space(N))[1] != 0
