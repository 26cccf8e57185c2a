"""From the voxels of one sphere to the small matrices that every linear decoder works on.

All decoders here see a sphere through its kernel matrix, intercept included,

    K = x_i . x_j + s2                s2: 1 for a penalised intercept, 0 for none, infinite for a free one.

Voxels arrive as ``z = x - m`` with ``m`` their means (or zero), since products of raw fMRI intensities lose the signal.
Adding the means back would make K nearly constant, and solving with it loses up to seven digits (measured on
smooth data of mean 1e4, sd 1e2: held-out values wrong by 3e-5). So K is kept as two terms,

    K = G + c u u',    c = m . m + s2,    u_i = 1 + (z_i . m) / c,    G = Z (I - m m' / c) Z'

which is the same matrix, and solved by bordering (same data: wrong by 3e-9). A free intercept is c infinite.

Two forms of G:

    gram       G itself, (n_samples, n_samples)
    features   Phi with G = Phi Phi', (n_samples, n_voxels): cheaper where a sphere has few voxels

and ``1 / c`` travels as ``inv_c``, infinite where there is no second term.

Products are float64. A float32 Gram matrix saves an eighth of the time of ridge, and is not exact enough:
on standardised data smoothed with a sigma of 1 and 2 voxels (257 voxels, 120 samples) it moved decision values of
LinearSVC by 1.6e-4 and 3.6e-3, of RidgeClassifier by 2.2e-4 and 2.3e-3, and flipped labels; smooth data have a small
spectral tail, and the rounding of the largest eigenvalue lands on it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.matrices import cholesky, cholesky_inverse, cholesky_solve, syrk
from fastsl._kernels.rows import dot
from fastsl._runtime.jit import helper, inlined


class Sphere(NamedTuple):
    """One sphere, ready to decode."""

    primal: bool  # whether Z is Phi or G
    Z: NDArray[np.float64]  # G (n, n) or Phi (n, n_voxels)
    u: NDArray[np.float64]  # (n,)
    inv_c: float


@helper
def complete_gram(X, members, m, s2, G, u):
    """Make G (n, n) of Z Z', of which it has the upper triangle, and u (n,); return inv_c."""
    n = X.shape[1]
    c = _second_term(X, members, m, s2, u)
    for i in range(n):
        for j in range(i, n):
            # c (u_i - 1)(u_j - 1) = a_i a_j / c with a_i = z_i . m
            if c < np.inf:
                G[i, j] -= c * (u[i] - 1.0) * (u[j] - 1.0)
    mirror(G)
    return 1.0 / c if c > 0.0 else np.inf


@helper
def mirror(G):
    """Copy the upper triangle of G to its lower one."""
    for i in range(G.shape[0]):
        for j in range(i):
            G[i, j] = G[j, i]


@helper
def sphere_features(X, members, m, s2, Phi, u):
    """Fill Phi (n, p) and u (n,) for the voxels ``members``; return inv_c.

    Phi = Z Q with Q = I - k m m' the square root of I - m m' / c, k = (1 - sqrt(1 - m.m / c)) / m.m
    """
    n, p = Phi.shape
    for q in range(p):
        for i in range(n):
            Phi[i, q] = X[members[q], i]
    c = _second_term(X, members, m, s2, u)
    mm = 0.0
    for q in range(p):
        mm += m[members[q]] ** 2
    if mm > 0.0 and c < np.inf:
        k = (1.0 - np.sqrt(max(0.0, 1.0 - mm / c))) / mm
        for i in range(n):
            a = c * (u[i] - 1.0)
            for q in range(p):
                Phi[i, q] -= k * a * m[members[q]]
    return 1.0 / c if c > 0.0 else np.inf


@helper
def _second_term(X, members, m, s2, u):
    """u_i = 1 + z_i . m / c; returns c."""
    n = u.shape[0]
    c = s2
    for q in range(members.shape[0]):
        c += m[members[q]] ** 2
    for i in range(n):
        u[i] = 0.0
    if c < np.inf:
        for q in range(members.shape[0]):
            mean = m[members[q]]
            if mean != 0.0:
                for i in range(n):
                    u[i] += X[members[q], i] * (mean / c)
    for i in range(n):
        u[i] += 1.0
    return c


@helper
def absorb_border(sphere):
    """Put c u u' into G where it is no larger than that, and costs no digits: one system to solve instead of two."""
    G, u = sphere.Z, sphere.u
    if sphere.primal or not 0.0 < sphere.inv_c < np.inf:
        return sphere
    trace, length = 0.0, 0.0
    for i in range(len(u)):
        trace += G[i, i]
        length += u[i] * u[i]
    if length > trace * sphere.inv_c:
        return sphere
    for i in range(len(u)):
        for j in range(len(u)):
            G[i, j] += u[i] * u[j] / sphere.inv_c
    return Sphere(False, G, u, np.inf)


@inlined
def weighted_ridge(sphere, S, D, T, A, rows, F, beta):
    """Ridge regression of targets on the samples S, evaluated at all samples.

        beta_S = (K_SS + diag(D_S))^-1 t_S,   f = K[:, S] beta_S,   so that t_S - f_S = D_S beta_S

    Parameters
    ----------
    sphere : Sphere
    S : (m,) samples fitted.   D : (n,) ridge of each sample, > 0.   T : (k, n) targets.
    A, rows : work space, square of order at least max(m, n_features) and (>= max(m, k + 1), same).
    F, beta : (k, n) results; beta is zero outside S.

    Returns
    -------
    0, or a positive status when the system is not positive definite.
    """
    if sphere.primal:
        return features_ridge(sphere, S, D, T, A, rows, F, beta)
    return gram_ridge(sphere, S, D, T, A, rows, F, beta)


