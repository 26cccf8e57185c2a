"""What is done to the data matrix: the same for a voxel, whichever other voxels are in the matrix."""

import numpy as np
import pytest

from fastsl import matrix
from fastsl._runtime.launch import kernel_threads
from fastsl.matrix import means_subtracted, standardize_groups, subtract_means


def _matrix(n_samples):
    rng = np.random.default_rng(0)
    return (rng.normal(1000, 20, (700, n_samples)) * rng.uniform(0.1, 3, (700, 1))).astype(np.float32)


@pytest.mark.parametrize("n_samples", [7, 120, 1452])
@pytest.mark.parametrize("part", [slice(0, 1), slice(699, 700), slice(3, 5), slice(64, 400, 3)])
def test_a_voxel_is_shifted_and_scaled_alike_whatever_is_beside_it(n_samples, part):
    groups = np.arange(n_samples) * 3 // n_samples
    for change in (subtract_means, lambda X: standardize_groups(X, groups), lambda X: standardize_groups(X, None)):
        whole, alone = _matrix(n_samples), _matrix(n_samples)[part].copy()
        change(whole)
        change(alone)
        np.testing.assert_array_equal(alone, whole[part])


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_blocks_change_no_bit(threads, rows, monkeypatch):
    groups = np.arange(60) % 4

    def changed():
        X = _matrix(60)
        with means_subtracted(X) as means:
            shifted = X.copy()
        back = X.copy()
        standardize_groups(X, groups)
        return means, shifted, back, X

    with kernel_threads(1):
        expected = changed()
    assert expected[0].any()
    monkeypatch.setattr(matrix, "_VALUES", 60 * rows)
    with kernel_threads(threads):
        for found, wanted in zip(changed(), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_scores_within_groups_are_z_scores():
    X, groups = _matrix(60), np.arange(60) % 3
    wanted = X.astype(np.float64)
    standardize_groups(X, groups)
    for group in range(3):
        chosen = wanted[:, groups == group]
        z = (chosen - chosen.mean(axis=1, keepdims=True)) / chosen.std(axis=1, keepdims=True)
        np.testing.assert_allclose(X[:, groups == group], z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e-3, 12345.678, 1e30, -3e-38])
def test_constant_voxels_become_zero_and_the_smallest_variation_stays(value, dtype):
    X, groups = np.full((3, 60), value, dtype), np.arange(60) % 7
    X[1, ::2] = np.nextafter(dtype(value), dtype(np.inf)) if dtype == np.float32 else value * (1 + 1e-10) + 1e-30
    standardize_groups(X, groups)
    np.testing.assert_array_equal(X[::2], 0)
    for group in range(7):
        np.testing.assert_allclose(X[1, groups == group].std(), 1, rtol=1e-5)


@pytest.mark.parametrize("some", [True, False])
def test_means_come_back(some):
    X = _matrix(60)
    if some:
        X[::2] -= X[::2].mean(axis=1, keepdims=True)
    before = X.copy()
    with means_subtracted(X) as means:
        np.testing.assert_array_equal(means == 0, (np.arange(700) % 2 == 0) & some)
        np.testing.assert_allclose(X, before - means[:, None], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(X, before)
