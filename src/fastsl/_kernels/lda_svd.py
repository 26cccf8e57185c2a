"""Linear discriminant analysis without shrinkage, on the directions in which the classes vary: solver ``svd``.

    R_i = (z_i - m_k) / (s sqrt(d)) = U diag(sigma) V'         s: standard deviation within classes, voxel by voxel
    P = V diag(sigma)^-2 V' over sigma > tol,                  A = diag(1/s) P diag(1/s)
    score_k(x) = (x - c)' A (m_k - c) - 1/2 (m_k - c)' A (m_k - c) + log pi_k,       c = sum_k pi_k m_k

with m_k - c first projected on the directions in which the means differ by more than ``tol`` of the largest difference.
d is n training samples less ``lost`` for each class: scikit-learn takes 1 before its version 1.9, and none since.

Where every sigma but those that are zero is well above ``tol``, P comes from a Cholesky factor of R'R, or of R R' and
the vectors N that it takes to zero,

    P = R' H^-2 R,    H = R R' + N N'

N are the averages over each class, which R has subtracted, and whatever else the training samples have in common: runs
that were standardised, confounds that were removed. These are zero to the rounding of the data only, so that H^-1 is
taken of what is orthogonal to them.

Squaring loses the small sigma (relative error 1e-16 / sigma^2); a solution is therefore corrected once by what R itself
leaves of it (Bjorck 1987, Linear Algebra Appl 88:31, corrected seminormal equations). Where that is not enough, R is
decomposed.
"""

import numpy as np

from fastsl._kernels.discriminant import allocate_space, class_mean, read_samples, write_scores
from fastsl._kernels.lapack import multiply, pivoted_cholesky, singular_vectors, syrk_rows
from fastsl._kernels.matrices import add_syrk, cholesky, cholesky_solve, syrk
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.rows import add, cut, dot
from fastsl._kernels.waist import mirror
from fastsl._runtime.jit import helper

#: Where a sigma^2 is below this part of the sum of all of them, R itself is decomposed, in six times the time. Measured
#: against singular values (random data of 22 to 100 training samples, 40 to 257 voxels): with the smallest at 1e-6
#: solutions are wrong by 1e-13 of the largest, at 1e-8 by 2e-12; beside zeros by 2e-12 and 2e-11. Noise smoothed with a
#: sigma of 1, 1.5, 2 and 3 voxels has 3e-5, 6e-7, 2e-8 and 3e-11.
_SAFE_TO_SQUARE = 1e-8
#: The squares of what is taken for zero add up to less than this part of every other, or R itself is decomposed: 5e-7
#: and 1e-5 leave 1e-12 and 4e-12, also where classes differ a hundred times as much along the zeros. Runs that were
#: standardised leave 1e-15 of the sum of all, in float32 5e-13 each.
_NEGLIGIBLE = 1e-5


@helper
def _scaled_rows(Z, folds, fold, lost, mean, s, R):
    """Fill R (training samples, n_voxels), the class means and s; s is 1 where a voxel does not vary within classes."""
    first, start = folds.of_fold[fold], folds.class_ptr[folds.of_fold[fold]]
    m, p = R.shape
    for q in range(p):
        s[q] = 0.0
    for c in range(mean.shape[0]):
        a, b = folds.class_ptr[first + c], folds.class_ptr[first + c + 1]
        class_mean(Z, folds.train[a:b], mean[c])
        for i in range(a, b):
            for q in range(p):
                R[i - start, q] = Z[folds.train[i], q] - mean[c, q]
                s[q] += R[i - start, q] ** 2
    for q in range(p):
        s[q] = np.sqrt(s[q] / m) if s[q] > 0.0 else 1.0
    d = max(m - lost * mean.shape[0], 1)
    for i in range(m):
        for q in range(p):
            R[i, q] /= s[q] * np.sqrt(d)


@helper
def _square_of_samples(R, folds, fold, H):
    """R R' with ones where it has zeros: the averages over each class, which R has subtracted. The upper triangle."""
    syrk_rows(R, H)
    start = folds.class_ptr[folds.of_fold[fold]]
    for c in range(folds.of_fold[fold], folds.of_fold[fold + 1]):
        a, b = folds.class_ptr[c] - start, folds.class_ptr[c + 1] - start
        for i in range(a, b):
            for j in range(i, b):
                H[i, j] += 1.0 / (b - a)


@helper
def _factor(H, limit):
    """Cholesky factor of H. Returns 1, the lower triangle and diagonal of H as they were, if an eigenvalue is below.

    H - limit I has a Cholesky factor exactly where every eigenvalue is above the limit.
    """
    mirror(H)
    for i in range(H.shape[0]):
        H[i, i] -= limit
    diagonal = np.diag(H).copy()
    safe = limit < 1.0 and cholesky(H, H.shape[0]) == 0
    for i in range(H.shape[0]):
        H[i, i] = diagonal[i] + limit
        for j in range(i + 1, H.shape[0]):
            H[i, j] = H[j, i]
    return 0 if safe and cholesky(H, H.shape[0]) == 0 else 1


