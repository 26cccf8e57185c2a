"""Ridge regression on the voxels of a sphere, for those with few of them: the sums of all folds from groups of samples.

With phi_i the features of a sample, its second term included (:mod:`fastsl._kernels.waist`), H = sum_i w_i phi_i phi_i'
and b = sum_i w_i t_i phi_i over the samples that a fold trains on, and E = diag(1, ..., 1, inv_c)

    (H + alpha E) beta = b,    f = phi . beta
    leave-one-out residual of i: (t_i - f_i) / (1 - h_i),    h_i = w_i phi_i' (H + alpha E)^-1 phi_i
"""

import numpy as np

from fastsl._kernels.block import most_targets
from fastsl._kernels.features import write_row
from fastsl._kernels.groups import fold_sum, group_sums
from fastsl._kernels.lapack import multiply_triangle
from fastsl._kernels.matrices import cholesky, cholesky_solve, invert_triangle
from fastsl._kernels.rows import copy_row, cut, dot
from fastsl._runtime.jit import helper, inlined


@inlined
def ridge_features(sphere, problems, groups, alphas, space, out):
    """Held-out values of all folds. Returns 0, or 1 where a matrix is not positive definite."""
    n, p = sphere.Z.shape
    order = p + 1 if sphere.inv_c < np.inf else p
    width, k = order + problems.targets.shape[0], most_targets(problems)
    W, scaled, total = cut(space.rows, n, width), cut(space.rows[n * width :], n, width), cut(space.total, width, width)
    A, beta = cut(space.A, order, order), cut(space.beta, k, order)
    for a in range(n):
        i = groups.samples[a]
        write_row(sphere, i, 1.0, W[a])
        for t in range(problems.targets.shape[0]):
            W[a, order + t] = problems.targets[t, i]
    P = group_sums(W, groups, space.P)
    for fold in range(problems.train.shape[0]):
        if problems.of_fold[fold] == problems.of_fold[fold + 1]:
            continue
        fold_sum(W, groups.ptr, groups.weight[fold], P, scaled, total)
        best = np.inf
        for alpha in alphas:
            if _solve(sphere, problems, fold, alpha, total, A, beta) != 0:
                return 1
            if len(alphas) > 1:
                invert_triangle(A, order)
                error = _loo_error(problems, groups, fold, W, A, beta, scaled)
                if not error < best:
                    continue
                best = error
            _write_fold(sphere, problems, fold, beta, out)
    return 0


@helper
def _solve(sphere, problems, fold, alpha, total, A, beta):
    """Coefficients of every target of the fold, a row each; A gets the factor."""
    first, last, order, p = problems.of_fold[fold], problems.of_fold[fold + 1], A.shape[0], sphere.Z.shape[1]
    for q in range(order):
        copy_row(total[q, q:], A[q, q:])
        A[q, q] += alpha if q < p else alpha * sphere.inv_c
        for t in range(last - first):
            beta[t, q] = total[q, order + problems.target[first + t]]
    if cholesky(A, order) != 0:
        return 1
    cholesky_solve(A, order, beta, last - first)
    return 0


@helper
def _loo_error(problems, groups, fold, W, U, beta, scaled):
    """Weighted sum of the squared leave-one-out residuals, with A^-1 = U U'. ``scaled`` makes room for W U."""
    first, last, order, m, error = problems.of_fold[fold], problems.of_fold[fold + 1], U.shape[0], 0, 0.0
    Y = cut(scaled.reshape(-1), W.shape[0], order)
    for g in range(groups.ptr.shape[0] - 1):
        if groups.weight[fold, g] > 0.0:
            for a in range(groups.ptr[g], groups.ptr[g + 1]):
                copy_row(W[a], Y[m])
                m += 1
    multiply_triangle(Y, m, U)
    m = 0
    for g in range(groups.ptr.shape[0] - 1):
        weight = groups.weight[fold, g]
        if weight > 0.0:
            for a in range(groups.ptr[g], groups.ptr[g + 1]):
                left = 1.0 - weight * dot(Y[m], Y[m])
                m += 1
                for t in range(last - first):
                    residual = W[a, order + problems.target[first + t]] - dot(W[a, :order], beta[t])
                    error += weight * (residual / left) ** 2
    return error


@helper
def _write_fold(sphere, problems, fold, beta, out):
    p, border = sphere.Z.shape[1], beta.shape[1] > sphere.Z.shape[1]
    for q in range(problems.of_fold[fold], problems.of_fold[fold + 1]):
        place, row = problems.out_ptr[q], beta[q - problems.of_fold[fold]]
        for i in problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]:
            out[place] = dot(sphere.Z[i], row[:p])
            if border:
                out[place] += sphere.u[i] * row[p]
            place += 1
