"""Quadratic programmes with bounds, as support vector machines have them in the dual, exact: no tolerance to tune.

    min  1/2 beta' (K + diag(D)) beta - t' beta + eps sum |beta_i|,    low_i <= beta_i <= high_i,    f = K beta

hinge                      t = y, eps = 0, beta_i between 0 and C_i y_i, D = 0
epsilon insensitive        t the values, beta_i between -C_i and C_i, D = 0; squared: no bounds, D = 1 / (2 C)

A free intercept (K with inv_c = 0) adds the constraint sum(beta) = 0. At the solution f_i = t_i - eps - D_i beta_i
where 0 < beta_i < high_i, f_i >= t_i - eps where beta_i = 0, f_i <= t_i - eps - D_i beta_i at the bound; and so on the
other side.
"""

import numpy as np

from fastsl._kernels.lapack import cholesky, cholesky_solve
from fastsl._runtime.jit import helper

#: A coefficient of 0, or f on its margin, to within this is a tie: either side gives the same solution.
_TIE = 1e-10
#: Relative to the mean diagonal of K, added to it: with fewer voxels than support vectors K alone is singular.
_RIDGE = 1e-12
_MOST_STEPS = 2000
#: A larger error of f on the free samples says that the system was singular all the same: no solution, though on the
#: way to one (all free, smooth data: 2e-7) it may be. The looser one is for the method that always ends: with C = 1 on
#: raw intensities entries of K are 1e9, and f has 8 digits (measured: 5e-8).
_GAP, _LOOSE_GAP = 1e-8, 1e-6
#: More on the diagonal, relative to the mean diagonal of K, where block pivoting went in circles.
_SOFTENED = 2e-2, 2e-3, 2e-4
#: Steps that may move all states at once without lowering the number of wrong ones.
_PATIENCE = 8

# States: 0 zero, 1 and -1 between zero and a bound, 2 and -2 at the bound.


@helper
def box(sphere, S, D, t, eps, low, high, state, A, rows, f, beta):
    """Solve by block pivoting, at once or by way of softer problems, else by the active set method, which always ends.

    ``state`` (n,) int8 enters as a guess and leaves as the solution's, ``f`` and ``beta`` (n,) leave as the solution,
    which is a function of the final state alone. ``A`` and ``rows`` are work space. Returns 0, 1 (not positive
    definite) or 2 (no standstill).
    """
    M = np.empty(S.shape[0], np.int64)
    solved = _pivot_blocks(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
    if not solved:
        solved = _soften_and_pivot(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
    if not solved:
        status = _add_one_by_one(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
        if status != 0:
            return status
    if sphere.inv_c == 0.0 and _at_bounds(sphere, S, t, low, high, state, beta):
        _solve_state(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
    return 0


@helper
def _at_bounds(sphere, S, t, low, high, state, beta):
    """Whether some coefficients count as free and all have the value of a bound; if so, make that their state.

    Then a range of intercepts solves the problem, of which the free coefficients gave an end, and libsvm the middle.
    """
    tie, n_free = _TIE * _largest(sphere, S, t, low, high, beta), 0
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
def _pivot_blocks(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta):
    """Guess all states, solve the system that they mean, move every state that the solution contradicts; repeat.

    Judice and Pires 1994, Comput. Oper. Res. 21:587. True when no state is wrong; False when the number of wrong ones
    does not fall any more, or where the system is singular.
    """
    fewest, patience = S.shape[0] + 1, _PATIENCE
    while patience > 0:
        m, gap = _solve_state(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
        if m < 0:
            return False
        wrong, largest = 0, _largest(sphere, S, t, low, high, beta)
        for i in S:
            right = _right_state(t[i], eps, low[i], high[i], state[i], f[i] + D[i] * beta[i], beta[i], largest)
            if right != state[i]:
                wrong += 1
                state[i] = right
        if wrong == 0:
            return gap <= _GAP
        patience -= 1
        if wrong < fewest:
            fewest, patience = wrong, _PATIENCE
    return False


@helper
def _soften_and_pivot(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta):
    """Block pivoting from the solutions of problems with more on the diagonal, less and less: each is near the next."""
    size, soft = 0.0, np.empty(D.shape[0])
    for i in S:
        size += sphere.Z[i, i] / S.shape[0]
    for part in _SOFTENED:
        for i in range(D.shape[0]):
            soft[i] = D[i] + part * size
        _pivot_blocks(sphere, S, soft, t, eps, low, high, state, M, A, rows, f, beta)
    return _pivot_blocks(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)


@helper
def _add_one_by_one(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta):
    """Active set method (Nocedal and Wright 2006, Numerical Optimization, section 16.5).

    From zero, go towards the solution of the free coefficients until one meets a bound; there, free the one whose f is
    worst. The objective falls in every step that moves; after one that does not, the first that is wrong is
    freed (Bland 1977, Math. Oper. Res. 2:103), which excludes cycles.
    """
    now = np.zeros(beta.shape[0])
    moved = True
    for i in S:
        state[i] = 0
    for _ in range(_MOST_STEPS):
        m, gap = _solve_state(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta)
        if m < 0:
            return 1
        part, blocking = 1.0, -1
        tie = _TIE * _largest(sphere, S, t, low, high, beta)
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
            right = _right_state(t[i], eps, low[i], high[i], state[i], f[i], beta[i], 0.0)
            error = abs(t[i] - free * eps - f[i])
            if abs(state[i]) != 1 and right != state[i] and error > largest_error:
                worst, largest_error = i, error
                if not moved:
                    break
        if worst < 0:
            return 0 if gap <= _LOOSE_GAP else 1
        state[worst] = _right_state(t[worst], eps, low[worst], high[worst], state[worst], f[worst], beta[worst], 0.0)
    return 2


@helper
def _largest(sphere, S, t, low, high, beta):
    """Size of the coefficients: the largest, or t / K where all may be zero, as for a tube that holds all values."""
    trace, far, bound, largest = 0.0, 0.0, 0.0, 0.0
    for i in S:
        trace += sphere.Z[i, i] / S.shape[0]
        far = max(far, abs(t[i]))
        bound = max(bound, high[i], -low[i])
        largest = max(largest, abs(beta[i]))
    if trace == 0.0:
        return max(largest, bound) if bound < np.inf else largest
    return max(largest, min(bound, far / trace))


@helper
def _right_state(t, eps, low, high, state, f, beta, largest):
    """Where the solution says that a coefficient belongs; ``f`` is f + D beta."""
    tie = _TIE * max(1.0, abs(t))
    if eps == 0.0 and low < 0.0 < high and abs(state) == 1:  # no kink at zero: both signs are one state
        return 2 if beta > high + _TIE * largest else (-2 if beta < low - _TIE * largest else state)
    if state == 1:
        return 2 if beta > high + _TIE * largest else (0 if beta < -_TIE * largest else 1)
    if state == -1:
        return -2 if beta < low - _TIE * largest else (0 if beta > _TIE * largest else -1)
    if state == 2:
        return 1 if f > t - eps + tie else 2
    if state == -2:
        return -1 if f < t + eps - tie else -2
    if high > 0.0 and f < t - eps - tie:
        return 1
    if low < 0.0 and f > t + eps + tie:
        return -1
    return 0


@helper
def _solve_state(sphere, S, D, t, eps, low, high, state, M, A, rows, f, beta):
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
    if fixed > _TIE * scale:
        return 1e30
    if fixed < -_TIE * scale:
        return -1e30
    return 0.5 * (least + most)