@helper
def _null_vectors(H, limit, C):
    """Orthonormal rows v with v' H v below ``limit``, from the lower triangle of H; C is for work.

    A sample that the pivots leave out is the combination H_11^-1 H_12 of those that they took, and the difference is
    such a vector.
    """
    m, order = H.shape[0], np.empty(H.shape[0], np.int32)
    for i in range(m):
        for j in range(i + 1):
            C[j, i] = H[i, j]
    rank = pivoted_cholesky(C, limit, order)
    N, row = np.zeros((m - rank, m)), np.empty(m)
    for t in range(m - rank):
        for i in range(rank):
            N[t, i] = H[max(order[rank + t], order[i]), min(order[rank + t], order[i])]
    cholesky_solve(C, rank, N, m - rank)
    for t in range(m - rank):
        for i in range(m):
            row[order[i]] = -N[t, i] if i < rank else 0.0
        row[order[rank + t]] = 1.0
        for i in range(m):
            N[t, i] = row[i]
        _make_orthonormal(N, t)
    return N


@helper
def _improve(N, H, C):
    """Take from the rows of N what H + N N' solves of H N: a step of Newton's for the space that H takes to zero.

    Reads the lower triangle of H; C is for work. Returns the sum of v' H v, and 1 where there is no factor.
    """
    q, m = N.shape
    step, total = np.empty((q, m)), 0.0
    for i in range(m):
        for j in range(i + 1):
            C[j, i] = H[i, j]
            C[i, j] = H[i, j]
    multiply(N, C, step)
    for t in range(q):
        total += dot(N[t], step[t])
    _project(N, step)
    add_syrk(N, C)
    if cholesky(C, m) != 0:
        return total, 1
    cholesky_solve(C, m, step, q)
    for t in range(q):
        add(-1.0, step[t], N[t])
        _make_orthonormal(N, t)
    return total, 0


@helper
def _project(N, rows):
    """Take from ``rows`` what they have of the rows of N."""
    for r in range(rows.shape[0]):
        for v in range(N.shape[0]):
            add(-dot(N[v], rows[r]), N[v], rows[r])


@helper
def _make_orthonormal(N, t):
    """Make row t of N orthogonal to the rows before it, twice against rounding, and of length 1."""
    for _ in range(2):
        for other in range(t):
            add(-dot(N[other], N[t]), N[other], N[t])
        length = np.sqrt(dot(N[t], N[t]))
        for i in range(N.shape[1]):
            N[t, i] /= length


@helper
def _solve(H, R, N, x, residual):
    """x -> H^-1 x in place, for what of R R' is orthogonal to N, corrected once by b - R R' x."""
    m, p = R.shape
    back = np.empty(p)
    _project(N, x)
    for t in range(x.shape[0]):
        for i in range(m):
            residual[t, i] = x[t, i]
    cholesky_solve(H, m, x, x.shape[0])
    _project(N, x)
    for t in range(x.shape[0]):
        for q in range(p):
            back[q] = 0.0
        for i in range(m):
            add(x[t, i], R[i], back)
        for i in range(m):
            residual[t, i] -= dot(R[i], back)
    _project(N, residual)
    cholesky_solve(H, m, residual, x.shape[0])
    for t in range(x.shape[0]):
        add(1.0, residual[t], x[t])
    _project(N, x)


@helper
def _solve_by_square(R, folds, fold, tol, space, V):
    """Replace the rows of V by P v, from a Cholesky factor. Returns 1, V as it was, where that is not safe."""
    (m, p), k = R.shape, folds.of_fold[fold + 1] - folds.of_fold[fold]
    limit = max(tol**2, _SAFE_TO_SQUARE * p)
    if p <= m:
        H = cut(space.A, p, p)
        syrk(R, H)
        if _factor(H, limit) == 0:
            _solve_voxels(H, R, V)
            return 0
    H, N = cut(space.A, m, m), np.empty((0, m))
    _square_of_samples(R, folds, fold, H)
    if _factor(H, limit) != 0:
        C = cut(space.C, m, m)
        N = _null_vectors(H, limit, C)
        if not 0 < N.shape[0] < m - k:
            return 1
        zero, code = _improve(N, H, C)
        if code != 0 or not zero < 0.5 * tol**2:
            return 1
        for i in range(m):
            for j in range(i):
                H[j, i] = H[i, j]
        add_syrk(N, H)
        if _factor(H, max(limit, zero / _NEGLIGIBLE)) != 0:
            return 1
    x, residual = np.empty((V.shape[0], m)), np.empty((V.shape[0], m))
    for t in range(V.shape[0]):
        for i in range(m):
            x[t, i] = dot(R[i], V[t])
    _solve(H, R, N, x, residual)
    _solve(H, R, N, x, residual)
    for t in range(V.shape[0]):
        for q in range(p):
            V[t, q] = 0.0
        for i in range(m):
            add(x[t, i], R[i], V[t])
    return 0


