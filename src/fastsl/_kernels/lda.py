"""Linear discriminant analysis with a shrunk covariance matrix.

    score_k(x) = x' S^-1 m_k - 1/2 m_k' S^-1 m_k + log pi_k       two classes: score_1 - score_0
    S = sum_k pi_k D_k [(1 - g_k) C_k + g_k mu_k I] D_k,           mu_k = tr(C_k) / n_voxels

with C_k the covariance (divided by n_k) of the class's data, m_k its mean and pi_k its prior. Fixed shrinkage: D_k = I
and every g_k the same. Automatic shrinkage: D_k holds the standard deviations of the class, C_k is what remains when
they are divided out, and g_k is chosen by Ledoit and Wolf (2004, J. Multivariate Anal. 88:365).

Data z = x - m are shifted by the voxels' means m. Differences between scores do not notice; the scores themselves do:
score_k(x) = score_k(z) + z' S^-1 m + 1/2 m' S^-1 m, which only matters to three classes or more.

S is low rank plus diagonal, so spheres with many voxels solve a system of the order of the training samples (Woodbury).
"""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import PER_TASK
from fastsl._kernels.lapack import cholesky, cholesky_solve, syrk, syrk_rows
from fastsl._runtime.jit import entry, helper

#: A pivot below this part of its diagonal entry is rounding: the covariance matrix is singular.
_SINGULAR_PIVOT = 1e-13
#: So is a diagonal of S below this part of the voxel's variance, where rounding decides whether it is above zero.
_SINGULAR_DIAGONAL = 1e-10


class ClassFolds(NamedTuple):
    """The classes of the training samples of every fold. A fold with one class has none here and no results."""

    train: NDArray[np.int64]  # training samples, fold after fold, class after class
    class_ptr: NDArray[np.int64]  # (n_entries + 1,) into train; an entry is a class in a fold
    of_fold: NDArray[np.int64]  # (n_folds + 1,) into the entries
    prior: NDArray[np.float64]  # (n_entries,)
    test: NDArray[np.int64]  # test samples, fold after fold
    test_ptr: NDArray[np.int64]  # (n_folds + 1,) into test
    out_ptr: NDArray[np.int64]  # (n_folds + 1,) into the row of results of a sphere
    most: int  # largest number of classes of a fold


class Space(NamedTuple):
    """Work space of a task, flat: every sphere cuts its own matrices from it."""

    Z: NDArray[np.float64]  # samples, and the means as one row more (n_samples + 1, n_voxels)
    R: NDArray[np.float64]  # centred training samples and some vectors, in voxels
    A: NDArray[np.float64]  # square
    C: NDArray[np.float64]  # square
    rows: NDArray[np.float64]  # right-hand sides


@helper
def allocate_space(block, folds, start, stop):
    """Work space for the spheres ``start`` to ``stop - 1``."""
    n, largest, order = block.X.shape[1], 1, 1
    for b in range(start, stop):
        p = block.indptr[b + 1] - block.indptr[b]
        largest = max(largest, p)
        order = max(order, p if p < block.features_below else n + folds.most + 1)
    return Space(
        np.empty((n + 1) * largest),
        np.empty((n + folds.most + 1) * largest),
        np.empty(order * order),
        np.empty(order * order),
        np.empty((folds.most + 1) * max(order, largest)),
    )


@helper
def cut(flat, n_rows, n_columns):
    """A matrix without gaps from the beginning of ``flat``."""
    return flat[: n_rows * n_columns].reshape(n_rows, n_columns)


@helper
def read_samples(block, b, space):
    """Z (n_samples + 1, n_voxels): the samples of sphere b, and the means that were subtracted from them."""
    n, first, last = block.X.shape[1], block.indptr[b], block.indptr[b + 1]
    Z = cut(space.Z, n + 1, last - first)
    for q in range(last - first):
        voxel = block.indices[first + q]
        for i in range(n):
            Z[i, q] = block.X[voxel, i]
        Z[n, q] = block.means[voxel]
    return Z


