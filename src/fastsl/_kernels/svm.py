"""Support vector machines in the primal, exact: no tolerance to tune.

min  1/2 ||w||^2 + sum_i C_i loss(y_i f_i),   f = K beta      y = +-1, intercept penalised as K has it
squared hinge   loss(v) = max(0, 1 - v)^2
hinge           loss(v) = max(0, 1 - v)
"""

import numba as nb
import numpy as np

from fastsl._kernels.block import PER_TASK, allocate, read_sphere, write_problem
from fastsl._kernels.waist import weighted_ridge
from fastsl._runtime.jit import entry, helper

#: A sample whose margin is 1, or whose coefficient is 0, to within this is a tie: either side gives the same solution.
#: Coefficients are compared with the largest one: on raw data all are tiny (1e-7), and an absolute tolerance let
#: wrong ones pass. The looser tolerance is for systems that round more; it applies once steps are no longer plain.
_TIE, _LOOSE_TIE = 1e-10, 1e-7
#: Plain steps before the line search. It costs steps where plain ones do not cycle: 37 against 31 for six folds of
#: smooth standardised data, 123 against 60 of smooth raw data (120 samples).
_PLAIN_STEPS, _MOST_STEPS = 20, 200


@helper
def squared_hinge(sphere, train, D, T, A, rows, F, beta):
    """Modified finite Newton (Keerthi and DeCoste 2005, JMLR 6:341), with D = 1 / (2 C).

    On the active set S = {i : y_i f_i < 1} the loss is that of ridge regression: solve it there, read off the new S,
    and stop when S stands still: the exact optimum. Steps that have not come to that are then shortened by an exact
    line search, which excludes cycles.

    ``F`` (1, n) enters as a guess of the decision values (all zero: start from all samples) and leaves as the
    solution, with ``beta``. The solution depends on the last S alone, not on the guess.
    Returns 0, 1 (not positive definite) or 2 (no standstill).
    """
    n, y = T.shape[1], T[0]
    F_new, beta_new, S = np.empty((1, n)), np.empty((1, n)), np.empty(n, np.int64)
    for step in range(_MOST_STEPS):
        m = 0
        for i in range(n):
            if train[i] and y[i] * F[0, i] < 1.0:
                S[m] = i
                m += 1
        if m == 0:  # every sample is beyond the margin, by a guess or a long step: the ridge of nothing is zero
            F_new[:] = 0.0
            beta_new[:] = 0.0
        elif weighted_ridge(sphere, S[:m], D, T, A, rows, F_new, beta_new) != 0:
            return 1
        moved = _set_moved(train, y, S[:m], F_new[0], beta_new[0], _TIE if step < _PLAIN_STEPS else _LOOSE_TIE)
        t = 1.0
        if moved and step >= _PLAIN_STEPS:
            t = _line_search(train, D, y, F[0], beta[0], F_new[0], beta_new[0])
        for i in range(n):
            F[0, i] = F_new[0, i] if t == 1.0 else F[0, i] + t * (F_new[0, i] - F[0, i])
            beta[0, i] = beta_new[0, i] if t == 1.0 else beta[0, i] + t * (beta_new[0, i] - beta[0, i])
        if not moved:
            return 0
    return 2


@helper
def _set_moved(train, y, S, f, beta, tie):
    """Whether S is not the active set of the solution on S: y f = 1 - D a there, so a >= 0; y f >= 1 elsewhere."""
    largest = 0.0
    for i in S:
        largest = max(largest, abs(beta[i]))
    a = 0
    for i in range(len(f)):
        if a < len(S) and S[a] == i:
            a += 1
            if y[i] * beta[i] < -tie * largest:
                return True
        elif train[i] and y[i] * f[i] < 1.0 - tie:
            return True
    return False


