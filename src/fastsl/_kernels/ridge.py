"""Ridge regression for all folds of a cross-validation, with the penalty chosen inside each fold if there are several.

    min  sum_i w_i (t_i - f_i)^2 + alpha ||beta||_K^2,    D_i = 1 / w_i,    A = K + alpha D

The best alpha of a fold has the smallest weighted mean square of the leave-one-out residuals of its training samples,
averaged over the targets: scikit-learn's ``RidgeCV(cv=None)``.
"""

import numba as nb
import numpy as np

from fastsl._kernels.block import PER_TASK, allocate, most_targets, read_sphere
from fastsl._kernels.lapack import cholesky, cholesky_inverse, cholesky_solve
from fastsl._kernels.waist import features_ridge, leverages
from fastsl._runtime.jit import entry, helper


@helper
def ridge_gram(sphere, problems, alphas, M, A, rows, out):
    """All folds from one inverse: with M = A^-1, c = M t and R the samples a fold does not train on,

        f_R = -(M_RR)^-1 M_RT t_T                                       held out
        c'_T = c_T - M_TR (t_R - f_R),    M'_TT = M_TT - M_TR (M_RR)^-1 M_RT      the fold's own c and M
        f_T = t_T - alpha D_T c'_T                                       fitted
        leave-one-out residual of i in T: c'_i / M'_ii

    M is made again only where a fold has other weights than the one before. Returns 0, or 1 where a matrix is not
    positive definite.
    """
    n_folds, n = problems.train.shape
    best = np.full(n_folds, np.inf)
    c, f, S = np.empty((problems.targets.shape[0], n)), np.empty((most_targets(problems), n)), np.empty(n, np.int64)
    for alpha in alphas:
        for fold in range(n_folds):
            if problems.of_fold[fold] == problems.of_fold[fold + 1]:
                continue
            D = problems.ridge[problems.of_fold[fold]]
            if problems.new_weights[fold]:
                if inverse(sphere, alpha, D, M, rows) != 0:
                    return 1
                for t in range(c.shape[0]):
                    for i in range(c.shape[1]):
                        c[t, i] = 0.0
                    for j in range(c.shape[1]):
                        for i in range(c.shape[1]):
                            c[t, i] += problems.targets[t, j] * M[j, i]
            r = _held_out(problems, fold, M, A, f, S)
            if r < 0:
                return 1
            if len(alphas) > 1:
                error = _loo_error(problems, fold, D, M, c, A, rows, f, S[:r])
                if not error < best[fold]:
                    continue
                best[fold] = error
            _write_fold(problems, fold, alpha, D, M, c, f, S[:r], out)
    return 0


@helper
def inverse(sphere, alpha, D, M, rows):
    """M = (G + alpha D)^-1 bordered by u: both triangles."""
    G, u = sphere.Z, sphere.u
    n = G.shape[0]
    for i in range(n):
        for j in range(i, n):
            M[i, j] = G[i, j]
        M[i, i] += alpha * D[i]
        rows[0, i] = u[i]
    if cholesky(M, n) != 0:
        return 1
    cholesky_solve(M, n, rows, 1)
    cholesky_inverse(M, n)
    border = sphere.inv_c
    for i in range(n):
        border += u[i] * rows[0, i]
    for i in range(n):
        for j in range(i, n):
            M[i, j] -= rows[0, i] * rows[0, j] / border
            M[j, i] = M[i, j]
    return 0


@helper
def _held_out(problems, fold, M, A, f, R):
    """List R, factor M_RR into A and write f_R, one row a target of the fold. Returns len(R), or -1.

    t_R has no part in it, not even one that cancels: where f is small against t, in a sphere of empty voxels say, the
    rounding of t_R would tell its sign.
    """
    r, n = 0, M.shape[0]
    for i in range(n):
        if not problems.train[fold, i]:
            R[r] = i
            r += 1
    for a in range(r):
        for b in range(a, r):
            A[a, b] = M[R[a], R[b]]
    if r > 0 and cholesky(A, r) != 0:
        return -1
    first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
    for q in range(first, last):
        row, target = f[q - first], problems.targets[problems.target[q]]
        for a in range(r):
            row[a] = 0.0
        for i in range(n):
            if problems.train[fold, i]:
                for a in range(r):
                    row[a] -= target[i] * M[i, R[a]]
    if r > 0:
        cholesky_solve(A, r, f, last - first)
    return r


