"""Logistic regression with an l2 penalty, by Newton's method, to the optimum.

    min  sum_i cost_i log(1 + exp(-y_i f_i)) + 1/2 ||w||^2                      two classes, y = +-1
    min  sum_i cost_i (log sum_k exp(f_ik) - f_i,y_i) + 1/2 sum_k ||w_k||^2     more

With f = K beta, a Newton step is ridge regression of a working response (iteratively reweighted least squares). For
more than two classes the steps of the classes are coupled: every sample's coefficients sum to zero over classes
(Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, section 3.5). Folds of two classes are fitted
from one inverse where that is faster: see :mod:`fastsl._kernels.logistic_shared`.
"""

import numpy as np

from fastsl._kernels.block import allocate, most_targets, read_sphere, write_problem
from fastsl._kernels.logistic_shared import FARTHEST, FEWEST, NEAREST, diagonal, fit_fold, share, shared_space
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.waist import set_inverse, weighted_ridge
from fastsl._runtime.jit import helper, inlined

#: Steps are quadratic in the end: one that moves f by less than this leaves an error of its square.
_STILL = 1e-6
_MOST_STEPS = 100
#: Steps of two classes that have not settled by then go half as far: some (1 of 70 spheres, raw, C = 1e4) go in cycles.
_FULL_STEPS = 30


@helper
def logistic(sphere, S, cost, T, A, rows, F, beta):
    """Two classes, f on all samples in ``F`` (1, n) with ``beta``. ``S``: training samples.

    At the solution every coefficient a_i = y_i beta_i, between 0 and its cost, lies on the curve

        y_i f_i = h(a_i) = log((cost_i - a_i) / a_i)

    A step solves f = K beta with the tangents of all curves, which is a ridge regression, and goes back to the curves:
    keeping f where K_ii is smaller than the tangent's slope, a where it is larger, in between in proportion. To keep f
    alone is the usual reweighted least squares: 9 steps in place of 6 for standardised data, and on raw intensities,
    nearly separable, it does not always come to an end. To start from another fold's solution saves no step.

    Returns 0, 1 (not positive definite) or 2 (no standstill).
    """
    y, n = T[0], T.shape[1]
    D, R, d = np.empty(n), np.empty((1, n)), np.empty(n)
    a, before = 0.5 * cost, np.empty(n)
    diagonal(sphere, d)
    for step in range(_MOST_STEPS):
        for i in S:
            before[i] = F[0, i]
            D[i] = cost[i] / (a[i] * (cost[i] - a[i]))
            R[0, i] = y[i] * (np.log((cost[i] - a[i]) / a[i]) + D[i] * a[i])
        if weighted_ridge(sphere, S, D, R, A, rows, F, beta) != 0:
            return 1
        largest, moved = 1.0, np.inf if step == 0 else 0.0
        for i in S:
            by_f = cost[i] / (1.0 + np.exp(min(max(y[i] * F[0, i], NEAREST), FARTHEST)))
            by_a = min(max(y[i] * beta[0, i], 0.01 * a[i]), cost[i] - 0.01 * (cost[i] - a[i]))
            part = d[i] / (d[i] + D[i])
            following = by_a**part * by_f ** (1.0 - part)
            a[i] = following if step < _FULL_STEPS else np.sqrt(a[i]) * np.sqrt(following)
            largest, moved = max(largest, abs(F[0, i])), max(moved, abs(F[0, i] - before[i]))
        if moved <= _STILL * largest:
            return 0
    return 2


@inlined
def _logistic_sphere(sphere, problems, work, out):
    """Every problem of one sphere; returns the first status that is not 0."""
    n, n_problems = problems.train.shape[1], problems.target.shape[0]
    cost, F, beta = np.empty(n), np.empty((1, n)), np.empty((1, n))
    shared, sharing = shared_space(work, n), not sphere.primal and n_problems >= FEWEST
    for q in range(n_problems):
        train, T = problems.train[problems.fold[q]], problems.targets[problems.target[q] : problems.target[q] + 1]
        for i in range(n):
            cost[i] = 1.0 / problems.ridge[q, i]
        if q == 0 and sharing:
            sharing = share(sphere, T[0], cost, shared)
        sharing = sharing and problems.target[q] == problems.target[0]
        # Where one fold does not come to its end, the others will hardly.
        sharing = sharing and fit_fold(sphere, train, cost, shared, F)
        if not sharing:
            code = logistic(sphere, np.flatnonzero(train), cost, T, work.A, work.rows, F, beta)
            if code != 0:
                return code
        write_problem(problems, q, F[0], out)
    return 0


