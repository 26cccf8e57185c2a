"""The ridge regressions of LinearSVC's Newton steps in a sphere of few voxels, each from the one before.

    (sum_(i in S) phi_i phi_i' / D_i + E) w = sum_(i in S) y_i phi_i / D_i
    f = phi . w,    beta_S = (y_S - f_S) / D_S

with E = diag(1, ..., 1, inv_c). A fold begins with the sums of all that it trains on, from those of groups
(:mod:`fastsl._kernels.groups`), and a step adds and takes away what entered and left S.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.features import write_row
from fastsl._kernels.groups import add_groups, group_sums
from fastsl._kernels.lapack import subtract_product
from fastsl._kernels.matrices import add_syrk, cholesky, cholesky_solve
from fastsl._kernels.rows import add, clear, copy_row, cut, dot
from fastsl._runtime.jit import helper, inlined

#: Less than this part of a sum left over is made anew: a sample far from all others (a spike) would leave its rounding.
#: Two samples 1e5 and 1e8 times as large as the others, beyond the margin: values wrong by 5e-8 and 6e-2 without.
_KEPT = 0.01


class ActiveSums(NamedTuple):
    """Sums over the samples of a sphere that are ``inside``."""

    weight: NDArray[np.float64]  # of groups, in each problem
    P: NDArray[np.float64]  # sums of groups, or empty
    total: NDArray[np.float64]  # (order, order)
    peak: NDArray[np.float64]  # (order,) largest diagonal of total since it was made
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
    rows = cut(space.rows, n if sphere.primal else 0, order)
    if sphere.primal:
        for a in range(n):
            write_row(sphere, groups.samples[a], 1.0, rows[a])
    return ActiveSums(
        groups.weight,
        group_sums(rows, groups, space.P),
        cut(space.total, order, order),
        np.empty(order),
        np.empty(n, np.bool_),
        rows,
        cut(space.A, order, order),
        cut(space.beta, 1, order),
    )


@helper
def forget(sums):
    """Nothing is inside."""
    clear(sums.total)
    for q in range(sums.peak.shape[0]):
        sums.peak[q] = 0.0
    for i in range(sums.inside.shape[0]):
        sums.inside[i] = False


@helper
def begin_fold(sums, q, train):
    """All that problem q trains on is inside, where groups have their sums; else nothing is."""
    forget(sums)
    if sums.P.shape[0] > 0:
        add_groups(sums.weight[q], sums.P, sums.total)
        for i in range(train.shape[0]):
            sums.inside[i] = train[i]


@inlined
def _move(sphere, sums, S, D):
    """Take S, whose samples rise, inside, and all else outside: by what moves, or anew where that is less."""
    n_inside, n_both = 0, 0
    for i in range(sums.inside.shape[0]):
        n_inside += sums.inside[i]
    for i in S:
        n_both += sums.inside[i]
    if n_inside > 2 * n_both or not _take_out(sphere, sums, S, D):
        forget(sums)
    entering = 0
    for i in S:
        if not sums.inside[i]:
            write_row(sphere, i, 1.0 / np.sqrt(D[i]), sums.rows[entering])
            sums.inside[i] = True
            entering += 1
    add_syrk(sums.rows[:entering], sums.total)


@helper
def _take_out(sphere, sums, S, D):
    """Subtract what is inside but not in S; returns whether what remains has kept its digits."""
    leaving, a = 0, 0
    for i in range(sums.inside.shape[0]):
        stays = a < S.shape[0] and S[a] == i
        a += stays
        if sums.inside[i] and not stays:
            write_row(sphere, i, 1.0 / np.sqrt(D[i]), sums.rows[leaving])
            sums.inside[i] = False
            leaving += 1
    for q in range(sums.peak.shape[0]):
        sums.peak[q] = max(sums.peak[q], sums.total[q, q])
    subtract_product(sums.rows, sums.total.shape[0], leaving, sums.total)
    for q in range(sums.peak.shape[0]):
        if sums.total[q, q] < _KEPT * sums.peak[q]:
            return False
    return True


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
