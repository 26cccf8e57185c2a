"""Starts from the sphere before change no bit of a sphere's result. Also run as plain Python, hence the small sizes."""

import itertools

import hypothesis.strategies as st
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

import naive
from fastsl import sphere_neighbours
from fastsl._kernels import box_chain as chain
from fastsl._kernels.block import Block
from fastsl._kernels.box import box
from fastsl._kernels.box_chain import box_in_chain, new_chain
from fastsl._kernels.box_states import is_unique
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders import REGISTRY
from fastsl.decoders.problems import regression_problems
from fastsl.folds import Folds
from test_kernels import make_data, two_terms, work_space
from test_kernels_box import hinge_bounds

COMPILED = not numba.config.DISABLE_JIT
SHAPE = (3, 4, 3) if COMPILED else (2, 2, 3)
NEIGHBOURS = sphere_neighbours(np.ones(SHAPE), np.eye(4), 1.5)
N_SPHERES, N_SAMPLES = len(NEIGHBOURS), 20
GROUPS = np.arange(N_SAMPLES) // 5
LABELS = {
    "two": np.arange(N_SAMPLES) % 2,
    "unequal": (np.arange(N_SAMPLES) % 5 > 1).astype(int),
    "three": np.arange(N_SAMPLES) % 3,
}
ESTIMATORS = {
    "SVC": SVC(kernel="linear"),
    "SVC, tiny C": SVC(kernel="linear", C=1e-7),
    "SVC, small C": SVC(kernel="linear", C=1e-3),
    "SVC, huge C": SVC(kernel="linear", C=1e5),
    "SVC, weights": SVC(kernel="linear", C=0.01, class_weight={0: 3.0, 1: 0.5}),
    "SVC, rbf": SVC(),
    "SVC, poly": SVC(kernel="poly", gamma="auto", degree=2, coef0=1.0),
    "hinge": LinearSVC(loss="hinge", C=0.1, class_weight="balanced"),
    "hinge, no intercept": LinearSVC(loss="hinge", fit_intercept=False),
    "SVR": SVR(kernel="linear", C=0.1),
    "SVR, wide tube": SVR(kernel="linear", epsilon=100.0),
    "SVR, no tube": SVR(kernel="linear", C=0.05, epsilon=0.0),
    "LinearSVR": LinearSVR(C=0.05, epsilon=0.1),
    "LinearSVR, squared": LinearSVR(loss="squared_epsilon_insensitive", C=0.1, epsilon=0.2),
}


def smooth():
    volumes = np.random.default_rng(0).standard_normal((N_SAMPLES, *SHAPE))
    for axis in (1, 2, 3):
        volumes = volumes + np.roll(volumes, 1, axis) + np.roll(volumes, -1, axis)
    X = volumes.reshape(N_SAMPLES, -1) + 2.0 * LABELS["two"][:, None]
    return (X - X.mean(axis=0)) / X.std(axis=0)


def white():
    return np.random.default_rng(1).standard_normal((N_SAMPLES, np.prod(SHAPE)))


def raw():
    return 1e4 + 1e2 * smooth()


def repeated():
    """Samples that repeat, of the same class and of two."""
    X = smooth()
    X[[2, 7]] = X[0]
    X[11] = X[6]
    return X