@helper
def _n_vectors(Z, k):
    """How many S^-1 v are needed: one for two classes; else one a class, and one for the means if there are any."""
    if k == 2:
        return 1
    last = Z.shape[0] - 1
    for q in range(Z.shape[1]):
        if Z[last, q] != 0.0:
            return k + 1
    return k


@helper
def class_mean(Z, S, mean):
    """Mean of the rows ``S``."""
    for q in range(Z.shape[1]):
        mean[q] = 0.0
    for i in S:
        for q in range(Z.shape[1]):
            mean[q] += Z[i, q]
    for q in range(Z.shape[1]):
        mean[q] /= S.shape[0]


@helper
def _vector(t, k, mean, Z, v):
    """Vector t: the difference of two class means; or the mean of class t; or the voxels' means."""
    for q in range(Z.shape[1]):
        if k == 2:
            v[q] = mean[1, q] - mean[0, q]
        elif t < k:
            v[q] = mean[t, q]
        else:
            v[q] = Z[Z.shape[0] - 1, q]


@helper
def dot(a, b):
    """Scalar product, in four sums that do not wait for each other."""
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    n = a.shape[0] // 4 * 4
    for q in range(0, n, 4):
        s0 += a[q] * b[q]
        s1 += a[q + 1] * b[q + 1]
        s2 += a[q + 2] * b[q + 2]
        s3 += a[q + 3] * b[q + 3]
    for q in range(n, a.shape[0]):
        s0 += a[q] * b[q]
    return (s0 + s1) + (s2 + s3)


@helper
def _write_scores(folds, fold, F, at_mean, half_square, out):
    """Scores of the test samples, from F[t, i] = z_i' S^-1 v_t and at_mean[t, k] = m_k' S^-1 v_t."""
    first, place = folds.of_fold[fold], folds.out_ptr[fold]
    k = folds.of_fold[fold + 1] - first
    for t in range(1 if k == 2 else k):
        if k == 2:
            offset = np.log(folds.prior[first + 1] / folds.prior[first]) - 0.5 * (at_mean[0, 0] + at_mean[0, 1])
        else:
            offset = np.log(folds.prior[first + t]) - 0.5 * at_mean[t, t]
        for i in folds.test[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]:
            out[place] = F[t, i] + offset
            if F.shape[0] > k and k > 2:
                out[place] += F[k, i] + half_square
            place += 1


@helper
def _write_from_weights(folds, fold, Z, mean, weights, out):
    """Scores from the weights S^-1 v_t in voxels, (n_vectors, n_voxels)."""
    k = folds.of_fold[fold + 1] - folds.of_fold[fold]
    nv = weights.shape[0]
    F, at_mean = np.empty((nv, Z.shape[0])), np.empty((nv, k))
    for t in range(nv):
        for i in folds.test[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]:
            F[t, i] = dot(Z[i], weights[t])
        for c in range(k):
            at_mean[t, c] = dot(mean[c], weights[t])
    half_square = 0.5 * dot(Z[Z.shape[0] - 1], weights[nv - 1])
    _write_scores(folds, fold, F, at_mean, half_square, out)


@helper
def ledoit_wolf(squares, fourth, trace, m, p):
    """Shrinkage of m centred samples of p voxels, from squares = |X'X|^2, fourth = sum_i |x_i|^4 and trace = tr(X'X).

    delta = |X'X / m - mu I|^2 / p,   beta = (sum_i |x_i|^4 / m - |X'X / m|^2) / (m p),   min(beta, delta) / delta
    """
    if p == 1:
        return 0.0
    mu = trace / m / p
    delta = (squares / m**2 - p * mu**2) / p
    beta = min((fourth / m - squares / m**2) / (m * p), delta)
    return beta / delta if beta > 0.0 else 0.0


