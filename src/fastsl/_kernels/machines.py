"""Support vector machines with bounded coefficients: SVC, SVR, LinearSVR, and LinearSVC with the hinge loss."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels.block import allocate, read_sphere, write_problem
from fastsl._kernels.box_chain import box_in_chain, new_chain
from fastsl._kernels.over_spheres import over_spheres
from fastsl._kernels.waist import Sphere
from fastsl._runtime.jit import helper, inlined


class Machine(NamedTuple):
    """Losses and kernel of a support vector machine; arrays are (n_problems, n_samples)."""

    eps: float
    D: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    kernel: int  # 0 linear, 1 rbf, 2 polynomial, 3 sigmoid
    gamma: float  # 0: "scale", 1 / (n_voxels variance) by the training samples of each fold; -1: "auto", 1 / n_voxels
    degree: int
    coef0: float
    gamma_train: NDArray[np.bool_]  # (n_problems, n_samples) samples that "scale" is measured on


@helper
def _scale(block, b, train, p):
    """1 / (n_voxels variance of all raw values of the training samples): gamma="scale"."""
    total, squares, n = 0.0, 0.0, 0
    for i in range(train.shape[0]):
        if train[i]:
            n += 1
    for v in block.indices[block.indptr[b] : block.indptr[b + 1]]:
        for i in range(train.shape[0]):
            if train[i]:
                total += block.X[v, i] + block.means[v]
    mean = total / (n * p)
    for v in block.indices[block.indptr[b] : block.indptr[b + 1]]:
        for i in range(train.shape[0]):
            if train[i]:
                squares += (block.X[v, i] + block.means[v] - mean) ** 2
    return 1.0 / (p * squares / (n * p)) if squares > 0.0 else 1.0


@helper
def _kernel_matrix(sphere, machine, gamma, K):
    """K from the inner products <x, x'> = G + u u' / inv_c of raw data."""
    G, u, inv_c = sphere.Z, sphere.u, sphere.inv_c
    n = G.shape[0]
    for i in range(n):
        for j in range(i, n):
            if machine.kernel == 1:
                distance = _distance(G, u, inv_c, i, j)
                K[i, j] = 1.0 if distance < 0.0 else np.exp(-gamma * distance)  # NaN stays NaN
            else:
                inner = gamma * (G[i, j] + (u[i] * u[j] / inv_c if inv_c < np.inf else 0.0)) + machine.coef0
                K[i, j] = inner**machine.degree if machine.kernel == 2 else np.tanh(inner)
            K[j, i] = K[i, j]


@helper
def _distance(G, u, inv_c, i, j):
    """Squared distance of two samples."""
    d = u[i] - u[j]
    return G[i, i] + G[j, j] - 2.0 * G[i, j] + (d * d / inv_c if inv_c < np.inf else 0.0)


@inlined
def _box_sphere(block, b, sphere, problems, machine, chain, work, out):
    """Every problem of one sphere; returns the first status that is not 0."""
    n, p = problems.train.shape[1], block.indptr[b + 1] - block.indptr[b]
    f, beta, gamma = np.empty(n), np.empty(n), 0.0
    solved = sphere if machine.kernel == 0 else Sphere(False, work.M, np.ones(n), 0.0)
    if machine.kernel > 0:  # rbf on smooth data: 0.78 ms from a start of its own, 0.86 from the sphere before
        chain.known[:] = False
    for q in range(problems.target.shape[0]):
        t = problems.targets[problems.target[q]]
        S = np.flatnonzero(problems.train[problems.fold[q]])
        if machine.kernel > 0:
            wanted = machine.gamma if machine.gamma > 0.0 else 1.0 / p
            if machine.gamma == 0.0:
                wanted = _scale(block, b, machine.gamma_train[q], p)
            if wanted != gamma:
                gamma = wanted
                _kernel_matrix(sphere, machine, gamma, work.M)
        D, low, high = machine.D[q], machine.low[q], machine.high[q]
        target = problems.target[q]
        code = box_in_chain(solved, q, target, S, D, t, machine.eps, low, high, chain, work.A, work.rows, f, beta)
        if code != 0:
            return code
        write_problem(problems, q, f, out)
    return 0


@over_spheres
def support_vectors(block, problems, machine, out, status):
    """Held-out decision values or predictions ``out`` (n_centres, n_out). Gram form only.

    Status 1: not positive definite; 2: no convergence; -1: fewer than ``min_voxels``.
    """
    work, chain = allocate(block, 2), new_chain(problems)
    for b in block.order:
        out[b] = np.nan
        status[b] = -1
        if block.indptr[b + 1] - block.indptr[b] >= block.min_voxels:
            status[b] = _box_sphere(block, b, read_sphere(block, b, work), problems, machine, chain, work, out[b])
            if status[b] != 0:
                out[b] = np.nan