@over_spheres
def logistic_two(block, problems, out, status):
    """Held-out log-odds ``out`` (n_centres, n_out), two classes. ``problems.ridge`` is 1 / cost.

    Status 1: not positive definite; 2: no convergence; -1: fewer than ``min_voxels``.
    """
    work = allocate(block, 0)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _logistic_sphere(read_sphere(block, b, work), problems, work, out[b])
            if status[b] != 0:
                out[b] = np.nan


# More than two classes: a fold's problems are its classes, and their targets +-1 say which is a sample's own.


@helper
def _probabilities(F, S, P):
    """P (k, m) = softmax of F (k, n) on the samples S, at least 1e-12."""
    k = F.shape[0]
    for a in range(S.shape[0]):
        largest, total = -np.inf, 0.0
        for c in range(k):
            largest = max(largest, F[c, S[a]])
        for c in range(k):
            P[c, a] = np.exp(F[c, S[a]] - largest)
            total += P[c, a]
        for c in range(k):
            P[c, a] = max(P[c, a] / total, 1e-12)


@helper
def _coupled_step(sphere, S, cost, T, F, P, E, M, rows, Z, beta):
    """Coefficients beta_c = E_c (z_c - s) with s such that sum_c beta_c = 0: (sum_c E_c) s = sum_c E_c z_c.

    z_c = f_c + (own_c - p_c) / p_c and E_c = (K + diag(1 / (cost p_c)))^-1. ``Z`` leaves as z_c - s - D_c beta_c, the
    new f on S. Returns 0, or 1 where a matrix is not positive definite.
    """
    k, m = P.shape[0], S.shape[0]
    D = np.empty(m)
    for a in range(m):
        rows[1, a] = 0.0
        for b in range(m):
            M[a, b] = 0.0
    for c in range(k):
        for a in range(m):
            own = 1.0 if T[c, S[a]] > 0.0 else 0.0
            D[a] = 1.0 / (cost[S[a]] * P[c, a])
            Z[c, a] = F[c, S[a]] + (own - P[c, a]) / P[c, a]
        if set_inverse(sphere, S, D, E[c], rows) != 0:
            return 1
        for a in range(m):
            z = Z[c, a]
            for b in range(m):
                M[a, b] += E[c, a, b]
                rows[1, b] += E[c, a, b] * z
    if sphere.inv_c == 0.0:
        # Free intercepts leave a shift common to all classes open: M has the null vector 1, and s any multiple of it.
        trace = 0.0
        for a in range(m):
            trace += M[a, a]
        for a in range(m):
            for b in range(m):
                M[a, b] += trace / m**2
    if cholesky(M, m) != 0:
        return 1
    cholesky_solve(M, m, rows[1:], 1)
    for c in range(k):
        for a in range(m):
            Z[c, a] -= rows[1, a]
        for b in range(m):
            beta[c, b] = 0.0
        for a in range(m):
            for b in range(m):
                beta[c, b] += E[c, a, b] * Z[c, a]
        for a in range(m):
            Z[c, a] -= beta[c, a] / (cost[S[a]] * P[c, a])
    return 0


@helper
def _evaluate(sphere, S, Z, beta, F):
    """F = K[:, S] beta at all samples; free intercepts, whose sum over classes is zero, from the new f on S, ``Z``."""
    G, u, inv_c = sphere.Z, sphere.u, sphere.inv_c
    k, m, n = beta.shape[0], S.shape[0], G.shape[0]
    mean = 0.0
    for c in range(k):
        for i in range(n):
            F[c, i] = 0.0
        g = 0.0
        for a in range(m):
            g += u[S[a]] * beta[c, a]
            for i in range(n):
                F[c, i] += beta[c, a] * G[S[a], i]
        shift = 0.0
        if inv_c == 0.0:
            for a in range(m):
                shift += (Z[c, a] - F[c, S[a]]) / m
        elif inv_c < np.inf:
            shift = g / inv_c
        mean += shift / k
        for i in range(n):
            F[c, i] += shift * u[i]
    if inv_c == 0.0:
        for c in range(k):
            for i in range(n):
                F[c, i] -= mean