@helper
def _fixed_gram_fold(Z, G, folds, fold, gamma, space, out):
    """Fixed shrinkage from the Gram matrix G of the samples and the means.

    S = R' W R + b I with R the class-centred training samples, W_i = (1 - gamma) pi_k / n_k and b = gamma tr / p, so

        S^-1 v = (v - R' c) / b,    c = W^1/2 (b I + W^1/2 R R' W^1/2)^-1 W^1/2 R v

    and every product is one of G: R R' is G without its means over classes in rows and columns.
    """
    first, last = folds.of_fold[fold], folds.of_fold[fold + 1]
    k, start, stop = last - first, folds.class_ptr[first], folds.class_ptr[last]
    m, n1, nv = stop - start, G.shape[0], _n_vectors(Z, last - first)
    S, A, rows = folds.train[start:stop], cut(space.A, stop - start, stop - start), cut(space.rows, nv, stop - start)
    mean, root, of = np.empty((k, n1)), np.empty(m), np.empty(m, np.int64)
    F, at_mean = np.empty((nv, n1)), np.empty((max(nv, k), k))
    b = 0.0
    for c in range(k):
        own = folds.class_ptr[first + c] - start, folds.class_ptr[first + c + 1] - start
        class_mean(G, S[own[0] : own[1]], mean[c])
        size, trace = own[1] - own[0], 0.0
        square = _mean_at(mean[c], S[own[0] : own[1]])
        for i in range(own[0], own[1]):
            of[i], root[i] = c, np.sqrt((1.0 - gamma) * folds.prior[first + c] / size)
            trace += G[S[i], S[i]] - 2.0 * mean[c, S[i]] + square
        b += gamma * folds.prior[first + c] * trace / size / Z.shape[1]
    if not b > 0.0:
        return 1
    for c in range(k):
        _means_at(folds, first, mean[c], at_mean[c])
    for i in range(m):
        for j in range(i, m):
            centred = G[S[i], S[j]] - mean[of[i], S[j]] - mean[of[j], S[i]] + at_mean[of[i], of[j]]
            A[i, j] = root[i] * root[j] * centred
        A[i, i] += b
    if cholesky(A, m) != 0:
        return 1
    for t in range(nv):
        if t == k:
            F[t] = G[n1 - 1]
        else:
            _vector(t, k, mean, G, F[t])
        _means_at(folds, first, F[t], at_mean[t])
        for i in range(m):
            rows[t, i] = root[i] * (F[t, S[i]] - at_mean[t, of[i]])
    cholesky_solve(A, m, rows, nv)
    for t in range(nv):
        for i in range(m):
            rows[t, i] *= root[i]
        for c in range(k):
            own = folds.class_ptr[first + c] - start, folds.class_ptr[first + c + 1] - start
            average = rows[t, own[0] : own[1]].mean()
            for i in range(own[0], own[1]):
                for j in range(n1):
                    F[t, j] -= (rows[t, i] - average) * G[S[i], j]
        for j in range(n1):
            F[t, j] /= b
        _means_at(folds, first, F[t], at_mean[t])
    _write_scores(folds, fold, F, at_mean, 0.5 * F[nv - 1, n1 - 1], out)
    return 0


@helper
def _mean_at(f, S):
    total = 0.0
    for i in S:
        total += f[i]
    return total / S.shape[0]


@helper
def _means_at(folds, first, f, means):
    """Mean of f over the training samples of each class."""
    for c in range(means.shape[0]):
        means[c] = _mean_at(f, folds.train[folds.class_ptr[first + c] : folds.class_ptr[first + c + 1]])


@helper
def _centre_class(Z, S, standardise, mean, scale, R):
    """R: the rows ``S`` of Z less their mean, divided by their standard deviation where that is not 0."""
    n_voxels = Z.shape[1]
    class_mean(Z, S, mean)
    for q in range(n_voxels):
        scale[q] = 0.0
    for a in range(S.shape[0]):
        for q in range(n_voxels):
            R[a, q] = Z[S[a], q] - mean[q]
            scale[q] += R[a, q] ** 2
    for q in range(n_voxels):
        scale[q] = np.sqrt(scale[q] / S.shape[0]) if standardise and scale[q] > 0.0 else 1.0
    if standardise:
        for a in range(S.shape[0]):
            for q in range(n_voxels):
                R[a, q] /= scale[q]


