"""Ridge regression of one penalty: every fold from a root of one inverse.

The inverse M of :mod:`fastsl._kernels.ridge` is not made. With A = R' R, U = R^-1 and the second term of K bordered,

    M = U (I - q q') U',    q = U' u / (inv_c + |U' u|^2)^1/2

so that what a fold needs of it, F being the samples that it does not train on, are products of a few rows,

    M_FF = U_F U_F' - (U_F q)(U_F q)',    M_FT t_T = U_F v - (U_F q)(q' v),    v = U_T' t_T
"""

import numpy as np

from fastsl._kernels.block import most_targets
from fastsl._kernels.lapack import multiply_rows
from fastsl._kernels.matrices import cholesky, cholesky_solve, invert_triangle
from fastsl._kernels.rows import add, copy_row, dot
from fastsl._runtime.jit import helper, inlined


@inlined
def ridge_root(sphere, problems, alpha, U, out):
    """Held-out values of all folds. ``U`` is work space (n, n). Returns 1 where a matrix is not positive definite."""
    n_folds, n = problems.train.shape
    most, left_out = most_targets(problems), most_left_out(problems)
    Y, S = np.empty((left_out + 1 + most, n)), np.empty((left_out, left_out + 1 + most))
    q, f, F = np.empty(n), np.empty((most, left_out)), np.empty(left_out, np.int64)
    for fold in range(n_folds):
        if problems.of_fold[fold] == problems.of_fold[fold + 1]:
            continue
        D = problems.ridge[problems.of_fold[fold]]
        if problems.new_weights[fold] and _root(sphere, alpha, D, U, q) != 0:
            return 1
        r = _held_out(problems, fold, U, q, Y, S, f, F)
        if r < 0:
            return 1
        _write_fold(problems, fold, alpha, D, U, q, Y[r + 1 :], f, F[:r], out)
    return 0


@helper
def most_left_out(problems):
    """Largest number of samples that a fold does not train on, or 1."""
    most, n = 1, problems.train.shape[1]
    for fold in range(problems.train.shape[0]):
        most = max(most, n - problems.train[fold].sum())
    return most


@helper
def _root(sphere, alpha, D, U, q):
    """U, with zeros below its diagonal, and q."""
    G, u = sphere.Z, sphere.u
    n = G.shape[0]
    for i in range(n):
        U[i, :i] = 0.0
        for j in range(i, n):
            U[i, j] = G[i, j]
        U[i, i] += alpha * D[i]
    if cholesky(U, n) != 0:
        return 1
    invert_triangle(U, n)
    q[:] = 0.0
    for i in range(n):
        add(u[i], U[i, i:], q[i:])
    scale = 1.0 / np.sqrt(sphere.inv_c + dot(q, q))
    for i in range(n):
        q[i] *= scale
    return 0


@helper
def _held_out(problems, fold, U, q, Y, S, f, F):
    """List F, and write f_F = -(M_FF)^-1 M_FT t_T, one row a target of the fold. Returns len(F), or -1.

    ``Y`` gets the rows U_F, q and v of each target: one product holds all that is needed. t_F has no part in it, not
    even one that cancels: where f is small against t, in a sphere of empty voxels say, the rounding of t_F would tell
    its sign.
    """
    r, n = 0, U.shape[0]
    first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
    for i in range(n):
        if not problems.train[fold, i]:
            F[r] = i
            copy_row(U[i, F[0] :], Y[r, F[0] :])  # zero before column F_0
            r += 1
    copy_row(q, Y[r])
    for t in range(last - first):
        target, v = problems.targets[problems.target[first + t]], Y[r + 1 + t]
        v[:] = 0.0
        for j in range(n):
            if problems.train[fold, j]:
                add(target[j], U[j, j:], v[j:])
    if r == 0:
        return 0
    multiply_rows(Y[:r, F[0] :], Y[: r + 1 + last - first, F[0] :], S)
    for t in range(last - first):
        qv = dot(q, Y[r + 1 + t])
        for a in range(r):
            f[t, a] = S[a, r] * qv - S[a, r + 1 + t]
    for a in range(r):
        for b in range(a, r):
            S[a, b] -= S[a, r] * S[b, r]
    if cholesky(S, r) != 0:
        return -1
    cholesky_solve(S, r, f, last - first)
    return r


@helper
def _write_fold(problems, fold, alpha, D, U, q, V, f, F, out):
    """Write the values of the tested samples: of those that are trained on, t - alpha D M (t_T, f_F)."""
    first, last = problems.of_fold[fold], problems.of_fold[fold + 1]
    tested = problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]]
    for t in range(last - first):
        place, v, whole = problems.out_ptr[first + t], V[t], False
        for i in tested:
            if problems.train[fold, i]:
                if not whole:
                    for a in range(F.shape[0]):
                        add(f[t, a], U[F[a]], v)
                    add(-dot(q, v), q, v)
                    whole = True
                target = problems.targets[problems.target[first + t]]
                out[place] = target[i] - alpha * D[i] * dot(U[i], v)
            for a in range(F.shape[0]):
                if F[a] == i:
                    out[place] = f[t, a]
            place += 1
