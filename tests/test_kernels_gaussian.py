"""Sums over voxels against their definitions. Also run as plain Python (NUMBA_DISABLE_JIT=1), hence the small sizes."""

import numpy as np
import pytest

from fastsl._kernels import gaussian
from fastsl._kernels.block import Block
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders.gaussian import class_folds, tables_of
from fastsl.folds import Folds

N, P = 15, 9
rng = np.random.default_rng(0)
Y = np.arange(N) % 3
FOLDS = Folds(
    N,
    (np.arange(4, 15), np.array([0, 1, 3, 4, 6, 7]), np.array([2, 5, 8]), np.arange(N)),
    (np.arange(4), np.array([2, 14, 2]), np.arange(3), np.array([5])),
)
#: The second fold knows two classes, the third one.
SPHERES = [np.arange(P), np.array([7, 2]), np.array([], int), np.array([4, 5, 6, 8])]


MEANS = np.where(np.arange(P) % 2, 0.0, 100.0)


def block_of(shifted, min_voxels=1):
    """Data (n_samples, n_voxels) of which MEANS were subtracted, as kernels get them."""
    return Block(
        np.ascontiguousarray(shifted.T),
        MEANS,
        np.concatenate([[0], np.cumsum([len(members) for members in SPHERES])]),
        np.concatenate(SPHERES).astype(np.int32),
        np.inf,
        0,
        min_voxels,
    )


def make_data(scale=1.0):
    return (scale * (rng.standard_normal((N, P)) + rng.standard_normal((3, P))[Y])).astype(np.float32)


def raw(shifted):
    return shifted.astype(float) + MEANS


def zeros(entries):
    return np.zeros(len(entries.size))


def launch(kernel, X, fewest, n_columns, *arguments, **options):
    entries, outputs = class_folds(Y, FOLDS, fewest, None, n_columns)
    n_out = max(output.start + output.n_columns * len(FOLDS.test[f]) for f, output in enumerate(outputs) if output)
    out, status = np.full((len(SPHERES), n_out), 99.0), np.full(len(SPHERES), 99, np.int8)
    with kernel_threads(1):
        local, tables = tables_of(block_of(X, **options), entries)
        kernel(local, tables, entries, *[make(entries) for make in arguments], out, status)
    return out, status, outputs


def naive_bayes(X, fold, smoothing):
    """Joint log-likelihoods (n_classes, n_test), equal priors."""
    train, test = FOLDS.train[fold], FOLDS.test[fold]
    added = smoothing * X[train].var(axis=0).max()
    rows = []
    for label in np.unique(Y[train]):
        part = X[train][Y[train] == label]
        var = part.var(axis=0) + added
        rows.append(-0.5 * (np.log(2 * np.pi * var) + (X[test] - part.mean(axis=0)) ** 2 / var).sum(axis=1))
    return np.array(rows)


@pytest.mark.parametrize("smoothing", [1e-9, 0.3])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e12], ids=["plain", "small", "products beyond float64"])
def test_naive_bayes_by_its_formula(smoothing, scale):
    X = make_data(scale)
    found, status, outputs = launch(gaussian.naive_bayes, X, 1, 1, zeros, lambda _: smoothing)
    np.testing.assert_array_equal(status, [0, 0, -1, 0])
    assert np.isnan(found[2]).all()
    for c, members in enumerate(SPHERES):
        for fold, output in enumerate(outputs):
            if len(members):
                expected = naive_bayes(raw(X)[:, members], fold, smoothing)
                row = found[c, output.start : output.start + expected.size].reshape(expected.shape)
                np.testing.assert_allclose(row, expected, rtol=1e-8)


def test_a_voxel_without_variance_fails_without_smoothing():
    X = make_data()
    X[:, 2] = 5.0
    found, status, _ = launch(gaussian.naive_bayes, X, 1, 1, zeros, lambda _: 0.0)
    np.testing.assert_array_equal(status, [1, 1, -1, 0])
    assert np.isnan(found[:3]).all()
    _, status, _ = launch(gaussian.naive_bayes, X, 1, 1, zeros, lambda _: 1e-9)
    np.testing.assert_array_equal(status, [0, 0, -1, 0])


@pytest.mark.parametrize("by_distance", [True, False])
def test_centroids_by_their_formula(by_distance):
    X = make_data()
    prior = lambda entries: np.log(0.1 + 0.2 * (np.arange(len(entries.size)) % 2))  # noqa: E731
    flags = lambda entries: np.full(len(entries.code), by_distance)  # noqa: E731
    found, status, outputs = launch(gaussian.nearest_centroid, X, 2, 2, prior, flags)
    np.testing.assert_array_equal(status, [0, 0, -1, 0])
    assert outputs[2] is None, "one class"
    entry = 0
    for fold, output in enumerate(outputs):
        train, test = FOLDS.train[fold], FOLDS.test[fold]
        classes = np.unique(Y[train])
        if output is None:
            continue
        log_prior = np.log(0.1 + 0.2 * ((entry + np.arange(len(classes))) % 2))
        entry += len(classes)
        for c, members in enumerate(SPHERES):
            if not len(members):
                continue
            A = raw(X)[np.ix_(train, members)]
            centroids = np.array([A[Y[train] == label].mean(axis=0) for label in classes])
            within = ((A - centroids[np.searchsorted(classes, Y[train])]) ** 2).sum(axis=0) / (len(A) - len(classes))
            squares = (raw(X)[np.ix_(test, members)][None] - centroids[:, None]) ** 2
            scores = -(squares / within).sum(axis=2) + 2 * log_prior[:, None]
            first = -squares.sum(axis=2) if by_distance else scores
            expected = np.concatenate([first, scores])
            row = found[c, output.start : output.start + expected.size].reshape(expected.shape)
            np.testing.assert_allclose(row, expected, rtol=1e-9)


def test_a_sphere_where_nothing_varies_fails():
    flat = np.full((N, P), 3.0, np.float32)
    _, status, _ = launch(
        gaussian.nearest_centroid, flat, 2, 2, zeros, lambda entries: np.ones(len(entries.code), bool)
    )
    np.testing.assert_array_equal(status, [1, 1, -1, 1])


def test_small_spheres_are_left_out():
    _, status, _ = launch(gaussian.naive_bayes, make_data(), 1, 1, zeros, lambda _: 1e-9, min_voxels=4)
    np.testing.assert_array_equal(status, [0, -1, -1, 0])