@helper
def _auto_gram_fold(Z, folds, fold, space, out):
    """Automatic shrinkage: S = R' R + diag(w) with rows R_i = (pi_k (1 - g_k) / n_k)^1/2 (z_i - m_k), so with

        Q = R diag(w)^-1/2 and y = diag(w)^-1/2 v,     S^-1 v = diag(w)^-1/2 [y - Q' (I + Q Q')^-1 Q y]

    where w = sum_k pi_k g_k mu_k d_k^2 differs from voxel to voxel. The vectors y are rows of the same Gram as Q.
    """
    first, last = folds.of_fold[fold], folds.of_fold[fold + 1]
    k, start, p = last - first, folds.class_ptr[first], Z.shape[1]
    m, nv = folds.class_ptr[last] - start, _n_vectors(Z, last - first)
    R, H, rows = cut(space.R, m + nv, p), cut(space.A, m + nv, m + nv), cut(space.rows, nv, m)
    mean, scale, w, least = np.empty((k, p)), np.empty((k, p)), np.zeros(p), np.zeros(p)
    weight = np.empty(k)
    for c in range(k):
        a, b = folds.class_ptr[first + c] - start, folds.class_ptr[first + c + 1] - start
        _centre_class(Z, folds.train[start + a : start + b], True, mean[c], scale[c], R[a:b])
        C = cut(space.C, b - a, b - a)
        syrk_rows(R[a:b], C)
        squares, fourth, trace = 0.0, 0.0, 0.0
        for i in range(b - a):
            squares += 2.0 * dot(C[i, i + 1 :], C[i, i + 1 :]) + C[i, i] ** 2
            fourth += C[i, i] ** 2
            trace += C[i, i]
        g = ledoit_wolf(squares, fourth, trace, b - a, p)
        weight[c] = folds.prior[first + c] * (1.0 - g) / (b - a)
        ridge = folds.prior[first + c] * g * trace / (b - a) / p
        for q in range(p):
            w[q] += ridge * scale[c, q] ** 2
            least[q] += _SINGULAR_DIAGONAL * folds.prior[first + c] * scale[c, q] ** 2
    for q in range(p):
        if not w[q] > least[q]:
            return 1
        w[q] = 1.0 / np.sqrt(w[q])
    for c in range(k):
        for q in range(p):
            scale[c, q] *= np.sqrt(weight[c]) * w[q]
        for i in range(folds.class_ptr[first + c] - start, folds.class_ptr[first + c + 1] - start):
            for q in range(p):
                R[i, q] *= scale[c, q]
    for t in range(nv):
        _vector(t, k, mean, Z, R[m + t])
        for q in range(p):
            R[m + t, q] *= w[q]
    syrk_rows(R, H)
    for i in range(m):
        for t in range(nv):
            rows[t, i] = H[i, m + t]
        H[i, i] += 1.0
    if cholesky(H, m) != 0:
        return 1
    cholesky_solve(H, m, rows, nv)
    for t in range(nv):
        for i in range(m):
            for q in range(p):
                R[m + t, q] -= rows[t, i] * R[i, q]
        for q in range(p):
            R[m + t, q] *= w[q]
    _write_from_weights(folds, fold, Z, mean, R[m:], out)
    return 0


@helper
def _features_fold(Z, folds, fold, gamma, space, out):
    """S itself, of the order of the voxels. A negative ``gamma``: automatic shrinkage."""
    first, last = folds.of_fold[fold], folds.of_fold[fold + 1]
    k, p, nv = last - first, Z.shape[1], _n_vectors(Z, last - first)
    S, C, weights = cut(space.A, p, p), cut(space.C, p, p), cut(space.rows, nv, p)
    mean, scale, diagonal = np.empty((k, p)), np.empty(p), np.empty(p)
    for q in range(p):
        for r in range(q, p):
            S[q, r] = 0.0
    for c in range(k):
        samples = folds.train[folds.class_ptr[first + c] : folds.class_ptr[first + c + 1]]
        m = samples.shape[0]
        R = cut(space.R, m, p)
        _centre_class(Z, samples, gamma < 0.0, mean[c], scale, R)
        syrk(R, C)
        squares, fourth, trace = 0.0, 0.0, 0.0
        for q in range(p):
            squares += 2.0 * dot(C[q, q + 1 :], C[q, q + 1 :]) + C[q, q] ** 2
            trace += C[q, q]
        for a in range(m):
            fourth += dot(R[a], R[a]) ** 2
        g = gamma if gamma >= 0.0 else ledoit_wolf(squares, fourth, trace, m, p)
        for q in range(p):
            for r in range(q, p):
                S[q, r] += folds.prior[first + c] * (1.0 - g) / m * scale[q] * scale[r] * C[q, r]
            S[q, q] += folds.prior[first + c] * g * trace / m / p * scale[q] ** 2
    for q in range(p):
        diagonal[q] = S[q, q]
    if cholesky(S, p) != 0:
        return 1
    for q in range(p):
        if not S[q, q] ** 2 > _SINGULAR_PIVOT * diagonal[q]:
            return 1
    for t in range(nv):
        _vector(t, k, mean, Z, weights[t])
    cholesky_solve(S, p, weights, nv)
    _write_from_weights(folds, fold, Z, mean, weights, out)
    return 0