@helper
def _line_search(train, D, y, f, beta, f_new, beta_new):
    """Minimise the objective along the step: its derivative g is piecewise linear and rising, with slope h."""
    n = f.shape[0]
    g0, h0 = 0.0, 0.0
    for i in range(n):
        g0 += (beta_new[i] - beta[i]) * f[i]
        h0 += (beta_new[i] - beta[i]) * (f_new[i] - f[i])
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(60):
        g, h = g0 + t * h0, h0
        for i in range(n):
            if train[i]:
                step = f_new[i] - f[i]
                gap = y[i] - f[i] - t * step
                if y[i] * gap > 0.0:
                    g -= step * gap / D[i]
                    h += step * step / D[i]
        if g > 0.0:
            high = t
        else:
            low = t
        if h <= 0.0:
            return t
        following = t - g / h
        if not low < following < high:
            following = 0.5 * (low + high) if high < np.inf else 2.0 * t
        if abs(following - t) <= 1e-14 * t:
            break
        t = following
    return t


@helper
def hinge(sphere, S, C, T, A, rows, F, beta):
    """Interior point method for the dual, 0 <= a_i <= C_i with a = y beta:

        min  1/2 a' Q a - sum(a),   Q_ij = y_i y_j K_ij

    with multipliers low (a >= 0) and high (a <= C). Each step solves one ridge system with D = low/a + high/(C - a)
    (Ferris and Munson 2003, SIAM J. Optim. 13:783). ``S`` holds the training samples. Ends at complementarity
    1e-11 of the mean coefficient, or 1e-8 where rounding allows no more. Returns 0, 1 (not positive definite) or 2 (no
    convergence).
    """
    y, n, m = T[0], T.shape[1], S.shape[0]
    D, low, high = np.empty(n), np.empty(n), np.empty(n)
    R, dF, dbeta = np.empty((1, n)), np.empty((1, n)), np.empty((1, n))
    scale = m / _trace(sphere, S)
    positive, negative = 0.0, 0.0
    for i in S:
        if y[i] > 0.0:
            positive += min(0.5 * C[i], scale)
        else:
            negative += min(0.5 * C[i], scale)
    beta[:] = 0.0
    for i in S:
        # Start where f is of order 1 and sum(beta) = 0: K is large and nearly constant for raw data, and what starts
        # large leaves its rounding in F.
        share = min(1.0, negative / positive) if y[i] > 0.0 else min(1.0, positive / negative)
        low[i], high[i], beta[0, i] = 1.0, 1.0, share * min(0.5 * C[i], scale) * y[i]
    _apply(sphere, S, beta[0], F[0])
    centring = 0.1
    for _ in range(200):
        mu, residual, mean = 0.0, 0.0, 0.0
        for i in S:
            a = y[i] * beta[0, i]
            mean += a / m
            mu += (low[i] * a + high[i] * (C[i] - a)) / (2.0 * m)
            residual = max(residual, abs(y[i] * F[0, i] - 1.0 - low[i] + high[i]))
        if mu <= 1e-11 * mean and residual <= 1e-9:
            return 0
        target = centring * mu
        for i in S:
            a = y[i] * beta[0, i]
            D[i] = low[i] / a + high[i] / (C[i] - a)
            R[0, i] = y[i] * (1.0 - y[i] * F[0, i] + target / a - target / (C[i] - a))
        if weighted_ridge(sphere, S, D, R, A, rows, dF, dbeta) != 0:
            # At the very end weights 1 / D of raw data drown the penalty: 1e-8 is then as near as it gets.
            return 0 if mu <= 1e-8 * mean and residual <= 1e-9 else 1
        longest = 1.0
        for i in S:
            a, da = y[i] * beta[0, i], y[i] * dbeta[0, i]
            dlow = target / a - low[i] - low[i] / a * da
            dhigh = target / (C[i] - a) - high[i] + high[i] / (C[i] - a) * da
            longest = min(longest, _room(a, da), _room(C[i] - a, -da))
            longest = min(longest, _room(low[i], dlow), _room(high[i], dhigh))
        for i in S:
            a, da = y[i] * beta[0, i], y[i] * dbeta[0, i]
            low[i] += longest * (target / a - low[i] - low[i] / a * da)
            high[i] += longest * (target / (C[i] - a) - high[i] + high[i] / (C[i] - a) * da)
            beta[0, i] += longest * dbeta[0, i]
        for i in range(F.shape[1]):
            F[0, i] += longest * dF[0, i]
        centring = 0.01 if longest > 0.9 else 0.3
    return 2


