"""Logistic regression of two classes for all folds of a sphere, from one inverse.

Two Newton steps on all samples (see :func:`fastsl._kernels.logistic.logistic`) leave

    M = (K + D)^-1,    beta,    f = K beta

and a fold, which trains on S and leaves out R, begins where the last would have ended without R, with an inverse of
its own:

    N = M_SS - M_SR (M_RR)^-1 M_RS = (K_SS + D_S)^-1,    beta_S - M_SR (M_RR)^-1 beta_R

Its own Newton steps, from points a on the curves y f = h(a) whose tangents have slopes D', are corrections

    (K_SS + D') delta = r = y h(a) - f + D' (y a - beta)

by conjugate gradients with N for preconditioner, whose products with K come for nothing: K N r = r - D N r. So nothing
of the order of S is factored, unless D' is so far from D that iterations are many: then N is made anew at D'.

r does not depend on N, and neither does the solution, but for rounding; f is computed anew from beta before r is
believed to vanish. Whatever does not come to an end soon is left to :func:`fastsl._kernels.logistic.logistic`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.lapack import multiply_symmetric, subtract_product
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._kernels.rows import add, copy_row, dot
from fastsl._kernels.waist import inverse, set_inverse
from fastsl._runtime.jit import helper, inlined

#: Beyond these y f a coefficient counts as exp(-300) of its cost, or as exp(-30) away from it, which is the last that
#: differs. On raw intensities log-odds of 100 and more are real: cut at 27 they end in a cycle.
NEAREST, FARTHEST = -30.0, 300.0
#: Length of r, each r_i over the root of its D_i, against the largest f: that is how far f is from the solution.
_SETTLED = 1e-11
#: The same once f is computed from beta, which adds rounding (standardised data: 1e-11).
_EXACT = 5e-11
#: Steps begin at log-odds of h where the mean of G_ii times that of the costs is exp(h) times this, and at 0 below.
#: White data with C = 1 (257 here) and 100, and sigma of 2 voxels with C = 1: a fold takes 28, 57, 30 iterations from
#: 0, with 200 27, 32, 31, with 100 23, 29, 34. A second step on all samples takes 50 us, an iteration 1.0: from 0 it
#: saves six folds of white data 40, and of smooth data none.
_FLAT = 200.0
#: Iterations for a step of a fold, beyond which N is made anew (77 us), and how often it is.
_MOST_ITERATIONS, _MOST_INVERSES = 16, 3
#: Where r is shorter, N stays: what iterations are left cost no more than an inverse.
_NEAR = 1e-5
_MOST_STEPS = 20
#: A fold may leave out a sample in so many.
_LEFT_OUT = 3
#: Beyond it a fold's slopes are far from those of all samples, and some folds of few voxels do not come to their end:
#: 48 raw samples of 60 voxels, sd 100, C = 1. But 257 voxels would gain: raw with sd 100 and C = 1, 2.6e6 here, 1.58 ms
#: a sphere instead of 2.47; sigma of 2 voxels with C = 1e4 1.84 instead of 2.44.
_STEEPEST = 1e5
#: Fits of a sphere from which on sharing pays: 3 folds take 0.44 ms instead of 0.55 (sigma 2), and fewer leave out
#: too much.
FEWEST = 3


class Points(NamedTuple):
    """Where the samples of a fit are, with work space."""

    y: NDArray[np.float64]  # (m,) +-1
    cost: NDArray[np.float64]  # (m,)
    d: NDArray[np.float64]  # (m,) diagonal of K
    h: NDArray[np.float64]  # (m,) where on the curves
    e: NDArray[np.float64]  # (m,) exp(h)
    a: NDArray[np.float64]  # (m,) cost / (1 + e)
    D: NDArray[np.float64]  # (m,) slopes of the tangents there
    w: NDArray[np.float64]  # (m,) 1 / D
    D0: NDArray[np.float64]  # (m,) slopes of the inverse at hand
    beta: NDArray[np.float64]  # (m,)
    f: NDArray[np.float64]  # (m,)
    r: NDArray[np.float64]  # (m,)
    z: NDArray[np.float64]  # (m,) N r
    p: NDArray[np.float64]  # (m,) direction of search
    Kp: NDArray[np.float64]  # (m,)
    q: NDArray[np.float64]  # (m,) (K + D) p


class Shared(NamedTuple):
    """What the folds of a sphere share, with work space."""

    M: NDArray[np.float64]  # (n, n)
    all: Points
    points: NDArray[np.float64]  # (16, n)
    N: NDArray[np.float64]  # square, of order at least n
    rows: NDArray[np.float64]  # (>= n, same)
    M_RR: NDArray[np.float64]  # (n / 3, n / 3)
    beta: NDArray[np.float64]  # (1, n)


@helper
def shared_space(work, n):
    """Space for any sphere of n samples in Gram form; ``N`` and ``rows`` are work space of other kernels too."""
    most = n // _LEFT_OUT + 1
    return Shared(
        work.M,
        _named(np.empty((16, n)), n),
        np.empty((16, n)),
        work.A,
        work.rows,
        np.empty((most, most)),
        np.empty((1, n)),
    )


@helper
def _named(v, m):
    # Rows of m without gaps: columns first would leave arrays that Numba takes for strided.
    v = v.reshape(-1)[: v.shape[0] * m].reshape(v.shape[0], m)
    first = v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
    return Points(*first, v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15])


@helper
def diagonal(sphere, d):
    """Diagonal of K; of G where the intercept is free."""
    for i in range(d.shape[0]):
        d[i] = sphere.u[i] ** 2 / sphere.inv_c if 0.0 < sphere.inv_c < np.inf else 0.0
        if sphere.primal:
            for q in range(sphere.Z.shape[1]):
                d[i] += sphere.Z[i, q] ** 2
        else:
            d[i] += sphere.Z[i, i]


@inlined
def share(sphere, y, cost, shared):
    """Steps on all samples, from the same place on all curves. Returns whether folds may begin from there."""
    at, n = shared.all, y.shape[0]
    steepness = _steepness(sphere, cost)
    if not steepness <= _STEEPEST:
        return False
    h = np.log(max(1.0, steepness / _FLAT))
    e = np.exp(h)
    diagonal(sphere, at.d)
    for i in range(n):
        at.y[i], at.cost[i], at.h[i], at.e[i] = y[i], cost[i], h, e
        at.a[i], at.D[i] = cost[i] / (1.0 + e), (1.0 + e) ** 2 / (cost[i] * e)
        at.beta[i], at.f[i], at.r[i] = y[i] * at.a[i], y[i] * h, 0.0
    if _step_on_all(sphere, at, shared.N, shared.rows) != 0:
        return False
    _to_curves(at)
    copy_row(at.D, at.D0)
    if inverse(sphere, 1.0, at.D0, shared.M, shared.rows) != 0:
        return False
    multiply_symmetric(shared.M, n, at.r, at.z)
    for i in range(n):
        at.beta[i] += at.z[i]
        at.f[i] += at.r[i] - at.D0[i] * at.z[i]
    return True


@helper
def _step_on_all(sphere, at, A, rows):
    """beta = (K + D)^-1 t with t = f + r + D beta, and f = t - D beta. Returns 0, or 1: not positive definite."""
    G, u, n = sphere.Z, sphere.u, at.y.shape[0]
    for i in range(n):
        copy_row(G[i, i:], A[i, i:])
        A[i, i] += at.D[i]
        rows[0, i] = at.f[i] + at.r[i] + at.D[i] * at.beta[i]
        rows[1, i] = u[i]
        at.f[i] = rows[0, i]
    if cholesky(A, n) != 0:
        return 1
    cholesky_solve(A, n, rows, 2)
    g = dot(u, rows[0]) / (sphere.inv_c + dot(u, rows[1]))
    for i in range(n):
        at.beta[i] = rows[0, i] - g * rows[1, i]
        at.f[i] -= at.D[i] * at.beta[i]
    return 0


@helper
def _steepness(sphere, cost):
    """Mean of G_ii times that of the costs."""
    n, squares, costs = cost.shape[0], 0.0, 0.0
    for i in range(n):
        squares += sphere.Z[i, i] / n
        costs += cost[i] / n
    return squares * costs


@inlined
def fit_fold(sphere, train, cost, shared, F):
    """Fit the samples ``train`` (n,), f on all samples in ``F`` (1, n). Returns whether that is the solution."""
    S, R = np.flatnonzero(train), np.flatnonzero(~train)
    if _LEFT_OUT * R.shape[0] > train.shape[0]:
        return False
    at = _named(shared.points, S.shape[0])
    if _begin(shared, S, R, cost, at) != 0:
        return False
    inverses, slow, exact = 0, False, False
    for _ in range(_MOST_STEPS):
        length, scale = _to_curves(at)
        if exact and length <= _EXACT * scale:
            return True
        if length <= _SETTLED * scale:
            if not _evaluate(sphere, S, at, shared.beta[0], F[0]):
                return False
            exact = True
            continue
        if slow and length > _NEAR * scale:
            inverses += 1
            if inverses > _MOST_INVERSES or not _renew(sphere, S, at, shared):
                return False
        goal = max(length * min(0.1, length), 0.5 * _SETTLED * scale)
        slow, exact = not _correct(at, shared.N, goal), False
    return False


@helper
def _begin(shared, S, R, cost, at):
    """N, and beta and f without R. Returns 0, or 1 where M_RR is not positive definite."""
    M, N, rows, M_RR, start = shared.M, shared.N, shared.rows, shared.M_RR, shared.all
    m, r = S.shape[0], R.shape[0]
    # Unsigned, since indices that may count from the end are looked at one by one.
    places = S.astype(np.uint64)
    for a in range(m):
        i = S[a]
        row, own = M[i], N[a]
        for b in range(a, m):
            own[b] = row[places[b]]
        at.y[a], at.cost[a], at.d[a], at.a[a] = start.y[i], cost[i], start.d[i], start.a[i] / start.cost[i] * cost[i]
        at.h[a], at.e[a], at.D0[a], at.D[a] = start.h[i], start.e[i], start.D[i], start.D[i]
        at.beta[a], at.f[a], at.z[a] = start.beta[i], start.f[i], 0.0
    for a in range(r):
        row, own = M[R[a]], rows[a]
        for b in range(m):
            own[b] = row[places[b]]
        own[m] = start.beta[R[a]]
        for b in range(a, r):
            M_RR[a, b] = row[R[b]]
    if r == 0:
        return 0
    if cholesky(M_RR, r) != 0:
        return 1
    _solve_rows(M_RR, r, rows, m + 1)
    subtract_product(rows, m, r, N)
    for a in range(r):
        add(rows[a, m], rows[a], at.z)
    for a in range(m):
        at.beta[a] -= at.z[a]
        at.f[a] += at.D0[a] * at.z[a]
    return 0


@helper
def _solve_rows(U, r, rows, width):
    """U' X = B in place for the first r rows, as far as ``width``."""
    for a in range(r):
        own = rows[a, :width]
        for i in range(width):
            own[i] /= U[a, a]
        for b in range(a + 1, r):
            add(-U[a, b], own, rows[b, :width])


