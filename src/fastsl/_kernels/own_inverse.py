"""The inverse of a fold's own kernel matrix, from that of all samples, for many labellings.

With M = (K + diag(d))^-1 over all samples and, for each fold, S the samples that it trains on and R the others, the
fold's own inverse and what it says of the held-out samples are

    N = (K_SS + d I)^-1 = M_SS - W M_RS,    W = M_SR (M_RR)^-1,    f_R = -W' t for targets t = (K_SS + d I) beta
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.lapack import multiply
from fastsl._kernels.matrices import cholesky, cholesky_solve
from fastsl._runtime.jit import helper


class Fold(NamedTuple):
    """What a fold has in common for all labels."""

    S: NDArray[np.int64]  # (m,) samples that it trains on
    R: NDArray[np.int64]  # (r,) the others
    N: NDArray[np.float64]  # (m, m)
    W: NDArray[np.float64]  # (m, r)


class FoldSpace(NamedTuple):
    """Work space for any fold of n samples. Flat arrays are cut to matrices without gaps."""

    numbers: NDArray[np.int64]  # (2, n)
    N: NDArray[np.float64]  # (n * n,)
    W: NDArray[np.float64]  # (n * n // 4,)
    M_RS: NDArray[np.float64]  # (n * n // 4,)
    A: NDArray[np.float64]  # (n, n)


@helper
def fold_space(n):
    """Work space for the folds of one sphere after the other."""
    quarter = n * n // 4 + 1  # the most that m r can be
    return FoldSpace(
        np.empty((2, n), np.int64), np.empty(n * n), np.empty(quarter), np.empty(quarter), np.empty((n, n))
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
    fold = Fold(S[:m], R[:r], space.N[: m * m].reshape(m, m), space.W[: m * r].reshape(m, r))
    return fold, _own_inverse(M, fold, space.A, space.M_RS[: r * m].reshape(r, m))


@helper
def _own_inverse(M, fold, A, M_RS):
    S, R, N, W = fold.S, fold.R, fold.N, fold.W
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
