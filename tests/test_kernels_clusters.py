"""Cluster kernels against labelling by scipy. Also run as plain Python (NUMBA_DISABLE_JIT=1), hence the small sizes."""

import numpy as np
import pytest

import naive
from fastsl._kernels import clusters as kernels
from fastsl._runtime.launch import kernel_threads
from fastsl.permutation.clusters import voxel_adjacency

SHAPE = (5, 4, 6)
rng = np.random.default_rng(0)
MASK = rng.random(SHAPE) < 0.8
N = int(MASK.sum())
HOW = kernels.Enhancement(0.1, 0.5, 2.0, 0.1)


def make_maps(n_maps=1):
    """Values with ties, on multiples of dh and beside them, some negative, some missing."""
    maps = rng.normal(0.5, 1.0, (n_maps, N))
    maps[:, ::3] = np.round(maps[:, ::3], 1)
    maps[:, 5] = np.nan
    return maps


def on_grid(values):
    volume = np.full(SHAPE, np.nan)
    volume[MASK] = values
    return volume


def enhance(maps, connectivity=26, how=HOW):
    adjacency = voxel_adjacency(MASK, connectivity)
    out, largest = np.full(maps.shape, 99.0), np.full(len(maps), 99.0)
    with kernel_threads(1):
        kernels.enhance(maps, adjacency.indptr, adjacency.indices, how, out, largest)
    return out, largest


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(
    ("dh", "E", "H", "factor"), [(0.1, 0.5, 2.0, 0.1), (0.07, 1.0, 1.0, 1.0), (5.0, 0.5, 2.0, 5.0)]
)
def test_tfce_equals_labelling_at_every_height(connectivity, dh, E, H, factor):
    maps = make_maps(2)
    found, largest = enhance(maps, connectivity, kernels.Enhancement(dh, E, H, factor))
    for values, out, most in zip(maps, found, largest, strict=True):
        volume = on_grid(values)
        expected = naive.tfce(volume, connectivity, naive.multiples(volume, dh), factor, E=E, H=H)[MASK]
        np.testing.assert_allclose(out, expected, rtol=1e-13)
        assert most == np.nanmax(out)


@pytest.mark.parametrize(
    ("value", "n_heights"),
    [(0.3, 2), (np.nextafter(0.3, 1), 3), (0.7, 6), (1.0, 10), (0.1, 1), (1.7, 16), (43 * 0.1, 43)],
)
def test_heights_are_multiples_computed_by_one_product(value, n_heights):
    # In float64 17 * 0.1 > 1.7 although 1.7 / 0.1 is 17, and (43 * 0.1) / 0.1 < 43: products decide.
    maps = np.zeros((1, N))
    maps[0, 7] = value
    found, _ = enhance(maps)
    heights = np.arange(1, n_heights + 1) * 0.1
    np.testing.assert_allclose(found[0, 7], (heights**2 * 0.1).sum(), rtol=1e-13)
    assert np.count_nonzero(found) == 1


def test_maps_without_heights():
    maps = np.array([np.full(N, value) for value in (np.nan, -1.0, 0.0, 0.09)])
    found, largest = enhance(maps)
    np.testing.assert_array_equal(found, np.where(np.isnan(maps), np.nan, 0.0))
    np.testing.assert_array_equal(largest, 0.0)


def test_too_many_heights_are_a_failure():
    maps = np.zeros((2, N))
    maps[0, 3] = 0.11 * kernels.MOST_LEVELS
    maps[1, 3] = 1.0
    found, largest = enhance(maps)
    assert np.isnan(found[0]).all()
    assert np.isnan(largest[0])
    assert largest[1] == found[1, 3] > 0


def unite(maps, threshold, connectivity=26):
    adjacency = voxel_adjacency(MASK, connectivity)
    first, extent, mass = (np.full(maps.shape, 99, dtype) for dtype in (np.int32, np.int32, np.float64))
    with kernel_threads(1):
        kernels.unite(maps, adjacency.indptr, adjacency.indices, threshold, first, extent, mass)
    return first, extent, mass


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.2, 9.0])
def test_clusters_equal_scipys(connectivity, threshold):
    maps = make_maps(2)
    for values, first, extent, mass in zip(maps, *unite(maps, threshold, connectivity), strict=True):
        labels, extents, masses = naive.clusters(on_grid(values), connectivity, threshold)
        flat = labels[MASK]
        np.testing.assert_array_equal(first >= 0, flat > 0)
        assert np.count_nonzero(extent) == len(extents)
        for number, (size, weight) in enumerate(zip(extents, masses, strict=True), start=1):
            members = np.flatnonzero(flat == number)
            assert set(first[members]) == {members[0]}
            assert extent[members[0]] == size
            np.testing.assert_allclose(mass[members[0]], weight, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_maxima_are_those_of_the_maps(dtype):
    n_maps, threshold = 2 * kernels.PER_TASK + 1, 1.0
    scores = (0.5 + 0.1 * make_maps(n_maps)).astype(dtype)
    mean, sd = np.full(N, 0.55), rng.uniform(0.05, 0.1, N)
    mean[2], sd[2] = 0.0, np.inf
    adjacency = voxel_adjacency(MASK)
    z = (scores.astype(np.float64) - mean) / sd
    assert (z[:, 2] == 0).all()
    for dh, limit in [(0.1, threshold), (0.0, threshold), (0.1, np.nan)]:
        out = np.zeros((n_maps, 3))
        with kernel_threads(1):
            kernels.null_maxima(scores, mean, sd, adjacency.indptr, adjacency.indices, HOW._replace(dh=dh), limit, out)
        _, largest = enhance(z)
        _, extent, mass = unite(z, threshold)
        # Bit by bit: a permuted map that equals the observed one must tie with it.
        np.testing.assert_array_equal(out[:, 0], largest if dh else 0.0)
        np.testing.assert_array_equal(out[:, 1], 0.0 if np.isnan(limit) else extent.max(axis=1))
        np.testing.assert_array_equal(out[:, 2], 0.0 if np.isnan(limit) else mass.max(axis=1))