@helper
def _to_curves(at):
    """From beta and f to the points a, D and r. Returns the length of r, and what it is to be small against.

    That is the largest f, or 1, over the root of 4 / cost, the least of D, or over 1.

    Between f and a as in :func:`fastsl._kernels.logistic.logistic`, but in proportions of h instead of log a, and with

        log t = 3 (t^2 - 1) / (t^2 + 4 t + 1)

    which is right but for the fifth power of t - 1: any point near there will do, if it is on the curve. And it goes no
    farther than 3, which saves a step on all samples: after one, a fold takes 31 iterations instead of 60.
    """
    m = at.y.shape[0]
    # Loops of few arrays LLVM vectorises, though not the exponentials between them.
    for i in range(m):
        c, a = at.cost[i], at.a[i]
        by_a = min(max(at.y[i] * at.beta[i], 0.01 * a), c - 0.01 * (c - a))
        t = (c - by_a) / (by_a * at.e[i])
        part = at.d[i] / (at.d[i] + at.D[i])
        h = part * (at.h[i] + 3.0 * (t * t - 1.0) / (t * t + 4.0 * t + 1.0)) + (1.0 - part) * at.y[i] * at.f[i]
        at.h[i] = min(max(h, NEAREST), FARTHEST)
    for i in range(m):
        at.e[i] = np.exp(at.h[i])
    for i in range(m):
        at.a[i] = at.cost[i] / (1.0 + at.e[i])
    for i in range(m):
        at.w[i] = at.cost[i] * at.e[i] / ((1.0 + at.e[i]) * (1.0 + at.e[i]))
        at.D[i] = 1.0 / at.w[i]
    for i in range(m):
        at.r[i] = at.y[i] * at.h[i] - at.f[i] + at.D[i] * (at.y[i] * at.a[i] - at.beta[i])
    largest, costs = 1.0, 0.0
    for i in range(m):
        largest, costs = max(largest, abs(at.f[i])), max(costs, at.cost[i])
    return np.sqrt(_square(at)), largest * min(1.0, 0.5 * np.sqrt(costs))


