"""The ridge regressions of LinearSVC's Newton steps in a sphere of few voxels, each from the one before.

    (sum_(i in S) phi_i phi_i' / D_i + E) w = sum_(i in S) y_i phi_i / D_i
    f = phi . w,    beta_S = (y_S - f_S) / D_S

with E = diag(1, ..., 1, inv_c). A fold begins with the sums of all that it trains on, from those of groups
(:mod:`fastsl._kernels.groups`), and a step adds and takes away what entered and left S.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.groups import add_groups, group_sums
from fastsl._kernels.lapack import add_syrk, cholesky, cholesky_solve, subtract_product
from fastsl._kernels.rows import add, clear, copy_row, cut, dot
from fastsl._runtime.jit import helper, inlined


class ActiveSums(NamedTuple):
    """Sums over the samples of a sphere that are ``inside``."""

    weight: NDArray[np.float64]  # of groups, in each problem
    P: NDArray[np.float64]  # sums of groups, or empty
    total: NDArray[np.float64]  # (order, order)
    inside: NDArray[np.bool_]  # (n_samples,)
    rows: NDArray[np.float64]  # (n_samples, order) work space
    A: NDArray[np.float64]  # (order, order)
    w: NDArray[np.float64]  # (1, order)


@helper
def active_sums(sphere, groups, space):
    """Of no samples, yet. A sphere that is a Gram matrix has none."""
    n, order = sphere.u.shape[0], 0
    if sphere.primal:
        order = sphere.Z.shape[1] + (1 if sphere.inv_c < np.inf else 0)
    rows = cut(space.scaled, n if sphere.primal else 0, order)
    if sphere.primal:
        for a in range(n):
            _write_row(sphere, groups.samples[a], 1.0, rows[a])
    return ActiveSums(
        groups.weight,
        group_sums(rows, groups, space.P),
        cut(space.total, order, order),
        np.empty(n, np.bool_),
        rows,
        cut(space.A, order, order),
        cut(space.beta, 1, order),
    )


@helper
def _write_row(sphere, i, scale, row):
    """row = scale phi_i"""
    Z = sphere.Z[i]
    for q in range(Z.shape[0]):
        row[q] = scale * Z[q]
    if row.shape[0] > Z.shape[0]:
        row[Z.shape[0]] = scale * sphere.u[i]


@helper
def begin_fold(sums, q, train):
    """All that problem q trains on is inside, where groups have their sums; else nothing is."""
    has_sums = sums.P.shape[0] > 0
    for i in range(train.shape[0]):
        sums.inside[i] = has_sums and train[i]
    if has_sums:
        add_groups(sums.weight[q], sums.P, sums.total)
    else:
        clear(sums.total)


@inlined
def _move(sphere, sums, S, D):
    """Take S inside, and all else outside: by what moves, or anew where that is less."""
    inside, n_inside, n_both = sums.inside, 0, 0
    for i in range(inside.shape[0]):
        n_inside += inside[i]
    for i in S:
        n_both += inside[i]
    if n_inside > 2 * n_both:
        clear(sums.total)
        for i in range(inside.shape[0]):
            inside[i] = False
    entering, a, last = 0, 0, sums.rows.shape[0]
    for i in range(inside.shape[0]):
        is_in, k = a < S.shape[0] and S[a] == i, -1
        a += is_in
        if is_in and not inside[i]:
            k = entering
            entering += 1
        elif inside[i] and not is_in:
            last -= 1
            k = last
        inside[i] = is_in
        if k >= 0:
            _write_row(sphere, i, 1.0 / np.sqrt(D[i]), sums.rows[k])
    add_syrk(sums.rows[:entering], sums.total)
    subtract_product(sums.rows[last:], sums.total.shape[0], sums.rows.shape[0] - last, sums.total)


@helper
def features_step(sphere, sums, S, D, y, F, beta):
    """Fill F and beta (n,), beta zero outside S. Returns 0, or 1 when the system is not positive definite."""
    A, w, order, p = sums.A, sums.w[0], sums.A.shape[0], sphere.Z.shape[1]
    _move(sphere, sums, S, D)
    for q in range(order):
        copy_row(sums.total[q, q:], A[q, q:])
        A[q, q] += 1.0 if q < p else sphere.inv_c
        w[q] = 0.0
    for i in S:
        add(y[i] / D[i], sphere.Z[i], w[:p])
        if order > p:
            w[p] += y[i] / D[i] * sphere.u[i]
    if cholesky(A, order) != 0:
        return 1
    cholesky_solve(A, order, sums.w, 1)
    for i in range(F.shape[0]):
        F[i] = dot(sphere.Z[i], w[:p])
        if order > p:
            F[i] += sphere.u[i] * w[p]
        beta[i] = 0.0
    for i in S:
        beta[i] = (y[i] - F[i]) / D[i]
    return 0