@helper
def _trace(sphere, S):
    """Sum of G_ii over S, at least a little."""
    total = 1e-300
    for i in S:
        if sphere.primal:
            for q in range(sphere.Z.shape[1]):
                total += sphere.Z[i, q] ** 2
        else:
            total += sphere.Z[i, i]
    return total


@helper
def _room(value, step):
    """The part of ``step``, at most 1, that leaves at least half a per cent of ``value``."""
    return 1.0 if step >= 0.0 else min(1.0, -0.995 * value / step)


@helper
def _apply(sphere, S, beta, f):
    """F = K[:, S] beta_S"""
    Z, u, inv_c = sphere.Z, sphere.u, sphere.inv_c
    n, p = Z.shape
    g = 0.0
    for i in S:
        g += u[i] * beta[i]
    g = g / inv_c if inv_c < np.inf else 0.0
    for i in range(n):
        f[i] = g * u[i]
    if sphere.primal:
        w = np.zeros(p)
        for i in S:
            for q in range(p):
                w[q] += beta[i] * Z[i, q]
        for i in range(n):
            for q in range(p):
                f[i] += Z[i, q] * w[q]
    else:
        for j in S:
            for i in range(n):
                f[i] += beta[j] * Z[j, i]


@helper
def _squared_hinge_sphere(sphere, problems, work, out):
    """Every problem of one sphere; returns the first status that is not 0.

    Target by target, so that each fold starts from the decision values of the fold before: a sixth less time.
    """
    n = problems.train.shape[1]
    D, F, beta = np.empty(n), np.empty((1, n)), np.empty((1, n))
    for target in range(problems.targets.shape[0]):
        T = problems.targets[target : target + 1]
        F[:] = 0.0
        for q in range(len(problems.target)):
            if problems.target[q] == target:
                for i in range(n):
                    D[i] = 0.5 * problems.ridge[q, i]
                train = problems.train[problems.fold[q]]
                code = squared_hinge(sphere, train, D, T, work.A, work.rows, F, beta)
                if code != 0:
                    return code
                write_problem(problems, q, F[0], out)
    return 0


@helper
def _hinge_sphere(sphere, problems, work, out):
    """Every problem of one sphere; returns the first status that is not 0."""
    n = problems.train.shape[1]
    C, F, beta = np.empty(n), np.empty((1, n)), np.empty((1, n))
    for q in range(len(problems.target)):
        T = problems.targets[problems.target[q] : problems.target[q] + 1]
        for i in range(n):
            C[i] = 1.0 / problems.ridge[q, i]
        S = np.flatnonzero(problems.train[problems.fold[q]])
        code = hinge(sphere, S, C, T, work.A, work.rows, F, beta)
        if code != 0:
            return code
        write_problem(problems, q, F[0], out)
    return 0


# Numba analyses the whole body of a prange, which takes longer than compiling it: so the body is one call. The two
# losses are two kernels, so that nobody waits for the compilation of what is not used.


@helper
def _squared_hinge_task(block, problems, start, stop, out, status):
    work = allocate(block, start, stop, 0)
    for b in range(start, stop):
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _squared_hinge_sphere(read_sphere(block, b, work), problems, work, out[b])
            if status[b] != 0:
                out[b] = np.nan


@entry
def svc_squared_hinge(block, problems, out, status):
    """Held-out decision values ``out`` (n_centres, n_out), NaN where ``status`` (n_centres,) is not 0.

    ``problems.ridge`` is 1 / C. Status 1: not positive definite; 2: no convergence; -1: fewer than ``min_voxels``.
    """
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + PER_TASK - 1) // PER_TASK):
        _squared_hinge_task(block, problems, task * PER_TASK, min(n_centres, (task + 1) * PER_TASK), out, status)


@helper
def _hinge_task(block, problems, start, stop, out, status):
    work = allocate(block, start, stop, 0)
    for b in range(start, stop):
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _hinge_sphere(read_sphere(block, b, work), problems, work, out[b])
            if status[b] != 0:
                out[b] = np.nan


@entry
def svc_hinge(block, problems, out, status):
    """As :func:`svc_squared_hinge`, with the hinge loss."""
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + PER_TASK - 1) // PER_TASK):
        _hinge_task(block, problems, task * PER_TASK, min(n_centres, (task + 1) * PER_TASK), out, status)