@helper
def _square(at):
    """Sum of r^2 / D."""
    for i in range(at.r.shape[0]):
        at.z[i] = at.r[i] * at.w[i]
    return dot(at.r, at.z)


@helper
def _correct(at, N, goal):
    """Conjugate gradients until r is no longer than ``goal``. Returns whether it is, soon."""
    m, before = at.r.shape[0], np.inf
    at.p[:] = 0.0
    at.Kp[:] = 0.0
    for _ in range(_MOST_ITERATIONS):
        multiply_symmetric(N, m, at.r, at.z)
        along = dot(at.r, at.z)
        ratio = along / before
        for i in range(m):
            at.p[i] = at.z[i] + ratio * at.p[i]
        for i in range(m):
            at.Kp[i] = at.r[i] - at.D0[i] * at.z[i] + ratio * at.Kp[i]
        for i in range(m):
            at.q[i] = at.Kp[i] + at.D[i] * at.p[i]
        step = along / dot(at.p, at.q)
        add(step, at.p, at.beta)
        add(step, at.Kp, at.f)
        add(-step, at.q, at.r)
        if _square(at) <= goal * goal:
            return True
        before = along
    return False


@helper
def _renew(sphere, S, at, shared):
    """Make N at the present D."""
    copy_row(at.D, at.D0)
    return set_inverse(sphere, S, at.D0, shared.N, shared.rows) == 0


@helper
def _evaluate(sphere, S, at, beta, F):
    """F = G beta + g u at all samples, and f. Returns whether u' beta = g / c.

    g is fitted, not c u' beta: where c is huge, the rounding of beta would be all there is to see.
    """
    u, g = sphere.u, 0.0
    beta[:] = 0.0
    for a in range(S.shape[0]):
        beta[S[a]] = at.beta[a]
    multiply_symmetric(sphere.Z, u.shape[0], beta, F)
    if sphere.inv_c < np.inf:
        along, length, total, size = 0.0, 0.0, 0.0, 0.0
        for a in range(S.shape[0]):
            i = S[a]
            along += u[i] * (at.f[a] - F[i])
            length += u[i] * u[i]
            total += u[i] * beta[i]
            size += abs(u[i] * beta[i])
        g = along / length
        if not abs(total - g * sphere.inv_c) <= 1e-12 * size:
            return False
    for i in range(u.shape[0]):
        F[i] += g * u[i]
    for a in range(S.shape[0]):
        at.f[a] = F[S[a]]
    return True