@helper
def _fixed_sphere(Z, few_voxels, folds, gamma, space, out):
    """Every fold of one sphere; returns the first status that is not 0. G is made once for all folds."""
    order = 0 if few_voxels else Z.shape[0]
    G = cut(space.C, order, order)
    if not few_voxels:
        syrk_rows(Z, G)
        for i in range(G.shape[0]):
            for j in range(i):
                G[i, j] = G[j, i]
    for fold in range(folds.of_fold.shape[0] - 1):
        if folds.of_fold[fold] < folds.of_fold[fold + 1]:
            if few_voxels:
                code = _features_fold(Z, folds, fold, gamma, space, out)
            else:
                code = _fixed_gram_fold(Z, G, folds, fold, gamma, space, out)
            if code != 0:
                return code
    return 0


@helper
def _auto_sphere(Z, few_voxels, folds, space, out):
    """Every fold of one sphere; returns the first status that is not 0."""
    for fold in range(folds.of_fold.shape[0] - 1):
        if folds.of_fold[fold] < folds.of_fold[fold + 1]:
            if few_voxels:
                code = _features_fold(Z, folds, fold, -1.0, space, out)
            else:
                code = _auto_gram_fold(Z, folds, fold, space, out)
            if code != 0:
                return code
    return 0


@helper
def _fixed_task(block, folds, gamma, start, stop, out, status):
    space = allocate_space(block, folds, start, stop)
    for b in range(start, stop):
        out[b] = np.nan
        status[b] = -1
        p = block.indptr[b + 1] - block.indptr[b]
        if p >= block.min_voxels:
            Z = read_samples(block, b, space)
            status[b] = _fixed_sphere(Z, p < block.features_below, folds, gamma, space, out[b])
            if status[b] != 0:
                out[b] = np.nan


@entry
def lda_fixed(block, folds, gamma, out, status):
    """Held-out scores ``out`` (n_centres, n_out) with shrinkage ``gamma``, NaN where ``status`` (n_centres,) is not 0.

    Status 1: the covariance matrix is singular; -1: fewer than ``min_voxels``.
    """
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + PER_TASK - 1) // PER_TASK):
        _fixed_task(block, folds, gamma, task * PER_TASK, min(n_centres, (task + 1) * PER_TASK), out, status)


@helper
def _auto_task(block, folds, start, stop, out, status):
    space = allocate_space(block, folds, start, stop)
    for b in range(start, stop):
        out[b] = np.nan
        status[b] = -1
        p = block.indptr[b + 1] - block.indptr[b]
        if p >= block.min_voxels:
            Z = read_samples(block, b, space)
            status[b] = _auto_sphere(Z, p < block.features_below, folds, space, out[b])
            if status[b] != 0:
                out[b] = np.nan


@entry
def lda_auto(block, folds, out, status):
    """As :func:`lda_fixed`, with the shrinkage that Ledoit and Wolf choose for each class of each fold."""
    n_centres = len(block.indptr) - 1
    for task in nb.prange((n_centres + PER_TASK - 1) // PER_TASK):
        _auto_task(block, folds, task * PER_TASK, min(n_centres, (task + 1) * PER_TASK), out, status)
