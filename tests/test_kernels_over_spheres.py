"""The decorator that lets threads share the spheres of a block.

Also run as plain Python (NUMBA_DISABLE_JIT=1), hence the small sizes.
"""

import numba
import numpy as np
import pytest

from fastsl._kernels import over_spheres as module
from fastsl._kernels.block import Block
from fastsl._kernels.over_spheres import over_spheres
from fastsl._runtime.launch import kernel_threads

N_VOXELS, N_SAMPLES = 7, 3
X = np.arange(N_VOXELS * N_SAMPLES, dtype=np.float32).reshape(N_VOXELS, N_SAMPLES)
SIZES = [2, 0, 3, 1, 1, 2, 5, 0, 4, 1]
BLOCK = Block(
    X,
    np.zeros(N_VOXELS),
    np.cumsum([0, *SIZES]),
    np.random.default_rng(0).integers(0, N_VOXELS, sum(SIZES)).astype(np.int32),
    0.0,
    0,
    1,
)


@over_spheres
def weighted_sums(block, weights, out, status):
    """Sums over the voxels of each sphere; status: how many there are."""
    for b in block.order:
        out[b] = 0.0
        status[b] = block.indptr[b + 1] - block.indptr[b]
        for v in block.indices[block.indptr[b] : block.indptr[b + 1]]:
            for i in range(block.X.shape[1]):
                out[b, i] += weights[v] * block.X[v, i]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("fewest", [1, 3, 8, 100])
@pytest.mark.parametrize("order", [[], np.random.default_rng(1).permutation(len(SIZES))], ids=["as listed", "another"])
def test_every_sphere_gets_its_own_members_and_its_own_row(monkeypatch, fewest, n_threads, order):
    monkeypatch.setattr(module, "FEWEST", fewest)
    weights = np.arange(1.0, N_VOXELS + 1)
    out, status = np.full((len(SIZES), N_SAMPLES), np.nan), np.full(len(SIZES), -9, np.int8)
    with kernel_threads(n_threads):
        weighted_sums(BLOCK._replace(order=np.array(order, np.int64)), weights, out, status)
    members = np.split(BLOCK.indices, BLOCK.indptr[1:-1])
    np.testing.assert_array_equal(status, SIZES)
    np.testing.assert_array_equal(out, [weights[own] @ X[own] for own in members])


def test_an_order_of_other_spheres_is_refused():
    out, status = np.empty((len(SIZES), N_SAMPLES)), np.empty(len(SIZES), np.int8)
    with kernel_threads(1), pytest.raises(ValueError, match=f"has 3 spheres, the block {len(SIZES)}"):
        weighted_sums(BLOCK._replace(order=np.arange(3)), np.ones(N_VOXELS), out, status)


def test_a_block_without_spheres_is_no_error():
    empty = BLOCK._replace(indptr=np.zeros(1, np.int64))
    with kernel_threads(1):
        weighted_sums(empty, np.ones(N_VOXELS), np.empty((0, N_SAMPLES)), np.empty(0, np.int8))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_parts_need_one_specialisation(monkeypatch):
    monkeypatch.setattr(module, "FEWEST", 1)
    with kernel_threads(1):
        for n in (1, 2, len(SIZES)):
            some = BLOCK._replace(indptr=BLOCK.indptr[: n + 1])
            weighted_sums(some, np.ones(N_VOXELS), np.empty((n, N_SAMPLES)), np.empty(n, np.int8))
    assert len(weighted_sums.__wrapped__.signatures) == 1
