"""Ridge regression on a set of samples S that changes from step to step: one factor serves several sets.

With the Cholesky factor R'R = G_BB + D_B at hand, for a set B that lacks the samples P of S and has the samples Q too
many, b = G_BP, C = G_PP + D_P and the columns Y_P = R'^-1 b, Y_Q = R'^-1 e_Q, y = R'^-1 t_B,

    [ C - Y_P'Y_P    -Y_P'Y_Q ] [ z_P ]   [ t_P - Y_P'y ]
    [   Y_Q'Y_P       Y_Q'Y_Q ] [ z_Q ] = [    Y_Q'y    ],    beta_B = R^-1 (y - Y_P z_P - Y_Q z_Q),    beta_P = z_P

leaves beta_Q = 0 and is the solution on S: a column costs m^2 / 2 multiplications, another factor m^3 / 6.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.discriminant import dot
from fastsl._kernels.lapack import cholesky, solve_transposed, solve_upper
from fastsl._kernels.rows import copy_row
from fastsl._kernels.waist import features_ridge
from fastsl._runtime.jit import helper

#: More changes than this part of B are not worth their columns. LinearSVC (six folds of 100 training samples, 80 within
#: the margin) takes 720 us a sphere with none, 615 with a twelfth and a sixth, 655 with a quarter.
_CHANGES = 1 / 8


class Factored(NamedTuple):
    """The set B whose factor is at hand, and work space for sets that differ from it by at most d samples."""

    B: NDArray[np.int64]  # (n,), of which ``size`` are used
    size: NDArray[np.int64]  # (1,) 0: none
    place: NDArray[np.int64]  # (n,) of each sample in B, or -1
    inside: NDArray[np.bool_]  # (n,) whether a sample is in S
    changes: NDArray[np.int64]  # (d,) P, then Q
    Y: NDArray[np.float64]  # (d + 2, n) columns as rows: of the changes; before them of t and u
    small: NDArray[np.float64]  # (d, d + 2) the system for z, and its right-hand sides
    whole: NDArray[np.float64]  # (2, n) beta_B for the targets t and u
    solved: NDArray[np.float64]  # (2, n) beta_S


@helper
def nothing_factored(n):
    """Work space for n samples, without a factor."""
    d = max(1, int(n * _CHANGES))
    return Factored(
        np.empty(n, np.int64),
        np.zeros(1, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.bool_),
        np.empty(d, np.int64),
        np.empty((d + 2, n)),
        np.empty((d, d + 2)),
        np.empty((2, n)),
        np.empty((2, n)),
    )


@helper
def ridge_on_set(sphere, S, D, T, A, rows, at_hand, F, beta):
    """As :func:`fastsl._kernels.waist.weighted_ridge` for one target; ``A`` keeps the factor from call to call."""
    if sphere.primal:
        return features_ridge(sphere, S, D, T, A, rows, F, beta)
    n_targets = 2 if sphere.inv_c < np.inf else 1
    p, q = _list_changes(at_hand, S)
    if p < 0 or _solve_by_changes(sphere.Z, sphere.u, n_targets, p, q, S, D, T[0], A, at_hand) != 0:
        if _factor(sphere.Z, sphere.u, n_targets, S, D, T[0], A, at_hand) != 0:
            at_hand.size[0] = 0
            return 1
    _evaluate(sphere, S, D, T[0], at_hand.solved, F[0], beta[0])
    return 0


@helper
def _list_changes(at_hand, S):
    """List P and Q; their numbers, or -1 where there is no factor or too much has changed."""
    m, most = at_hand.size[0], min(len(at_hand.changes), int(at_hand.size[0] * _CHANGES))
    if m == 0:
        return -1, -1
    at_hand.inside[:] = False
    p, q = 0, 0
    for i in S:
        at_hand.inside[i] = True
        if at_hand.place[i] < 0:
            if p == most:
                return -1, -1
            at_hand.changes[p] = i
            p += 1
    for i in at_hand.B[:m]:
        if not at_hand.inside[i]:
            if p + q == most:
                return -1, -1
            at_hand.changes[p + q] = i
            q += 1
    return p, q


@helper
def _factor(G, u, n_targets, S, D, t, A, at_hand):
    m, Y = len(S), at_hand.Y
    at_hand.place[:] = -1
    for a in range(m):
        at_hand.B[a] = S[a]
        at_hand.place[S[a]] = a
        row = G[S[a]]
        for b in range(a, m):
            A[a, b] = row[S[b]]
        A[a, a] += D[S[a]]
        Y[0, a] = t[S[a]]
        Y[1, a] = u[S[a]]
    if cholesky(A, m) != 0:
        return 1
    solve_transposed(A, m, Y, n_targets)
    at_hand.size[0] = m
    for r in range(n_targets):
        copy_row(Y[r], at_hand.solved[r, :m])
        solve_upper(A, m, at_hand.solved[r])
    return 0


@helper
def _solve_by_changes(G, u, n_targets, p, q, S, D, t, A, at_hand):
    """Fill ``solved`` from the factor of B; returns 1 where the small system is not definite."""
    m, d, small = at_hand.size[0], p + q, at_hand.small
    B, P, Q, Y, targets = at_hand.B[:m], at_hand.changes[:p], at_hand.changes[p:d], at_hand.Y[2:], at_hand.Y
    for a in range(p):
        row = G[P[a]]
        for b in range(m):
            Y[a, b] = row[B[b]]
    for a in range(q):
        Y[p + a, :m] = 0.0
        Y[p + a, at_hand.place[Q[a]]] = 1.0
    solve_transposed(A, m, Y, d)
    for a in range(d):
        for c in range(a, d):
            small[a, c] = dot(Y[a, :m], Y[c, :m])
        for r in range(n_targets):
            small[a, d + r] = dot(Y[a, :m], targets[r, :m])
    for a in range(p):
        for c in range(a, p):
            small[a, c] = G[P[a], P[c]] - small[a, c]
        small[a, a] += D[P[a]]
        small[a, d] = t[P[a]] - small[a, d]
        if n_targets > 1:
            small[a, d + 1] = u[P[a]] - small[a, d + 1]
    for a in range(d):
        for c in range(a):
            small[a, c] = small[c, a]
    for a in range(p):
        for c in range(p, d):
            small[a, c] = -small[a, c]
    if _eliminate(small, d, n_targets) != 0:
        return 1
    for r in range(n_targets):
        _put_together(at_hand, r, d, S, A)
    return 0


@helper
def _eliminate(small, d, n_targets):
    """Solve in place. The symmetric part is positive definite, so that pivots need not be sought."""
    for k in range(d):
        if not small[k, k] > 0.0:
            return 1
        for a in range(k + 1, d):
            factor = small[a, k] / small[k, k]
            for c in range(k + 1, d + n_targets):
                small[a, c] -= factor * small[k, c]
    for k in range(d - 1, -1, -1):
        for r in range(d, d + n_targets):
            for c in range(k + 1, d):
                small[k, r] -= small[k, c] * small[c, r]
            small[k, r] /= small[k, k]
    return 0


@helper
def _put_together(at_hand, r, d, S, A):
    m, whole, k = at_hand.size[0], at_hand.whole[r], 0
    for b in range(m):
        whole[b] = at_hand.Y[r, b]
    for c in range(d):
        z, y = at_hand.small[c, d + r], at_hand.Y[2 + c]
        for b in range(m):
            whole[b] -= z * y[b]
    solve_upper(A, m, whole)
    for a in range(len(S)):
        if at_hand.place[S[a]] >= 0:
            at_hand.solved[r, a] = whole[at_hand.place[S[a]]]
        else:  # P is listed in the order of S
            at_hand.solved[r, a] = at_hand.small[k, d + r]
            k += 1


@helper
def _evaluate(sphere, S, D, t, solved, f, beta):
    """Decision values of all samples, from the solutions of t and of u: the matrix is G bordered by u."""
    G, u, m = sphere.Z, sphere.u, len(S)
    g, border = 0.0, sphere.inv_c
    if border < np.inf:
        for a in range(m):
            g += u[S[a]] * solved[0, a]
            border += u[S[a]] * solved[1, a]
        g /= border
    beta[:] = 0.0
    for i in range(len(f)):
        f[i] = g * u[i]
    for a in range(m):
        b, row = solved[0, a] - (g * solved[1, a] if border < np.inf else 0.0), G[S[a]]
        beta[S[a]] = b
        for i in range(len(f)):
            f[i] += b * row[i]
    for i in S:
        f[i] = t[i] - D[i] * beta[i]  # the same number without the cancellation of large K against small beta