@helper
def _solve_voxels(H, R, V):
    """V -> H^-1 V in place, H a factor of R'R, corrected once by v - R'R v."""
    m, p = R.shape
    residual, along = np.empty(V.shape), np.empty(m)
    for t in range(V.shape[0]):
        for q in range(p):
            residual[t, q] = V[t, q]
    cholesky_solve(H, p, V, V.shape[0])
    for t in range(V.shape[0]):
        for i in range(m):
            along[i] = dot(R[i], V[t])
        for i in range(m):
            add(-along[i], R[i], residual[t])
    cholesky_solve(H, p, residual, V.shape[0])
    for t in range(V.shape[0]):
        add(1.0, residual[t], V[t])


@helper
def _solve_by_svd(R, tol, V):
    """Replace the rows of V by P v; R is overwritten. Returns 1 where no sigma is above tol."""
    m, p = R.shape
    sigma, right, left = np.empty(min(m, p)), np.empty((min(m, p), p)), np.empty((m, min(m, p)))
    if singular_vectors(R, sigma, left, right) != 0 or not sigma[0] > tol:
        return 1
    for t in range(V.shape[0]):
        v = V[t].copy()
        for q in range(p):
            V[t, q] = 0.0
        for r in range(sigma.shape[0]):
            if sigma[r] > tol:
                part = dot(right[r], v) / sigma[r] ** 2
                for q in range(p):
                    V[t, q] += part * right[r, q]
    return 0


@helper
def _on_differences(weights, away, prior, tol):
    """Weights of means that are projected on the directions in which they differ.

    With B_jk = (m_j - c)' A (m_k - c) and w = sqrt(pi), the eigenvectors U of w_j B_jk w_k whose singular value is over
    ``tol`` of the largest give    A (m_k - c) -> sum_j (U U')_kj w_j / w_k A (m_j - c).
    """
    k, p = weights.shape
    B, U, right, squares = np.empty((k, k)), np.empty((k, k)), np.empty((k, k)), np.empty(k)
    for i in range(k):
        for j in range(k):
            B[i, j] = np.sqrt(prior[i] * prior[j]) * dot(away[i], weights[j])
    for i in range(k):
        for j in range(i):
            B[i, j] = B[j, i]
    if singular_vectors(B, squares, U, right) != 0:
        return 1
    old = weights.copy()
    for i in range(k):
        for q in range(p):
            weights[i, q] = 0.0
        for j in range(k):
            part = 0.0
            for r in range(k):
                if np.sqrt(squares[r]) > tol * np.sqrt(squares[0]):
                    part += U[i, r] * U[j, r]
            part *= np.sqrt(prior[j] / prior[i])
            for q in range(p):
                weights[i, q] += part * old[j, q]
    return 0


@helper
def _fold(Z, folds, fold, tol, lost, space, out):
    first, last = folds.of_fold[fold], folds.of_fold[fold + 1]
    k, m, p = last - first, folds.class_ptr[last] - folds.class_ptr[first], Z.shape[1]
    nv = 1 if k == 2 else k
    R, mean, s, centre = cut(space.R, m, p), np.empty((k, p)), np.empty(p), np.zeros(p)
    _scaled_rows(Z, folds, fold, lost, mean, s, R)
    for c in range(k):
        for q in range(p):
            centre[q] += folds.prior[first + c] * mean[c, q]
    weights, F, at_mean = np.empty((nv, p)), np.empty((nv, Z.shape[0])), np.empty((nv, k))
    for c in range(k):
        for q in range(p):
            mean[c, q] -= centre[q]
    for t in range(nv):
        for q in range(p):
            weights[t, q] = (mean[1, q] - mean[0, q] if k == 2 else mean[t, q]) / s[q]
    if _solve_by_square(R, folds, fold, tol, space, weights) != 0 and _solve_by_svd(R, tol, weights) != 0:
        return 1
    for t in range(nv):
        for q in range(p):
            weights[t, q] /= s[q]
    if k > 2 and _on_differences(weights, mean, folds.prior[first:last], tol) != 0:
        return 1
    for t in range(nv):
        for i in folds.test[folds.test_ptr[fold] : folds.test_ptr[fold + 1]]:
            F[t, i] = dot(Z[i], weights[t]) - dot(centre, weights[t])
        for c in range(k):
            at_mean[t, c] = dot(mean[c], weights[t])
    write_scores(folds, fold, F, at_mean, 0.0, out)
    return 0


@over_spheres
def lda_svd(block, folds, tol, lost, out, status):
    """Held-out scores ``out`` (n_centres, n_out), NaN where ``status`` (n_centres,) is not 0.

    Status 1: the samples do not vary within classes, or the decomposition failed; -1: fewer than ``min_voxels``.
    """
    space = allocate_space(block, folds, 0)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            Z = read_samples(block, b, space)
            status[b] = 0
            for fold in range(folds.of_fold.shape[0] - 1):
                if status[b] == 0 and folds.of_fold[fold] < folds.of_fold[fold + 1]:
                    status[b] = _fold(Z, folds, fold, tol, lost, space, out[b])
            if status[b] != 0:
                out[b] = np.nan
