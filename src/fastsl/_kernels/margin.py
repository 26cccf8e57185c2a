"""LinearSVC with the squared hinge loss by the samples beyond the margin, once the kernel matrix is inverted.

With d = 1 / (2 C), M = (K + d I)^-1 over all samples and, for each fold, S the samples that it trains on and R the
others, the fold's own inverse and what it says of the held-out samples are

    N = (K_SS + d I)^-1 = M_SS - W M_RS,    W = M_SR (M_RR)^-1,    f_R = -W' t for targets t = (K_SS + d I) beta

In a solution the samples J beyond the margin have beta_J = 0, and t is y but on J, where it is f: t = y + delta,

    N_JJ delta_J = -(N y)_J,    beta = N (y + delta),    f = y - d beta within the margin, y + delta beyond

so that a Newton step factors a matrix of the order of J where :func:`fastsl._kernels.svm.squared_hinge` factors one of
the order of S less J. For permuted labels of smooth data J is a fifth of S (100 samples of 120, 257 voxels): six folds
take 100 us a labelling instead of 620. A single labelling, which would pay for M and N alone, gains a tenth at best.

Rounding in N grows by the condition of N_JJ. Solutions are therefore put to the test, in a tenth of the time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.lapack import cholesky, cholesky_solve, multiply
from fastsl._kernels.svm import PLAIN_STEPS, TIE
from fastsl._runtime.jit import helper

#: Largest difference between f and K beta, in margins. Measured: standardised data 1e-13; raw ones of mean 1e4 and
#: standard deviation 1e2, smooth, 1e-9 (120 samples) and 2e-9 of the largest f (400 samples).
_EXACT = 1e-8
#: Held-out values below this are left with too few digits: they are sums of labels, which round to 1e-16.
_FAINT = 1e-8


class Fold(NamedTuple):
    """What a fold and its samples have in common for all labels, with work space."""

    S: NDArray[np.int64]  # (m,) samples that it trains on
    R: NDArray[np.int64]  # (r,) the others
    N: NDArray[np.float64]  # (m, m)
    W: NDArray[np.float64]  # (m, r)
    A: NDArray[np.float64]  # (n, n) work space for N_JJ
    delta: NDArray[np.float64]  # (1, m)
    beta: NDArray[np.float64]  # (m,)
    f: NDArray[np.float64]  # (m,)
    J: NDArray[np.int64]  # (m,)
    product: NDArray[np.float64]  # (n,)


class Space(NamedTuple):
    """Work space for any fold of n samples. Flat arrays are cut to matrices without gaps."""

    numbers: NDArray[np.int64]  # (3, n)
    vectors: NDArray[np.float64]  # (4, n)
    N: NDArray[np.float64]  # (n * n,)
    W: NDArray[np.float64]  # (n * n,)
    M_RS: NDArray[np.float64]  # (n * n,)
    A: NDArray[np.float64]  # (n, n)


@helper
def fold_space(n):
    """Work space for the folds of one sphere after the other."""
    return Space(
        np.empty((3, n), np.int64),
        np.empty((4, n)),
        np.empty(n * n),
        np.empty(n * n),
        np.empty(n * n),
        np.empty((n, n)),
    )


@helper
def ready_fold(M, train, space):
    """Fill in what a fold has for all labels. Returns it, and a status that is not 0 where M_RR is not definite."""
    S, R, m, r = space.numbers[0], space.numbers[1], 0, 0
    for i in range(train.shape[0]):
        if train[i]:
            S[m] = i
            m += 1
        else:
            R[r] = i
            r += 1
    v, N, W = space.vectors, space.N[: m * m].reshape(m, m), space.W[: m * r].reshape(m, r)
    fold = Fold(S[:m], R[:r], N, W, space.A, v[:1, :m], v[1, :m], v[2, :m], space.numbers[2, :m], v[3])
    return fold, _own_inverse(M, fold, space.M_RS[: r * m].reshape(r, m))


@helper
def _own_inverse(M, fold, M_RS):
    S, R, N, W, A = fold.S, fold.R, fold.N, fold.W, fold.A
    for a in range(R.shape[0]):
        for b in range(a, R.shape[0]):
            A[a, b] = M[R[a], R[b]]
        for j in range(S.shape[0]):
            M_RS[a, j] = W[j, a] = M[R[a], S[j]]
    N[:] = 0.0
    if R.shape[0] > 0:
        if cholesky(A, R.shape[0]) != 0:
            return 1
        cholesky_solve(A, R.shape[0], W, S.shape[0])
        multiply(W, M_RS, N)
    for i in range(S.shape[0]):
        for j in range(S.shape[0]):
            N[i, j] = M[S[i], S[j]] - N[i, j]
    return 0


@helper
def solve_beyond(sphere, fold, d, y, c, q, F):
    """Fit one target: ``y`` (m,) of +-1, ``c`` = N y, ``q`` = W' y.

    The row ``F`` (n,) enters as a guess of the decision values (zeros: start from all samples) and leaves as the
    solution, which but for rounding depends on the last J alone. Returns False where J does not stand still, or
    rounding shows.
    """
    f, J = fold.f, fold.J
    for j in range(y.shape[0]):
        f[j] = F[fold.S[j]]
    for _ in range(PLAIN_STEPS):
        a = 0
        for j in range(y.shape[0]):
            if y[j] * f[j] >= 1.0:
                J[a] = j
                a += 1
        if _step(fold, J[:a], c) != 0:
            return False
        if not _read_off(fold, d, J[:a], y):
            _write(fold, J[:a], q, F)
            return _is_exact(sphere, fold, F)
    return False


@helper
def _step(fold, J, c):
    """delta_J and beta; returns 1 where N_JJ is not positive definite."""
    N, A, delta, beta = fold.N, fold.A, fold.delta, fold.beta
    for a in range(J.shape[0]):
        row = N[J[a]]
        for b in range(a, J.shape[0]):
            A[a, b] = row[J[b]]
        delta[0, a] = -c[J[a]]
    if J.shape[0] > 0:
        if cholesky(A, J.shape[0]) != 0:
            return 1
        cholesky_solve(A, J.shape[0], delta, 1)
    for j in range(c.shape[0]):
        beta[j] = c[j]
    for a in range(J.shape[0]):
        row, d = N[J[a]], delta[0, a]
        for j in range(c.shape[0]):
            beta[j] += d * row[j]
    for j in J:
        beta[j] = 0.0
    return 0


@helper
def _read_off(fold, d, J, y):
    """Fill f; whether J is not what is beyond the margin: y delta >= 0 there, y beta >= 0 elsewhere."""
    f, beta, largest, moved = fold.f, fold.beta, 0.0, False
    for j in range(y.shape[0]):
        largest = max(largest, abs(beta[j]))
    for j in range(y.shape[0]):
        f[j] = y[j] - d * beta[j]
        moved |= y[j] * beta[j] < -TIE * largest
    for a in range(J.shape[0]):
        f[J[a]] += fold.delta[0, a]
        moved |= y[J[a]] * fold.delta[0, a] < -TIE
    return moved


@helper
def _write(fold, J, q, F):
    S, R, W = fold.S, fold.R, fold.W
    for j in range(S.shape[0]):
        F[S[j]] = fold.f[j]
    for b in range(R.shape[0]):
        F[R[b]] = -q[b]
    for a in range(J.shape[0]):
        for b in range(R.shape[0]):
            F[R[b]] -= fold.delta[0, a] * W[J[a], b]


@helper
def _is_exact(sphere, fold, F):
    """Whether f = G beta + g u at every sample, to ``_EXACT`` of a margin or of the largest f, and is not ``_FAINT``.

    g is fitted, not c u.beta: where c is huge, the rounding of beta would be all there is to see.
    """
    Z, u, S, beta, product = sphere.Z, sphere.u, fold.S, fold.beta, fold.product
    product[:] = 0.0
    if sphere.primal:
        w = np.zeros(Z.shape[1])
        for j in range(S.shape[0]):
            for p in range(w.shape[0]):
                w[p] += beta[j] * Z[S[j], p]
        for i in range(F.shape[0]):
            for p in range(w.shape[0]):
                product[i] += Z[i, p] * w[p]
    else:
        for j in range(S.shape[0]):
            if beta[j] != 0.0:
                row, b = Z[S[j]], beta[j]
                for i in range(F.shape[0]):
                    product[i] += b * row[i]
    along_u, length, largest, off = 0.0, 0.0, 1.0, 0.0
    for i in range(F.shape[0]):
        along_u += u[i] * (F[i] - product[i])
        length += u[i] * u[i]
    for i in range(F.shape[0]):
        off = max(off, abs(product[i] + u[i] * along_u / length - F[i]))
        largest = max(largest, abs(F[i]))
    held_out = 0.0 if fold.R.shape[0] > 0 else np.inf
    for i in fold.R:
        held_out = max(held_out, abs(F[i]))
    return off <= _EXACT * largest and held_out >= _FAINT
