"""Quadratic programmes with bounds, as support vector machines have them in the dual, exact: no tolerance to tune.

    min  1/2 beta' (K + diag(D)) beta - t' beta + eps sum |beta_i|,    low_i <= beta_i <= high_i,    f = K beta

hinge                      t = y, eps = 0, beta_i between 0 and C_i y_i, D = 0
epsilon insensitive        t the values, beta_i between -C_i and C_i, D = 0; squared: no bounds, D = 1 / (2 C)

A free intercept (K with inv_c = 0) adds the constraint sum(beta) = 0. At the solution f_i = t_i - eps - D_i beta_i
where 0 < beta_i < high_i, f_i >= t_i - eps where beta_i = 0, f_i <= t_i - eps - D_i beta_i at the bound; and so on the
other side.
"""

import numpy as np

from fastsl._kernels.box_states import TIE, is_unique, move_wrong_states, right_state, size_of_coefficients
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._runtime.jit import helper, inlined

#: Relative to the mean diagonal of K, added to it: with fewer voxels than support vectors K alone is singular.
_RIDGE = 1e-12
_MOST_STEPS = 2000
#: A larger error of f on the free samples says that the system was singular all the same: no solution, though on the
#: way to one (all free, smooth data: 2e-7) it may be. The looser one is for the active set method and
#: for unique states: with C = 1 on raw intensities entries of K are 1e9, and f has 8 digits (measured: 5e-8).
_GAP, LOOSE_GAP = 1e-8, 1e-6
#: More on the diagonal, relative to the mean diagonal of K, where block pivoting went in circles.
_SOFTENED = 2e-2, 2e-3, 2e-4
#: Steps that may move all states at once without lowering the number of wrong ones.
_PATIENCE = 8


