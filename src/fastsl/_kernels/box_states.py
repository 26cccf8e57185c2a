"""States of bounded coefficients (:mod:`fastsl._kernels.box`): which are right, and which are certain.

0 zero, 1 and -1 free, between zero and a bound, 2 and -2 at the bound.
"""

import numpy as np

from fastsl._runtime.jit import helper

#: A coefficient of 0, or f on its margin, to within this is a tie: either side gives the same solution.
TIE = 1e-10
#: A state is certain where the solution is so far from where another begins, and this many times the error of f.
_CLEAR, _GAPS = 1e-6, 1e2
#: Smallest squared pivot of the free samples, by the largest: smooth data have 1e-3, samples that repeat 1e-12.
_PIVOT = 1e-8


@helper
def size_of_coefficients(sphere, S, t, low, high, beta):
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
def right_state(t, eps, low, high, state, f, beta, largest):
    """Where the solution says that a coefficient belongs; ``f`` is f + D beta."""
    tie = TIE * max(1.0, abs(t))
    if eps == 0.0 and low < 0.0 < high and abs(state) == 1:  # no kink at zero: both signs are one state
        return 2 if beta > high + TIE * largest else (-2 if beta < low - TIE * largest else state)
    if state == 1:
        return 2 if beta > high + TIE * largest else (0 if beta < -TIE * largest else 1)
    if state == -1:
        return -2 if beta < low - TIE * largest else (0 if beta > TIE * largest else -1)
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
def move_wrong_states(sphere, S, D, t, eps, low, high, state, f, beta):
    """Move every state that the solution contradicts; returns how many."""
    wrong, largest = 0, size_of_coefficients(sphere, S, t, low, high, beta)
    for i in S:
        right = right_state(t[i], eps, low[i], high[i], state[i], f[i] + D[i] * beta[i], beta[i], largest)
        if right != state[i]:
            wrong += 1
            state[i] = right
    return wrong


@helper
def is_unique(sphere, S, D, t, eps, low, high, state, A, f, beta, gap):
    """Whether no other states solve the problem, by much more than rounding.

    ``A`` has the factor of the free samples, ``gap`` is the error of f on them. The problem is convex. With strict
    complementarity (no free coefficient next to a bound, no other sample next to its margin) its solutions differ on
    the free samples only, and not there if their matrix is not singular.
    """
    smallest, largest, trace, m = np.inf, 0.0, 0.0, 0
    slack = max(_CLEAR, _GAPS * gap)
    clear = slack * size_of_coefficients(sphere, S, t, low, high, beta)
    for i in S:
        if not _is_certain(t[i], eps, low[i], high[i], state[i], f[i] + D[i] * beta[i], beta[i], clear, slack):
            return False
        trace += sphere.Z[i, i]
        if abs(state[i]) == 1:
            pivot = A[m, m] ** 2
            if not pivot > 0.0:
                return False
            smallest, largest, m = min(smallest, pivot), max(largest, pivot), m + 1
    return trace < np.inf and (m == 0 or smallest > _PIVOT * largest)


@helper
def _is_certain(t, eps, low, high, state, f, beta, clear, slack):
    """Whether a state is right by far; ``f`` is f + D beta. False for what is not a number."""
    slack *= max(1.0, abs(t))
    if abs(state) == 1:  # zero is special where it is no kink, too: fastsl._kernels.box._at_bounds
        return abs(beta) > clear and beta - low > clear and high - beta > clear
    if state == 2:
        return low < high and t - eps - f > slack
    if state == -2:
        return low < high and f - (t + eps) > slack
    return low < high and (high <= 0.0 or f - (t - eps) > slack) and (low >= 0.0 or t + eps - f > slack)