@helper
def gram_ridge(sphere, S, D, T, A, rhs, F, beta):
    G, u = sphere.Z, sphere.u
    n, m, k = G.shape[0], S.shape[0], T.shape[0]
    beta[:] = 0.0
    for a in range(m):
        row = G[S[a]]
        for b in range(a, m):
            A[a, b] = row[S[b]]
        A[a, a] += D[S[a]]
        for t in range(k):
            rhs[t, a] = T[t, S[a]]
        rhs[k, a] = u[S[a]]
    if cholesky(A, m) != 0:
        return 1
    cholesky_solve(A, m, rhs, k + 1)
    border = sphere.inv_c
    for a in range(m):
        border += u[S[a]] * rhs[k, a]
    for t in range(k):
        g = 0.0
        for a in range(m):
            g += u[S[a]] * rhs[t, a]
        g /= border
        for i in range(n):
            F[t, i] = g * u[i]
        for a in range(m):
            b = rhs[t, a] - g * rhs[k, a]
            beta[t, S[a]] = b
            row = G[S[a]]
            for i in range(n):
                F[t, i] += b * row[i]
        for a in range(m):
            # The same number without the cancellation of large K against small beta.
            F[t, S[a]] = T[t, S[a]] - D[S[a]] * beta[t, S[a]]
    return 0


@helper
def inverse(sphere, alpha, D, M, rows):
    """M = (K + alpha D)^-1 of all samples: both triangles."""
    G, u = sphere.Z, sphere.u
    n = G.shape[0]
    for i in range(n):
        for j in range(i, n):
            M[i, j] = G[i, j]
        M[i, i] += alpha * D[i]
        rows[0, i] = u[i]
    if cholesky(M, n) != 0:
        return 1
    if sphere.inv_c < np.inf:
        cholesky_solve(M, n, rows, 1)
    cholesky_inverse(M, n)
    if sphere.inv_c < np.inf:
        border = sphere.inv_c
        for i in range(n):
            border += u[i] * rows[0, i]
        for i in range(n):
            scale = rows[0, i] / border
            for j in range(i, n):
                M[i, j] -= scale * rows[0, j]
    mirror(M)
    return 0


@helper
def set_inverse(sphere, S, D, E, h):
    """E = (K_SS + diag(D))^-1 with K = G + u u' / inv_c: both triangles of the leading block. ``h``: row of work."""
    G, u, m = sphere.Z, sphere.u, S.shape[0]
    for a in range(m):
        for b in range(a, m):
            E[a, b] = G[S[a], S[b]]
        E[a, a] += D[a]
        h[0, a] = u[S[a]]
    if cholesky(E, m) != 0:
        return 1
    cholesky_solve(E, m, h, 1)
    cholesky_inverse(E, m)
    border = sphere.inv_c
    for a in range(m):
        border += u[S[a]] * h[0, a]
    for a in range(m):
        for b in range(a, m):
            E[a, b] -= h[0, a] * h[0, b] / border
            E[b, a] = E[a, b]
    return 0


@helper
def features_ridge(sphere, S, D, T, A, rows, F, beta):
    """As :func:`weighted_ridge`, for a sphere in the form of features.

    H w = sum_S phi t / D with H = sum_S phi phi' / D + diag(1, ..., 1, inv_c); f = phi . w
    """
    Phi, u, inv_c = sphere.Z, sphere.u, sphere.inv_c
    n, p = Phi.shape
    m, k = S.shape[0], T.shape[0]
    beta[:] = 0.0
    order = p + 1 if inv_c < np.inf else p
    # BLAS wants rows without gaps: both work spaces are cut to the order of this sphere.
    H = A.reshape(-1)[: order * order].reshape(order, order)
    W = rows.reshape(-1)[: max(m, k) * order].reshape(max(m, k), order)
    for a in range(m):
        scale = 1.0 / np.sqrt(D[S[a]])
        for q in range(p):
            W[a, q] = scale * Phi[S[a], q]
        if order > p:
            W[a, p] = scale * u[S[a]]
    syrk(W[:m], H)
    for q in range(p):
        H[q, q] += 1.0
    if order > p:
        H[p, p] += inv_c
    if cholesky(H, order) != 0:
        return 1
    for t in range(k):
        for q in range(order):
            W[t, q] = 0.0
        for a in range(m):
            pull = T[t, S[a]] / D[S[a]]
            for q in range(p):
                W[t, q] += pull * Phi[S[a], q]
            if order > p:
                W[t, p] += pull * u[S[a]]
    cholesky_solve(H, order, W, k)
    for t in range(k):
        for i in range(n):
            F[t, i] = dot(Phi[i], W[t, :p])
            if order > p:
                F[t, i] += W[t, p] * u[i]
        for a in range(m):
            beta[t, S[a]] = (T[t, S[a]] - F[t, S[a]]) / D[S[a]]
    return 0
