"""Ridge regression on one set of samples after the other, against long double. Also run as plain Python."""

import numpy as np
import pytest

import naive
from fastsl._kernels import active
from fastsl._kernels.waist import Sphere, absorb_border

N, P = 40, 60
rng = np.random.default_rng(0)
X, D = rng.standard_normal((N, P)), rng.uniform(0.3, 2.0, N)
T = np.where(rng.permutation(N) % 2, 1.0, -1.0)[None]
FIRST = np.arange(0, N, 2)
#: Sets that follow FIRST, and whether its factor serves them: at most an eighth of its 20 samples may change.
SETS = {
    "the same": (FIRST, True),
    "one more": (np.sort(np.r_[FIRST, 17]), True),
    "the first and the last are gone": (FIRST[1:-1], True),
    "one more and one less": (np.sort(np.r_[FIRST[FIRST != 8], 9]), True),
    "too many more": (np.sort(np.r_[FIRST, 1, 3, 5]), False),
    "too many less": (FIRST[3:], False),
    "the others": (np.arange(1, N, 2), False),
}


def sphere_of(s2, *, bordered):
    """The kernel matrix whole, or without the intercept and bordered by it."""
    if bordered:
        return Sphere(False, naive.kernel_matrix(X, 0.0), np.ones(N), 1.0 / s2 if s2 else np.inf)
    return Sphere(False, naive.kernel_matrix(X, s2), np.ones(N), np.inf)


def solve(sphere, S, at_hand, A):
    F, beta = np.full((1, N), np.nan), np.full((1, N), np.nan)
    assert active.ridge_on_set(sphere, S, D, T, A, np.empty((N, N)), at_hand, F, beta) == 0
    return F[0], beta[0]


@pytest.mark.parametrize("bordered", [True, False])
@pytest.mark.parametrize("s2", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("name", SETS)
def test_a_set_after_another_is_solved_as_by_itself(name, s2, bordered):
    S, served = SETS[name]
    sphere, at_hand, A = sphere_of(s2, bordered=bordered), active.nothing_factored(N), np.full((N, N), np.nan)
    solve(sphere, FIRST, at_hand, A)
    factor = A.copy()
    F, beta = solve(sphere, S, at_hand, A)
    assert np.array_equal(A, factor, equal_nan=True) == served
    expected = naive.weighted_ridge_long(X, T[0], S, D, s2).astype(float)
    digits = 1e-12 if bordered else 1e-12 * max(1.0, s2 / 100)  # of what a nearly constant matrix has
    np.testing.assert_allclose(F, expected, rtol=0, atol=digits)
    np.testing.assert_allclose(beta[S], (T[0] - expected)[S] / D[S], rtol=0, atol=digits / D.min())
    assert (beta[np.setdiff1d(np.arange(N), S)] == 0).all()


def test_many_sets_in_a_row():
    sphere, at_hand, A = sphere_of(1.0, bordered=True), active.nothing_factored(N), np.empty((N, N))
    S = FIRST
    for _ in range(30):
        S = np.setxor1d(S, rng.choice(N, rng.integers(0, 4), replace=False))
        expected = naive.weighted_ridge_long(X, T[0], S, D, 1.0).astype(float)
        np.testing.assert_allclose(solve(sphere, S, at_hand, A)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("S", [FIRST, FIRST[1:]], ids=["factored", "changed"])
def test_what_is_not_definite_has_a_status_and_is_forgotten(S):
    sphere, at_hand, A = sphere_of(1.0, bordered=True), active.nothing_factored(N), np.empty((N, N))
    solve(sphere, FIRST, at_hand, A)
    negative = np.where(np.arange(N) == 7, -1e6, D)
    with_it = np.sort(np.r_[S, 7])
    F, beta = np.empty((1, N)), np.empty((1, N))
    assert active.ridge_on_set(sphere, with_it, negative, T, A, A, at_hand, F, beta) != 0
    solve(sphere, FIRST, at_hand, A)


@pytest.mark.parametrize(("s2", "absorbed"), [(0.0, False), (1.0, True), (1e4, False), (np.inf, False)])
def test_a_small_border_is_put_into_the_matrix(s2, absorbed):
    G = naive.kernel_matrix(X, 0.0)
    before = Sphere(False, G.copy(), np.linspace(0.9, 1.1, N), np.inf if s2 == 0 else 1.0 / s2)
    after = absorb_border(before)
    assert (after.inv_c == np.inf and before.inv_c < np.inf) == absorbed
    expected = G + s2 * np.outer(before.u, before.u) if absorbed else G
    np.testing.assert_allclose(after.Z, expected, rtol=1e-15)