def some_constant():
    """Voxels without variance, in some spheres all of them."""
    X = white()
    X[:, : X.shape[1] // 2] = 3.0
    return X


def some_missing():
    """Spheres in the middle that cannot be decoded."""
    X = smooth()
    X[4, X.shape[1] // 2] = np.nan
    return X


DATA = (smooth, white, raw, repeated, some_constant, some_missing)
every_data = pytest.mark.parametrize("data", DATA, ids=[data.__name__ for data in DATA])


def plan_of(estimator, y):
    splits = list(LeaveOneGroupOut().split(y, y, GROUPS))
    folds = Folds(N_SAMPLES, tuple(train for train, _ in splits), tuple(test for _, test in splits))
    return REGISTRY[type(estimator)].plan(estimator, y, folds)


def decode(plan, data, centres, part):
    """Results and status of the spheres ``centres``, decoded in that order, by chains of ``part`` spheres."""
    X = np.ascontiguousarray(data().T.astype(np.float32))
    means = np.nan_to_num(X.mean(axis=1)).astype(np.float32)
    X -= means[:, None]
    out, status = np.empty((len(centres), plan.n_out)), np.empty(len(centres), np.int8)
    with kernel_threads(1):
        for start in range(0, len(centres), part):
            rows = slice(start, start + part)
            spheres = NEIGHBOURS.take(centres[rows])
            below = 12 if plan.features_below else 0
            block = Block(
                X, means.astype(float), spheres.indptr, spheres.indices, plan.intercept, below, 1,
                np.arange(len(spheres)),
            )  # fmt: skip
            assert len(spheres) <= 8 or part > 8
            plan.run(block, out[rows], status[rows])
    return out, status


@every_data
@pytest.mark.parametrize("labels", LABELS if COMPILED else ["two"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_order_and_no_split_changes_a_bit(estimator, labels, data):
    plan, spheres = plan_of(ESTIMATORS[estimator], LABELS[labels]), np.arange(N_SPHERES)
    alone, status = decode(plan, data, spheres, 1)
    orders = {
        "as they are": (spheres, N_SPHERES),
        "backwards": (spheres[::-1], N_SPHERES),
        "random": (np.random.default_rng(2).permutation(spheres), N_SPHERES),
        "each twice": (np.repeat(spheres, 2), 2 * N_SPHERES),
        "in parts": (spheres, 5),
    }
    for name, (order, part) in orders.items():
        found, codes = decode(plan, data, order, part)
        np.testing.assert_array_equal(found, alone[order], err_msg=name)
        np.testing.assert_array_equal(codes, status[order], err_msg=name)
    if data is some_missing:
        assert 0 < np.isfinite(alone).all(axis=1).sum() < N_SPHERES


# One problem


def problem(X, y, C, s2, *, eps=0.0, D=0.0):
    """What box takes, but states."""
    n = len(X)
    low, high = hinge_bounds(y, np.full(n, C)) if eps == 0.0 else (np.full(n, -C), np.full(n, C))
    return two_terms(X, s2, "gram"), np.arange(n), np.full(n, D), y, eps, low, high


def one_problem(parts):
    folds = Folds(len(parts[3]), (parts[1],), (parts[1],))
    return regression_problems(parts[3], folds)


def cold(parts):
    """States, f, beta and the factor of the canonical start."""
    n, states = len(parts[3]), np.where(parts[6] > 0.0, 1, -1).astype(np.int8)
    (A, rows), f, beta = work_space(n, n), np.empty(n), np.empty(n)
    assert box(*parts, states, A, rows, f, beta) == 0
    return states, f, beta, A


@pytest.mark.parametrize("s2", [0.0, 1.0, np.inf])
@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_any_states_of_the_sphere_before_lead_to_the_same_bits(seed, eps, s2):
    X, y = make_data(16, 30, seed=seed)
    parts = problem(X, y if eps == 0.0 else 2.0 * y + X[:, 0], 0.02, s2, eps=eps)
    expected = cold(parts)[:3]
    rng = np.random.default_rng(seed)
    for _ in range(10):
        links = new_chain(one_problem(parts))
        links.known[0], links.nearby[0] = True, rng.uniform(-0.03, 0.03, 16)
        A, rows = work_space(16, 30)
        f, beta = np.empty(16), np.empty(16)
        assert box_in_chain(parts[0], 0, 0, *parts[1:], links, A, rows, f, beta) == 0
        for found, canonical in zip((links.state, f, beta), expected, strict=True):
            np.testing.assert_array_equal(found, canonical)
        np.testing.assert_array_equal(links.nearby[0], beta)


@pytest.mark.parametrize("s2", [0.0, 1.0, np.inf])
def test_a_start_at_the_solution_is_taken(monkeypatch, s2):
    X, y = make_data(16, 30)
    parts = problem(X, y, 0.02, s2)
    states, f, beta, A = cold(parts)
    sphere, S, D, t, eps, low, high = parts
    assert is_unique(sphere, S, D, t, eps, low, high, states, A, f, beta, 0.0)
    links = new_chain(one_problem(parts))
    links.known[0], links.nearby[0] = True, beta
    again = np.full_like(A, np.nan), np.full((16, 18), np.nan), np.empty(16), np.empty(16)
    if not hasattr(box, "signatures"):  # plain Python: the canonical start is not needed
        monkeypatch.setattr(chain, "box", None)
    assert box_in_chain(sphere, 0, 0, S, D, t, eps, low, high, links, *again) == 0
    np.testing.assert_array_equal(again[2], f)


def other_states(parts, states):
    """How many other states solve the problem, by trying them all."""
    sphere, _, D, t, _, low, high = parts
    n, K = len(t), naive.both_terms(sphere)
    found = 0
    for tried in itertools.product((0, 1, 2), repeat=n):
        sign = np.where(high > 0.0, 1, -1)
        if tuple(np.abs(states)) != tried and naive.states_solve(K, D, t, low, high, sign * tried, sphere.inv_c == 0.0):
            found += 1
    return found


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_counts_as_unique_is_solved_by_no_other_states(data):
    """Few integers: samples that repeat, margins met by many at once, coefficients at their bounds in groups."""
    n, whole = 4, st.integers(-2, 2).map(float)
    X = np.array(data.draw(st.lists(st.lists(whole, min_size=2, max_size=2), min_size=n, max_size=n)), np.float32)
    y = np.array([1.0, -1.0, 1.0, -1.0])
    C, s2 = data.draw(st.sampled_from([0.25, 1.0, 4.0])), data.draw(st.sampled_from([1.0, np.inf]))
    parts = problem(X, y, C, s2)
    states, f, beta, A = cold(parts)
    sphere, S, D, t, eps, low, high = parts
    if is_unique(sphere, S, D, t, eps, low, high, states, A, f, beta, 0.0):
        assert other_states(parts, states) == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f, beta, A: f.__setitem__(0, np.nan),
        lambda f, beta, A: beta.__setitem__(0, np.nan),
        lambda f, beta, A: A.__setitem__((0, 0), 1e-9),
        lambda f, beta, A: A.__setitem__((0, 0), np.nan),
    ],
    ids=["f", "beta", "pivot", "no pivot"],
)
def test_what_is_no_number_or_nearly_singular_is_not_unique(spoil):
    X, y = make_data(16, 30)
    sphere, S, D, t, eps, low, high = problem(X, y, 10.0, np.inf)
    states, f, beta, A = cold((sphere, S, D, t, eps, low, high))
    assert is_unique(sphere, S, D, t, eps, low, high, states, A, f, beta, 0.0)
    f, beta, A = f.copy(), beta.copy(), A.copy()
    spoil(f, beta, A)
    if np.isnan(f[0]):
        states[0] = 0
    assert not is_unique(sphere, S, D, t, eps, low, high, states, A, f, beta, 0.0)


def test_two_of_the_same_are_not_unique_though_no_coefficient_is_near_a_bound():
    X, y = make_data(16, 30)
    X[2], y[2] = X[0], y[0]
    sphere, S, D, t, eps, low, high = problem(X, y, 10.0, np.inf)
    states, f, beta, A = cold((sphere, S, D, t, eps, low, high))
    if (states[[0, 2]] == 1).all():
        assert min(beta[0], beta[2]) > 1e-3 * np.abs(beta).max()
    assert not is_unique(sphere, S, D, t, eps, low, high, states, A, f, beta, 0.0)


def test_tries_of_the_twin_find_the_solution():
    X, y = make_data(5, 2)
    for s2, C in itertools.product((1.0, np.inf), (0.1, 10.0)):
        parts = problem(X, y, C, s2)
        states, *_ = cold(parts)
        sphere, _, D, t, _, low, high = parts
        free = sphere.inv_c == 0.0
        assert naive.states_solve(naive.both_terms(sphere), D, t, low, high, states, free)