@helper
def _multinomial_objective(S, cost, T, F, beta, F_new, beta_new, t):
    total = 0.0
    for a in range(S.shape[0]):
        i = S[a]
        largest, f_own, sum_exp = -np.inf, 0.0, 0.0
        for c in range(F.shape[0]):
            f = F[c, i] + t * (F_new[c, i] - F[c, i])
            largest = max(largest, f)
            total += 0.5 * f * (beta[c, a] + t * (beta_new[c, a] - beta[c, a]))
            if T[c, i] > 0.0:
                f_own = f
        for c in range(F.shape[0]):
            sum_exp += np.exp(F[c, i] + t * (F_new[c, i] - F[c, i]) - largest)
        total += cost[i] * (largest + np.log(sum_exp) - f_own)
    return total


@helper
def multinomial(sphere, S, cost, T, E, M, rows, F):
    """More than two classes, T (k, n) is +-1; starts from F (k, n) = 0, which leaves as the solution. Gram form only.

    ``E`` (k, n, n), ``M`` (n, n) and ``rows`` (>= 2, n) are work space. Returns as :func:`logistic`.
    """
    k, n, m = F.shape[0], F.shape[1], S.shape[0]
    P, Z, beta, beta_new = np.empty((k, m)), np.empty((k, m)), np.zeros((k, m)), np.empty((k, m))
    F_new = np.empty((k, n))
    F[:] = 0.0
    for _ in range(_MOST_STEPS):
        _probabilities(F, S, P)
        if _coupled_step(sphere, S, cost, T, F, P, E, M, rows, Z, beta_new) != 0:
            return 1
        _evaluate(sphere, S, Z, beta_new, F_new)
        before = _multinomial_objective(S, cost, T, F, beta, F_new, beta_new, 0.0)
        t = 1.0
        while t > 1e-6:
            if _multinomial_objective(S, cost, T, F, beta, F_new, beta_new, t) <= before + 1e-10 * abs(before):
                break
            t *= 0.5
        largest, moved = 1.0, 0.0
        for c in range(k):
            for i in range(n):
                move = t * (F_new[c, i] - F[c, i])
                F[c, i] += move
                largest, moved = max(largest, abs(F[c, i])), max(moved, abs(move))
            for a in range(m):
                beta[c, a] += t * (beta_new[c, a] - beta[c, a])
        if t == 1.0 and moved <= _STILL * largest:
            return 0
    return 2


@helper
def _multinomial_sphere(sphere, problems, work, E, out):
    """Every fold of one sphere; returns the first status that is not 0."""
    n, cost = problems.train.shape[1], np.empty(problems.train.shape[1])
    for fold in range(problems.train.shape[0]):
        first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
        if first == last:
            continue
        for i in range(n):
            cost[i] = 1.0 / problems.ridge[first, i]
        S = np.flatnonzero(problems.train[fold])
        T, F = np.empty((last - first, n)), np.empty((last - first, n))
        for q in range(first, last):
            T[q - first] = problems.targets[problems.target[q]]
        if last - first == 1:
            code = logistic(sphere, S, cost, T, work.A, work.rows, F, np.empty((1, n)))
        else:
            code = multinomial(sphere, S, cost, T, E, work.M, work.rows, F)
        if code != 0:
            return code
        for q in range(first, last):
            write_problem(problems, q, F[q - first], out)
    return 0


@over_spheres
def logistic_many(block, problems, out, status):
    """As :func:`logistic_two`, for folds of any number of classes: a column each. Gram form only."""
    n = block.X.shape[1]
    work, E = allocate(block, 2), np.empty((most_targets(problems), n, n))
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _multinomial_sphere(read_sphere(block, b, work), problems, work, E, out[b])
            if status[b] != 0:
                out[b] = np.nan
