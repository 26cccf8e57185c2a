"""LinearSVC with the squared hinge loss by the samples beyond the margin, once the kernel matrix is inverted.

With d = 1 / (2 C), M = (K + diag(d))^-1 over all samples and J those beyond the margin or held out of a fold, beta_J is
zero, and the targets t (y, or 0 where held out) are there wrong by delta = f - t:

    M_JJ delta_J = -c_J,    c = M t,    beta = c + M_J' delta_J,    f = t - d beta + delta

so that a Newton step factors a matrix of the order of J, for any fold. Of smooth data a quarter of the samples is
beyond the margin and a sixth held out, where :func:`fastsl._kernels.svm.squared_hinge` factors the others.

Rounding in M grows by the condition of M_JJ. Solutions are therefore put to the test, in a tenth of the time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._runtime.jit import helper, inlined

#: A sample whose margin is 1, or whose coefficient is 0, to within this is a tie: either side gives the same
#: solution. Coefficients are compared with the largest one: on raw data all are tiny (1e-7), and an absolute tolerance
#: let wrong ones pass.
TIE = 1e-10
#: Plain steps before the line search. It costs steps where plain ones do not cycle: 37 against 31 for six folds of
#: smooth standardised data, 123 against 60 of smooth raw data (120 samples).
PLAIN_STEPS = 20
#: More samples in J than this many times the others are not worth their factor. LinearSVC (120 volumes, smooth),
#: standardised and raw: with 1 450 and 820 us a sphere, with 1.3 445 and 753, with 1.7 437 and 739; without M 620 and
#: 787.
MOST_AWAY = 1.7
#: Largest difference between f and K beta, in margins. Measured: standardised data 1e-13; raw ones of mean 1e4 and
#: standard deviation 1e2, smooth, 1e-9 (120 samples) and 2e-9 of the largest f (400 samples).
_EXACT = 1e-8
#: Held-out values below this are left with too few digits: they are sums of labels, which round to 1e-16.
_FAINT = 1e-8


class Space(NamedTuple):
    """Work space for n samples."""

    A: NDArray[np.float64]  # (n, n) for M_JJ
    delta: NDArray[np.float64]  # (1, n)
    beta: NDArray[np.float64]  # (n,)
    f: NDArray[np.float64]  # (n,)
    J: NDArray[np.int64]  # (n,)
    product: NDArray[np.float64]  # (n,)
    away: NDArray[np.bool_]  # (n,)
    held_out: NDArray[np.bool_]  # (n,)


@helper
def margin_space(n):
    """Work space for n samples."""
    v, flags = np.empty((3, n)), np.empty((2, n), np.bool_)
    return Space(np.empty((n, n)), np.empty((1, n)), v[0], v[1], np.empty(n, np.int64), v[2], flags[0], flags[1])


@helper
def settle(M, c, y, away, held_out, d, most_away, space):
    """Newton steps until J stands still; fills ``space.f``, ``space.beta``, ``space.delta``, ``space.J``.

    ``c``, ``y`` (+-1) and ``d`` are (m,), ``held_out`` boolean, as is ``away``, which enters as a guess of J and leaves
    as the solution's, on which alone, but for rounding, the solution depends. Returns the length of J; -1 where it does
    not stand still, or is more than ``most_away`` times as long as the list of the others.
    """
    m, J = y.shape[0], space.J
    for _ in range(PLAIN_STEPS):
        a = 0
        for j in range(m):
            if away[j]:
                J[a] = j
                a += 1
        if a > most_away * (m - a) or _step(M, J[:a], c, space.A, space.delta, space.beta[:m]) != 0:
            return -1
        if not _read_off(y, J[:a], held_out, d, space.delta[0], space.beta, space.f, away):
            return a
    return -1


@helper
def _step(M, J, c, A, delta, beta):
    """delta_J and beta; returns 1 where M_JJ is not positive definite."""
    for a in range(J.shape[0]):
        row = M[J[a]]
        for b in range(a, J.shape[0]):
            A[a, b] = row[J[b]]
        delta[0, a] = -c[J[a]]
    if J.shape[0] > 0:
        if cholesky(A, J.shape[0]) != 0:
            return 1
        cholesky_solve(A, J.shape[0], delta, 1)
    for j in range(c.shape[0]):
        beta[j] = c[j]
    for a in range(J.shape[0]):
        row, step = M[J[a]], delta[0, a]
        for j in range(c.shape[0]):
            beta[j] += step * row[j]
    for j in J:
        beta[j] = 0.0
    return 0


@helper
def _read_off(y, J, held_out, d, delta, beta, f, away):
    """Fill f and J; whether J moved, which has y f >= 1 beyond the margin, y beta >= 0 within."""
    largest, moved = 0.0, False
    for j in range(y.shape[0]):
        largest = max(largest, abs(beta[j]))
    for j in range(y.shape[0]):
        f[j] = y[j] - d[j] * beta[j]
        wrong = y[j] * beta[j] < -TIE * largest
        away[j] |= wrong
        moved |= wrong
    for a in range(J.shape[0]):
        j = J[a]
        if held_out[j]:
            f[j] = delta[a]
            continue
        f[j] += delta[a]
        if y[j] * delta[a] < -TIE:
            away[j], moved = False, True
    return moved


@inlined
def fit_fold(sphere, M, c, y, train, d, F, most_away, space):
    """Fit the samples ``train``, with c = M t; returns whether the row ``F`` (n,) got every sample's decision value.

    F enters as a guess, zeros to start from all samples, and is left alone where there is no solution.
    """
    n, held_out, away = y.shape[0], space.held_out, space.away
    for i in range(n):
        held_out[i] = not train[i]
        away[i] = held_out[i] or y[i] * F[i] >= 1.0
    if settle(M, c, y, away, held_out, d, most_away, space) < 0:
        return False
    if not is_exact(sphere, train, space.beta, space.f, space.product):
        return False
    for i in range(n):
        F[i] = space.f[i]
    return True


@helper
def is_exact(sphere, train, beta, f, product):
    """Whether f = G beta + g u at every sample, to ``_EXACT`` of a margin or of the largest f, and is not ``_FAINT``.

    g is fitted, not c u.beta: where c is huge, the rounding of beta would be all there is to see.
    """
    Z, u = sphere.Z, sphere.u
    product[:] = 0.0
    if sphere.primal:
        w = np.zeros(Z.shape[1])
        for j in range(beta.shape[0]):
            for p in range(w.shape[0]):
                w[p] += beta[j] * Z[j, p]
        for i in range(f.shape[0]):
            for p in range(w.shape[0]):
                product[i] += Z[i, p] * w[p]
    else:
        for j in range(beta.shape[0]):
            if beta[j] != 0.0:
                row, b = Z[j], beta[j]
                for i in range(f.shape[0]):
                    product[i] += b * row[i]
    along_u, length = 0.0, 0.0
    for i in range(f.shape[0]):
        along_u += u[i] * (f[i] - product[i])
        length += u[i] * u[i]
    largest, held_out = 1.0, np.inf
    for i in range(f.shape[0]):
        largest = max(largest, abs(f[i]))
        if not train[i]:
            held_out = max(held_out if held_out < np.inf else 0.0, abs(f[i]))
    for i in range(f.shape[0]):
        if not abs(product[i] + u[i] * along_u / length - f[i]) <= _EXACT * largest:  # so that NaN is not exact
            return False
    return held_out >= _FAINT


@helper
def training_targets(problems):
    """Targets of every problem, zero where it does not train: (n_problems, n_samples)."""
    T = np.zeros((problems.target.shape[0], problems.train.shape[1]))
    for q in range(T.shape[0]):
        for i in range(T.shape[1]):
            if problems.train[problems.fold[q], i]:
                T[q, i] = problems.targets[problems.target[q], i]
    return T
