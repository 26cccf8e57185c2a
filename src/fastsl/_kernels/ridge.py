"""Ridge regression for all folds of a cross-validation, with the penalty chosen inside each fold if there are several.

    min  sum_i w_i (t_i - f_i)^2 + alpha ||beta||_K^2,    D_i = 1 / w_i,    A = K + alpha D

The best alpha of a fold has the smallest weighted mean square of the leave-one-out residuals of its training samples,
averaged over the targets: scikit-learn's ``RidgeCV(cv=None)``. One penalty mostly takes less:
:mod:`fastsl._kernels.ridge_held_out`.
"""

import numpy as np

from fastsl._kernels.block import allocate, most_targets, read_sphere
from fastsl._kernels.features import feature_space
from fastsl._kernels.lapack import multiply, multiply_rows
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.ridge_features import ridge_features
from fastsl._kernels.rows import add, copy_row
from fastsl._kernels.waist import inverse
from fastsl._runtime.jit import helper, inlined


@inlined
def ridge_gram(sphere, problems, alphas, M, rows, out):
    """All folds from one inverse: with M = A^-1, c = M t and F the samples a fold does not train on,

        f_F = -(M_FF)^-1 M_FT t_T                                       held out
        c'_T = c_T - M_TF (t_F - f_F),    M'_TT = M_TT - M_TF (M_FF)^-1 M_FT      the fold's own c and M
        f_T = t_T - alpha D_T c'_T                                       fitted
        leave-one-out residual of i in T: c'_i / M'_ii

    M is made again only where a fold has other weights than the one before. Returns 0, or 1 where a matrix is not
    positive definite.
    """
    n_folds, n = problems.train.shape
    most, left_out = most_targets(problems), most_left_out(problems)
    best, c, diagonal = np.full(n_folds, np.inf), np.empty((problems.targets.shape[0], n)), np.empty(n)
    own, M_F, F = np.empty((most, n)), np.empty((left_out, n)), np.empty(left_out, np.int64)
    S, f = np.empty((left_out, left_out)), np.empty((most, left_out))
    for alpha in alphas:
        for fold in range(n_folds):
            if problems.of_fold[fold] == problems.of_fold[fold + 1]:
                continue
            D = problems.ridge[problems.of_fold[fold]]
            if problems.new_weights[fold]:
                if inverse(sphere, alpha, D, M, rows) != 0:
                    return 1
                multiply(problems.targets, M, c)
            r = _held_out(problems, fold, M, M_F, own, S, f, F)
            if r < 0:
                return 1
            _own_c(problems, fold, c, M_F, f, F[:r], own)
            if len(alphas) > 1:
                error = _loo_error(problems, fold, D, M, M_F[:r], S, own, diagonal)
                if not error < best[fold]:
                    continue
                best[fold] = error
            _write_fold(problems, fold, alpha, D, own, f, F[:r], out)
    return 0


@helper
def most_left_out(problems):
    """Largest number of samples that a fold does not train on, or 1."""
    most, n = 1, problems.train.shape[1]
    for fold in range(problems.train.shape[0]):
        most = max(most, n - problems.train[fold].sum())
    return most


@helper
def _held_out(problems, fold, M, M_F, negative, S, f, F):
    """List F, copy its rows of M, factor M_FF into S, and write f_F, a row a target of the fold. Returns len(F), or -1.

    t_F has no part in it, not even one that cancels: where f is small against t, in a sphere of empty voxels say, the
    rounding of t_F would tell its sign.
    """
    r, n = 0, M.shape[0]
    first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
    for i in range(n):
        if not problems.train[fold, i]:
            F[r] = i
            copy_row(M[i], M_F[r])
            r += 1
    for t in range(last - first):
        target = problems.targets[problems.target[first + t]]
        for i in range(n):
            negative[t, i] = -target[i] if problems.train[fold, i] else 0.0
    if r == 0:
        return 0
    multiply_rows(negative[: last - first], M_F[:r], f)
    for a in range(r):
        for b in range(a, r):
            S[a, b] = M_F[a, F[b]]
    if cholesky(S, r) != 0:
        return -1
    cholesky_solve(S, r, f, last - first)
    return r


@helper
def _own_c(problems, fold, c, M_F, f, F, own):
    """c' of every sample, one row a target of the fold; only those of T mean something."""
    first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
    for t in range(last - first):
        target, row = problems.target[first + t], own[t]
        copy_row(c[target], row)
        for a in range(F.shape[0]):
            add(f[t, a] - problems.targets[target, F[a]], M_F[a], row)


@helper
def _loo_error(problems, fold, D, M, M_F, S, own, diagonal):
    """Weighted sum of the squared leave-one-out residuals. M_F makes room for R'^-1 M_F, where M_FF = R' R is in S."""
    n, r = M.shape[0], M_F.shape[0]
    for i in range(n):
        diagonal[i] = M[i, i]
    for a in range(r):
        row = M_F[a]
        for b in range(a):
            add(-S[b, a], M_F[b], row)
        scale = 1.0 / S[a, a]
        for i in range(n):
            row[i] *= scale
            diagonal[i] -= row[i] * row[i]
    error = 0.0
    for i in range(n):
        if problems.train[fold, i]:
            for t in range(problems.of_fold[fold + 1] - problems.of_fold[fold]):
                error += (own[t, i] / diagonal[i]) ** 2 / D[i]
    return error


@helper
def _write_fold(problems, fold, alpha, D, own, f, F, out):
    first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
    for q in range(first, last):
        target, place = problems.targets[problems.target[q]], problems.out_ptr[q]
        for i in problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]:
            if problems.train[fold, i]:
                out[place] = target[i] - alpha * D[i] * own[q - first, i]
            for a in range(F.shape[0]):
                if F[a] == i:
                    out[place] = f[q - first, a]
            place += 1


@over_spheres
def ridge(block, problems, groups, alphas, out, status):
    """Held-out predictions ``out`` (n_centres, n_out) of ridge regression, NaN where ``status`` (n_centres,) is not 0.

    Status 1: a matrix is not positive definite; -1: fewer than ``min_voxels``.

    ``problems.ridge`` is 1 / sample weight; of several ``alphas`` each fold takes its best.
    """
    most, n_targets = most_targets(problems), problems.targets.shape[0]
    work, space = allocate(block, most + 1), feature_space(block, groups, 2, n_targets, most)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            sphere = read_sphere(block, b, work)
            if sphere.primal:
                status[b] = ridge_features(sphere, problems, groups, alphas, space, out[b])
            else:
                status[b] = ridge_gram(sphere, problems, alphas, work.M, work.rows, out[b])
            if status[b] != 0:
                out[b] = np.nan