@helper
def _own_c(problems, target, c, M, f, R, i):
    """c' of the training sample i."""
    own = c[target, i]
    for a in range(R.shape[0]):
        own -= M[i, R[a]] * (problems.targets[target, R[a]] - f[a])
    return own


@helper
def _loo_error(problems, fold, D, M, c, A, rows, f, R):
    n, r = M.shape[0], R.shape[0]
    first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
    m = 0
    for i in range(n):
        if problems.train[fold, i]:
            for a in range(r):
                rows[m, a] = M[i, R[a]]
            m += 1
    if r > 0:
        cholesky_solve(A, r, rows, m)
    error, m = 0.0, 0
    for i in range(n):
        if problems.train[fold, i]:
            diagonal = M[i, i]
            for a in range(r):
                diagonal -= M[i, R[a]] * rows[m, a]
            m += 1
            for q in range(first, last):
                residual = _own_c(problems, problems.target[q], c, M, f[q - first], R, i)
                error += (residual / diagonal) ** 2 / D[i]
    return error


@helper
def _write_fold(problems, fold, alpha, D, M, c, f, R, out):
    first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
    for q in range(first, last):
        target, place = problems.target[q], problems.out_ptr[q]
        for i in problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]:
            if problems.train[fold, i]:
                own = _own_c(problems, target, c, M, f[q - first], R, i)
                out[place] = problems.targets[target, i] - alpha * D[i] * own
            for a in range(R.shape[0]):
                if R[a] == i:
                    out[place] = f[q - first, a]
            place += 1


@helper
def ridge_features(sphere, problems, alphas, A, rows, out):
    """Fold by fold on the features; leave-one-out residual of i: (t_i - f_i) / (1 - h_i), h the leverages."""
    n_folds, n = problems.train.shape
    best = np.full(n_folds, np.inf)
    most = most_targets(problems)
    T, F, beta = np.empty((most, n)), np.empty((most, n)), np.empty((most, n))
    D, h, S = np.empty(n), np.empty(n), np.empty(n, np.int64)
    for alpha in alphas:
        for fold in range(n_folds):
            first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
            k, m = last - first, 0
            if k == 0:
                continue
            for i in range(n):
                D[i] = alpha * problems.ridge[first, i]
                if problems.train[fold, i]:
                    S[m] = i
                    m += 1
            for q in range(first, last):
                T[q - first] = problems.targets[problems.target[q]]
            if features_ridge(sphere, S[:m], D, T[:k], A, rows, F[:k], beta[:k]) != 0:
                return 1
            if len(alphas) > 1:
                leverages(sphere, S[:m], D, A, rows, h)
                error = 0.0
                for i in S[:m]:
                    for t in range(k):
                        error += ((T[t, i] - F[t, i]) / (1.0 - h[i])) ** 2 / D[i] * alpha
                if not error < best[fold]:
                    continue
                best[fold] = error
            for q in range(first, last):
                place = problems.out_ptr[q]
                for i in problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]:
                    out[place] = F[q - first, i]
                    place += 1
    return 0


@helper
def _ridge_task(block, problems, alphas, start, stop, out, status):
    work = allocate(block, start, stop, most_targets(problems) + 1)
    for b in range(start, stop):
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            sphere = read_sphere(block, b, work)
            if sphere.primal:
                status[b] = ridge_features(sphere, problems, alphas, work.A, work.rows, out[b])
            else:
                status[b] = ridge_gram(sphere, problems, alphas, work.M, work.A, work.rows, out[b])
            if status[b] != 0:
                out[b] = np.nan


@entry
def ridge(block, problems, alphas, out, status):
    """Held-out predictions ``out`` (n_centres, n_out) of ridge regression; status as in :func:`svc_squared_hinge`.

    ``problems.ridge`` is 1 / sample weight; of several ``alphas`` each fold takes its best.
    """
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + PER_TASK - 1) // PER_TASK):
        _ridge_task(block, problems, alphas, task * PER_TASK, min(n_centres, (task + 1) * PER_TASK), out, status)
