"""Starts from the sphere that was decoded before, for bounded coefficients (:mod:`fastsl._kernels.box`).

Neighbouring spheres have most voxels in common, so a problem starts from the coefficients that it had in the sphere
before, plus what the other folds gained between the two. Of smooth data a quarter of the states is wrong there, from
where block pivoting wanders. Steps of it therefore go to proximal problems, with rho less and less, which hold on to
the start until states are nearly right:

    min  1/2 beta' (K + diag(D)) beta - t' beta + eps sum |beta_i| + rho / 2 ||beta - start||^2

What a sphere gives must not depend on which sphere was before. The contract:

1. The canonical result of a problem is that of :func:`fastsl._kernels.box.box` from the final states of the problem
   before it in the same sphere: a function of this sphere alone.
2. A solution is a function of its final states alone, whatever the start.
3. A solution from the sphere before is taken only if no other states solve the problem
   (:func:`fastsl._kernels.box_states.is_unique`), so that the canonical one has the same. Otherwise the canonical start
   follows.
4. So final states are canonical however they were found, and by induction what the next canonical start begins with.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.box import LOOSE_GAP, add_one_by_one, box, pivot_blocks, solve_state
from fastsl._kernels.box_states import is_unique, move_wrong_states
from fastsl._kernels.rows import copy_row
from fastsl._runtime.jit import helper, inlined

#: rho, in units of the targets by the coefficients. SVC(linear) of smooth data needs 6.3 systems a fold, without it
#: 9.4, with 0.3 alone 7.6, with other series of 2 to 5 between 2 and 0.03 6.2 to 7.4; canonical starts 15.
_HOLDS = 1.0, 0.3, 0.1, 0.03, 0.01
#: The rho after which block pivoting goes on without. Where that explodes, for a system next to singular, the next rho
#: and the active set method follow: runs that are standardised sum to zero, so that a direction is lost when all
#: samples of two are free (white data).
_LET_GO = 0.03
#: Steps without fewer wrong states that count as exploded, and of the active set method.
_PATIENCE, _MOST_STEPS = 4, 30
#: With so few wrong states there is nothing to hold on to.
_FEW = 3
#: Part of the other folds' mean gain: 0.5, 0.6 and 0.7 are alike, without it 0.6 systems more.
_GAIN = 0.7


class Chain(NamedTuple):
    """What goes from sphere to sphere, and from problem to problem within one."""

    nearby: NDArray[np.float64]  # (n_problems, n) coefficients in the sphere before
    known: NDArray[np.bool_]  # (n_problems,) whether it had some
    gain: NDArray[np.float64]  # (n_targets, n) sum over folds: coefficients here less those in the sphere before
    n_gains: NDArray[np.int64]  # (n_targets, n) folds in that sum
    state: NDArray[np.int8]  # (n,) canonical: of the problem before, and at last of this one
    guess: NDArray[np.int8]  # (n,)
    held: NDArray[np.int8]  # (n,) the guess before it exploded
    vectors: NDArray[np.float64]  # (3, n) work space
    M: NDArray[np.int64]  # (n,) work space


@helper
def new_chain(problems):
    """The chain of a part of a block, whose first sphere has none before it."""
    n_problems, (n_targets, n) = problems.target.shape[0], problems.targets.shape
    states = np.zeros((3, n), np.int8)
    return Chain(
        np.zeros((n_problems, n)),
        np.zeros(n_problems, np.bool_),
        np.zeros((n_targets, n)),
        np.zeros((n_targets, n), np.int64),
        states[0],
        states[1],
        states[2],
        np.empty((3, n)),
        np.empty(n, np.int64),
    )


@inlined
def box_in_chain(sphere, q, target, S, D, t, eps, low, high, chain, A, rows, f, beta):
    """As :func:`fastsl._kernels.box.box`, for problem q of a sphere. Problems come in order, from 0."""
    state, guess, taken, code = chain.state, chain.guess, False, 0
    if q == 0:
        chain.gain[:] = 0.0
        chain.n_gains[:] = 0
    _drop_impossible(q == 0, t, low, high, state)
    if chain.known[q]:
        gap = _solve_nearby(sphere, q, target, S, D, t, eps, low, high, chain, A, rows, f, beta)
        taken = gap <= LOOSE_GAP and is_unique(sphere, S, D, t, eps, low, high, guess, A, f, beta, gap)
    if taken:
        for i in S:
            state[i] = guess[i]
    else:
        code = box(sphere, S, D, t, eps, low, high, state, A, rows, f, beta)
    _remember(chain, q, target, S, beta)
    chain.known[q] = code == 0
    return code


@helper
def _drop_impossible(every, t, low, high, state):
    """A state that these bounds do not have is no guess: count it as free."""
    for i in range(state.shape[0]):
        if every or (state[i] > 0 and high[i] <= 0.0) or (state[i] < 0 and low[i] >= 0.0):
            state[i] = 1 if high[i] > 0.0 and (low[i] >= 0.0 or t[i] > 0.0) else -1


@inlined
def _solve_nearby(sphere, q, target, S, D, t, eps, low, high, chain, A, rows, f, beta):
    """Solve from the sphere before, states in ``guess``; returns the error of f, infinity without a solution."""
    state, held = chain.guess, chain.held
    # Taken apart at once, rows would be of a type without a layout, for which all below is compiled once more.
    start, near_D, near_t = chain.vectors[0], chain.vectors[1], chain.vectors[2]
    unit, exploded = _begin(q, target, S, t, low, high, chain, start, state), False
    for part in _HOLDS:
        for i in S:
            near_D[i], near_t[i] = D[i] + part * unit, t[i] + part * unit * start[i]
        m, _ = solve_state(sphere, S, near_D, near_t, eps, low, high, state, chain.M, A, rows, f, beta)
        if m < 0:
            return np.inf
        wrong = move_wrong_states(sphere, S, near_D, near_t, eps, low, high, state, f, beta)
        if exploded:
            break
        if wrong <= _FEW or part <= _LET_GO:
            copy_row(state, held)
            gap = pivot_blocks(sphere, S, D, t, eps, low, high, state, chain.M, A, rows, f, beta, _PATIENCE)
            if gap < np.inf:
                return gap
            copy_row(held, state)
            exploded = True
    for i in S:
        start[i] = min(max(beta[i], low[i]), high[i])
    return add_one_by_one(sphere, S, D, t, eps, low, high, state, start, chain.M, A, rows, f, beta, _MOST_STEPS)


@helper
def _begin(q, target, S, t, low, high, chain, start, state):
    """Fill in coefficients and states to start from; returns the unit of rho."""
    largest, far = 0.0, 0.0
    for i in S:
        gain = _GAIN * chain.gain[target, i] / max(1, chain.n_gains[target, i])
        start[i] = min(max(chain.nearby[q, i] + gain, low[i]), high[i])
        sign = 1 if start[i] > 0.0 else -1
        state[i] = 0 if start[i] == 0.0 else (2 * sign if start[i] == (high[i] if sign > 0 else low[i]) else sign)
        largest, far = max(largest, abs(start[i])), max(far, abs(t[i]))
    return far / largest if largest > 0.0 else 0.0


@helper
def _remember(chain, q, target, S, beta):
    """Keep the coefficients of problem q for the next sphere, and what they gained for the next folds."""
    for i in S:
        if chain.known[q]:
            chain.gain[target, i] += beta[i] - chain.nearby[q, i]
            chain.n_gains[target, i] += 1
        chain.nearby[q, i] = beta[i]