@inlined
def box(sphere, S, D, t, eps, low, high, state, A, rows, f, beta):
    """Solve by block pivoting, at once or by way of softer problems, else by the active set method.

    ``state`` (n,) int8 enters as a guess and leaves as the solution's, ``f`` and ``beta`` (n,) leave as the solution,
    which is a function of the final state alone. ``A`` and ``rows`` are work space. Returns 0, 1 (not positive
    definite) or 2 (no standstill).
    """
    M = np.empty(S.shape[0], np.int64)
    solved = _pivot_from(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
    if not solved:
        _soften(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
        solved = _pivot_from(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
    if not solved:  # a small C has all at the bound, where those that sum to zero cannot go one by one
        _put_at_bounds(S, t, low, high, state)
        solved = _pivot_from(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
    if not solved:
        for i in S:
            state[i] = 0
        now = np.zeros(beta.shape[0])
        gap = add_one_by_one(sphere, S, D, t, eps, low, high, state, now, M, A, rows, f, beta, _MOST_STEPS)
        if not gap <= LOOSE_GAP:
            return 2 if gap == np.inf else 1
    if sphere.inv_c == 0.0 and _at_bounds(sphere, S, t, low, high, state, beta):
        solve_state(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
    return 0


@helper
def _put_at_bounds(S, t, low, high, state):
    for i in S:
        sign = 1 if high[i] > 0.0 and (low[i] >= 0.0 or t[i] > 0.0) else -1
        state[i] = 2 * sign if max(high[i], -low[i]) < np.inf else sign


@helper
def _at_bounds(sphere, S, t, low, high, state, beta):
    """Whether some coefficients count as free and all have the value of a bound; if so, make that their state.

    Then a range of intercepts solves the problem, of which the free coefficients gave an end, and libsvm the middle.
    """
    tie, n_free = TIE * size_of_coefficients(sphere, S, t, low, high, beta), 0
    for i in S:
        if abs(state[i]) == 1:
            n_free += 1
            if min(abs(beta[i]), abs(beta[i] - high[i]), abs(beta[i] - low[i])) > tie:
                return False
    if n_free == 0:
        return False
    for i in S:
        if abs(state[i]) == 1:
            state[i] = 0 if abs(beta[i]) <= tie else (2 if abs(beta[i] - high[i]) <= tie else -2)
    return True


@helper
def _pivot_from(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta):
    """Whether block pivoting from ``state`` solves the problem."""
    gap = pivot_blocks(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta, _PATIENCE)
    if gap <= _GAP:
        return True
    return gap <= LOOSE_GAP and is_unique(sphere, S, D, t, eps, low, high, state, A, f, beta, gap)


@helper
def pivot_blocks(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta, most_patience):
    """Guess all states, solve the system that they mean, move every state that the solution contradicts; repeat.

    Judice and Pires 1994, Comput. Oper. Res. 21:587. Returns the error of f when no state is wrong; infinity when the
    number of wrong ones has not fallen for ``most_patience`` steps, or where the system is singular.
    """
    fewest, patience = S.shape[0] + 1, most_patience
    while patience > 0:
        m, gap = solve_state(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
        if m < 0:
            return np.inf
        wrong = move_wrong_states(sphere, S, D, t, eps, low, high, state, f, beta)
        if wrong == 0:
            return gap
        patience -= 1
        if wrong < fewest:
            fewest, patience = wrong, most_patience
    return np.inf


@helper
def _soften(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta):
    """Block pivoting from the solutions of problems with more on the diagonal, less and less: each is near the next."""
    size, soft = 0.0, np.empty(D.shape[0])
    for i in S:
        size += sphere.Z[i, i] / S.shape[0]
    for part in _SOFTENED:
        for i in range(D.shape[0]):
            soft[i] = D[i] + part * size
        pivot_blocks(sphere, S, soft, t, eps, low, high, state, M, A, rows, f, beta, _PATIENCE)


@helper
def add_one_by_one(sphere, S, D, t, eps, low, high, state, now, M, A, rows, f, beta, most_steps):
    """Active set method (Nocedal and Wright 2006, Numerical Optimization, section 16.5).

    From the coefficients ``now``, which the states allow, go towards the solution of the free ones until one meets a
    bound; there, free the one whose f is worst. The objective falls in every step that moves; after one that does not,
    the first that is wrong is freed (Bland 1977, Math. Oper. Res. 2:103), which excludes cycles. Returns the error of
    f, infinity where it does not come to an end, or NaN where a system is singular.
    """
    moved = True
    for _ in range(most_steps):
        m, gap = solve_state(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
        if m < 0:
            return np.nan
        part, blocking = 1.0, -1
        tie = TIE * size_of_coefficients(sphere, S, t, low, high, beta)
        for a in range(m):
            i = M[a]
            least, most = (0.0, high[i]) if state[i] == 1 else (low[i], 0.0)
            bound = most if beta[i] > most + tie else (least if beta[i] < least - tie else np.inf)
            if bound < np.inf and (bound - now[i]) / (beta[i] - now[i]) < part:
                part, blocking = max(0.0, (bound - now[i]) / (beta[i] - now[i])), i
        moved = False
        for i in S:
            moved = moved or abs(part * (beta[i] - now[i])) > tie
            now[i] += part * (beta[i] - now[i])
        if blocking >= 0:
            rising = beta[blocking] > now[blocking]
            state[blocking] = (2 if rising else 0) if state[blocking] == 1 else (0 if rising else -2)
            continue
        worst, largest_error = -1, 0.0
        for i in S:
            free = 1 if state[i] == 2 or (state[i] == 0 and high[i] > 0.0 and f[i] < t[i] - eps) else -1
            right = right_state(t[i], eps, low[i], high[i], state[i], f[i], beta[i], 0.0)
            error = abs(t[i] - free * eps - f[i])
            if abs(state[i]) != 1 and right != state[i] and error > largest_error:
                worst, largest_error = i, error
                if not moved:
                    break
        if worst < 0:
            return gap
        state[worst] = right_state(t[worst], eps, low[worst], high[worst], state[worst], f[worst], beta[worst], 0.0)
    return np.inf


@helper
def solve_state(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta):
    """The solution if all states were right: f = G beta + g u, with f = t -+ eps - D beta on the free samples M.

    G + s u u' is factored in place of G, with g less by s u' beta: of p + 1 free samples and p voxels G is singular,
    the system with the intercept is not. Returns the number of free samples, -1 where the system is singular, and the
    largest error of f on them.
    """
    G, u, n = sphere.Z, sphere.u, sphere.Z.shape[0]
    m, fixed, trace = 0, 0.0, 0.0
    for i in range(n):
        f[i] = 0.0
        beta[i] = 0.0
    for i in S:
        trace += G[i, i] / S.shape[0]
        if state[i] == 1 or state[i] == -1:
            M[m] = i
            m += 1
        elif state[i] != 0:
            beta[i] = high[i] if state[i] > 0 else low[i]
            fixed += u[i] * beta[i]
            for j in range(n):
                f[j] += beta[i] * G[i, j]
    if 0.0 < sphere.inv_c < np.inf:  # where all is in the second term, G holds its rounding
        trace = max(trace, 1e-4 / sphere.inv_c)
    size = trace if trace > 0.0 else 1.0
    s = size if sphere.inv_c == 0.0 else min(size, 1.0 / sphere.inv_c)
    for a in range(m):
        rows[0, a] = t[M[a]] - state[M[a]] * eps - f[M[a]]
        rows[1, a] = u[M[a]]
    if m > 0:
        if _factor(sphere, D, s, size, M[:m], A) != 0:
            return -1, 0.0
        cholesky_solve(A, m, rows, 2)
    above, below, part = fixed, sphere.inv_c, 1.0 - (sphere.inv_c * s if s > 0.0 else 0.0)
    for a in range(m):
        above += part * u[M[a]] * rows[0, a]
        below += part * u[M[a]] * rows[1, a]
    g = above / below if below > 0.0 else _intercept(S, t, eps, low, high, state, f, fixed)
    less = g
    for a in range(m):
        i = M[a]
        beta[i] = rows[0, a] - less * rows[1, a]
        g += s * u[i] * beta[i]
        for j in range(n):
            f[j] += beta[i] * G[i, j]
    for j in range(n):
        f[j] += g * u[j]
    gap = 0.0
    for a in range(m):
        # The same number without the cancellation of large K against small beta.
        exact = t[M[a]] - state[M[a]] * eps - D[M[a]] * beta[M[a]]
        gap = max(gap, abs(exact - f[M[a]]) / max(1.0, abs(exact)))
        f[M[a]] = exact
    return m, gap


@helper
def _factor(sphere, D, s, size, M, A):
    """Factor of G + s u u' + D on the samples M, with as little more on the diagonal as makes it positive definite."""
    for ridge in (_RIDGE, 1e2 * _RIDGE, 1e4 * _RIDGE):
        for a in range(M.shape[0]):
            i = M[a]
            for b in range(a, M.shape[0]):
                A[a, b] = sphere.Z[i, M[b]] + s * sphere.u[i] * sphere.u[M[b]]
            A[a, a] += D[i] + ridge * size
        if cholesky(A, M.shape[0]) == 0:
            return 0
    return 1


@helper
def _intercept(S, t, eps, low, high, state, f, fixed):
    """A free intercept when no coefficient is free: the middle of what the conditions on f allow, as libsvm has it.

    Where the coefficients do not sum to zero there is no intercept; an enormous one shows which states are wrong.
    """
    least, most, scale = -np.inf, np.inf, 0.0
    for i in S:
        up, down = t[i] - eps - f[i], t[i] + eps - f[i]
        if state[i] == 2:
            most, scale = min(most, up), max(scale, high[i])
        elif state[i] == -2:
            least, scale = max(least, down), max(scale, -low[i])
        else:
            if high[i] > 0.0:
                least = max(least, up)
            if low[i] < 0.0:
                most = min(most, down)
    if fixed > TIE * scale:
        return 1e30
    if fixed < -TIE * scale:
        return -1e30
    return 0.5 * (least + most)
