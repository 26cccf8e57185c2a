"""LinearSVC with the squared hinge loss, exact: no tolerance to tune.

min  1/2 ||w||^2 + sum_i C_i max(0, 1 - y_i f_i)^2,   f = K beta      y = +-1, intercept penalised as K has it
"""

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import Block, Problems, allocate, read_gram, read_sphere, write_problem
from fastsl._kernels.features import feature_space
from fastsl._kernels.groups import Groups
from fastsl._kernels.lapack import multiply
from fastsl._kernels.margin import MOST_AWAY, PLAIN_STEPS, TIE, fit_fold, margin_space, training_targets
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.svm_features import active_sums, begin_fold, features_step, forget
from fastsl._kernels.waist import absorb_border, gram_ridge, inverse
from fastsl._runtime.jit import helper, inlined

#: As :data:`fastsl._kernels.margin.TIE`, for systems that round more; it applies once steps are no longer plain.
_LOOSE_TIE = 1e-7
_MOST_STEPS = 200


@inlined
def squared_hinge(sphere, sums, q, train, D, T, A, rows, F, beta):
    """Modified finite Newton (Keerthi and DeCoste 2005, JMLR 6:341), with D = 1 / (2 C).

    On the active set S = {i : y_i f_i < 1} the loss is that of ridge regression: solve it there, read off the new S,
    and stop when S stands still: the exact optimum. Steps that have not come to that are then shortened by an exact
    line search, which excludes cycles.

    ``sums`` are of a sphere in the form of features, ``q`` the problem's number there; None where no sphere has it, so
    that nothing of it is compiled. ``F`` (1, n) enters as a guess of the decision values (all zero: start from all
    samples) and leaves as the solution, with ``beta``. The solution depends on the last S alone, not on the guess, but
    for rounding.
    Returns 0, 1 (not positive definite) or 2 (no standstill).
    """
    n, y = T.shape[1], T[0]
    F_new, beta_new, S = np.empty((1, n)), np.empty((1, n)), np.empty(n, np.int64)
    _begin_fold(sums, q, train)
    for step in range(_MOST_STEPS):
        if step == PLAIN_STEPS:
            _forget(sums)  # and what steps that lead nowhere left of rounding
        m = 0
        for i in range(n):
            if train[i] and y[i] * F[0, i] < 1.0:
                S[m] = i
                m += 1
        if m == 0:  # every sample is beyond the margin, by a guess or a long step: the ridge of nothing is zero
            F_new[:] = 0.0
            beta_new[:] = 0.0
        elif _ridge_step(sphere, sums, S[:m], D, T, A, rows, F_new, beta_new) != 0:
            return 1
        moved = _set_moved(train, y, S[:m], F_new[0], beta_new[0], TIE if step < PLAIN_STEPS else _LOOSE_TIE)
        t = 1.0
        if moved and step >= PLAIN_STEPS:
            t = _line_search(train, D, y, F[0], beta[0], F_new[0], beta_new[0])
        for i in range(n):
            F[0, i] = F_new[0, i] if t == 1.0 else F[0, i] + t * (F_new[0, i] - F[0, i])
            beta[0, i] = beta_new[0, i] if t == 1.0 else beta[0, i] + t * (beta_new[0, i] - beta[0, i])
        if not moved:
            return 0
    return 2


@helper
def _begin_fold(sums, q, train):
    if sums is not None:
        begin_fold(sums, q, train)


@helper
def _forget(sums):
    if sums is not None:
        forget(sums)


@helper
def _ridge_step(sphere, sums, S, D, T, A, rows, F, beta):
    if sums is None:
        return gram_ridge(sphere, S, D, T, A, rows, F, beta)
    if sphere.primal:
        return features_step(sphere, sums, S, D, T[0], F[0], beta[0])
    return gram_ridge(sphere, S, D, T, A, rows, F, beta)


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
def _are_alike(rows):
    """Whether all rows are the same."""
    for q in range(1, rows.shape[0]):
        for i in range(rows.shape[1]):
            if rows[q, i] != rows[0, i]:
                return False
    return True


@inlined
def _invert(sphere, problems, T, work, C):
    """M and C = T M; returns whether all problems share them, and it is worth it: features are fewer than samples."""
    if sphere.primal or not _are_alike(problems.ridge):
        return False
    if inverse(sphere, 0.5, problems.ridge[0], work.M, work.rows) != 0:
        return False
    multiply(T, work.M, C)
    return True


@inlined
def _squared_hinge_sphere(sphere, sums, problems, T, work, space, out):
    """Every problem of one sphere; returns the first status that is not 0.

    Target by target, so that each fold starts from the decision values of the fold before: a sixth less time.
    """
    n = problems.train.shape[1]
    D, F, beta, C = np.empty(n), np.empty((1, n)), np.empty((1, n)), np.empty(T.shape)
    inverted = _invert(sphere, problems, T, work, C)
    for target in range(problems.targets.shape[0]):
        y = problems.targets[target]
        F[:] = 0.0
        for q in range(len(problems.target)):
            if problems.target[q] != target:
                continue
            train = problems.train[problems.fold[q]]
            for i in range(n):
                D[i] = 0.5 * problems.ridge[q, i]
            if not (inverted and fit_fold(sphere, work.M, C[q], y, train, D, F[0], MOST_AWAY, space)):
                code = squared_hinge(sphere, sums, q, train, D, y.reshape(1, n), work.A, work.rows, F, beta)
                if code != 0:
                    return code
            write_problem(problems, q, F[0], out)
    return 0


@over_spheres
def squared_hinge_gram(block, problems, out, status):
    """As :func:`svc_squared_hinge`, where every sphere has the form of its Gram matrix."""
    work, space, T = allocate(block, 0), margin_space(block.X.shape[1]), training_targets(problems)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            sphere = absorb_border(read_gram(block, b, work))
            status[b] = _squared_hinge_sphere(sphere, None, problems, T, work, space, out[b])
            if status[b] != 0:
                out[b] = np.nan


@over_spheres
def squared_hinge_any(block, problems, groups, out, status):
    """As :func:`svc_squared_hinge`, for either form."""
    work, space, T = allocate(block, 0), margin_space(block.X.shape[1]), training_targets(problems)
    few = feature_space(block, groups, 1, 0, 1)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            sphere = absorb_border(read_sphere(block, b, work))
            sums = active_sums(sphere, groups, few)
            status[b] = _squared_hinge_sphere(sphere, sums, problems, T, work, space, out[b])
            if status[b] != 0:
                out[b] = np.nan


def svc_squared_hinge(
    block: Block, problems: Problems, groups: Groups, out: NDArray[np.float64], status: NDArray[np.int8]
) -> None:
    """Held-out decision values ``out`` (n_centres, n_out), NaN where ``status`` (n_centres,) is not 0.

    ``problems.ridge`` is 1 / C, and 2 C the weight of ``groups`` in each problem. Status 1: not positive definite;
    2: no convergence; -1: fewer than ``min_voxels``. Two kernels, so that nobody waits for the compilation of what is
    not used: a first fit takes 14.9 s where every sphere has its Gram matrix, 17.6 otherwise.
    """
    if block.features_below == 0:
        squared_hinge_gram(block, problems, out, status)
    else:
        squared_hinge_any(block, problems, groups, out, status)
