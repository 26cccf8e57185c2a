"""Maxima over permuted maps, one map at a time and in threads, and error rates where there is nothing to find."""

import numpy as np
import pytest

import fastsl
from fastsl._kernels.clusters import PER_TASK
from fastsl._runtime.launch import max_threads
from fastsl.permutation.clusters import cluster_extents_and_masses, tfce, voxel_adjacency
from fastsl.permutation.familywise import cluster_inference, null_maxima
from fastsl.permutation.inference import null_moments, z_scores

SHAPE = (6, 5, 7)
rng = np.random.default_rng(0)
MASK = rng.random(SHAPE) < 0.8
N = int(MASK.sum())
ADJACENCY = voxel_adjacency(MASK)
NULL = rng.normal(0.5, 0.05, (2 * PER_TASK * max_threads() + 3, N)).astype(np.float32)
NULL[:, 4] = 0.5  # does not vary
NULL[:, 5] = np.nan
MEAN, SD = null_moments(NULL)


def assert_same(a, b):
    for name in ("tfce", "extent", "mass"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_maxima_are_those_of_the_maps_one_at_a_time():
    found = null_maxima(NULL, MEAN, SD, ADJACENCY, cluster_threshold=1.0)
    for p, scores in enumerate(NULL):
        z = z_scores(scores, MEAN, SD)
        assert z[4] == 0
        assert np.isnan(z[5])
        assert found.tfce[p] == np.nanmax(tfce(z, ADJACENCY))
        _, clusters = cluster_extents_and_masses(z, ADJACENCY, 1.0)
        assert found.extent[p] == clusters.extent.max()
        assert found.mass[p] == clusters.mass.max()


def test_maxima_do_not_depend_on_threads():
    one, all_ = (null_maxima(NULL, MEAN, SD, ADJACENCY, cluster_threshold=1.0, n_jobs=n) for n in (1, max_threads()))
    assert_same(one, all_)


def test_a_null_in_a_file_is_read_some_rows_at_a_time(tmp_path):
    np.save(tmp_path / "null.npy", NULL)
    stored = np.load(tmp_path / "null.npy", mmap_mode="r")
    most = 0

    class Watched:
        shape = stored.shape

        def __getitem__(self, rows):
            nonlocal most
            most = max(most, len(range(*rows.indices(len(NULL)))))
            return stored[rows]

    assert_same(null_maxima(Watched(), MEAN, SD, ADJACENCY), null_maxima(NULL, MEAN, SD, ADJACENCY))
    assert most <= PER_TASK * max_threads()


@pytest.mark.parametrize("convert", [lambda a: a.astype(">f4"), np.asfortranarray, lambda a: a.astype(np.float64)])
def test_other_layouts_of_the_same_null_give_the_same(convert):
    assert_same(null_maxima(convert(NULL), MEAN, SD, ADJACENCY), null_maxima(NULL, MEAN, SD, ADJACENCY))


def test_what_is_not_asked_for_is_none():
    maxima = null_maxima(NULL, MEAN, SD, ADJACENCY, dh=None)
    assert maxima.tfce is None
    assert maxima.extent is not None
    maxima = null_maxima(NULL, MEAN, SD, ADJACENCY, cluster_threshold=None)
    assert maxima.extent is maxima.mass is None
    result = cluster_inference(NULL[0], NULL, ADJACENCY, dh=None, cluster_threshold=None)
    assert result.tfce is result.p_tfce is result.labels is result.clusters is None
    assert np.isfinite(result.z[0])


def test_a_planted_blob_is_found_and_nothing_else():
    scores = np.random.default_rng(2).normal(0.5, 0.05, SHAPE)
    scores[1:4, 1:4, 1:4] += 0.4
    flat = scores[MASK]
    flat[6] = np.nan
    result = fastsl.cluster_inference(flat, NULL, ADJACENCY, cluster_threshold=2.5)
    inside = np.zeros(SHAPE, bool)
    inside[1:4, 1:4, 1:4] = True
    usable = ~np.isin(np.arange(N), (4, 5, 6))
    smallest = 1 / (len(NULL) + 1)
    assert (result.p_tfce[inside[MASK] & usable] == smallest).all()
    assert result.clusters.p_extent[0] == result.clusters.p_mass[0] == smallest
    assert inside[MASK][result.clusters.peak[0]]
    assert result.clusters.peak_value[0] == result.z[result.clusters.peak[0]]
    assert np.isnan(result.p_tfce[6])
    assert (result.p_tfce[[4, 5]] == 1.0).all()
    assert set(result.labels[~inside[MASK]]) <= {0, *result.clusters.label[result.clusters.p_mass > 0.05]}


def test_the_observed_map_ties_with_itself_in_the_null():
    for p in (0, 3):
        observed = NULL[p].astype(np.float64)
        result = cluster_inference(observed, NULL, ADJACENCY, mean=MEAN, sd=SD, cluster_threshold=1.0)
        assert result.null.tfce[p] == np.nanmax(result.tfce)
        assert result.null.extent[p] == result.clusters.extent[0]
        assert result.null.mass[p] == result.clusters.mass.max()


@pytest.mark.slow
def test_error_rates_where_there_is_nothing_to_find():
    """All n + 1 maps alike: P(smallest p <= 0.05) is 0.05 for the continuous statistics, at most that for extents.

    With 19 permutations; moments that leave out the observed map would give three times as many.
    """
    n, n_sets, noise = 19, 300, np.random.default_rng(5)
    mask = np.ones((4, 4, 4), bool)
    adjacency = voxel_adjacency(mask)
    hits = {"tfce": 0, "extent": 0, "mass": 0, "tfce, apart": 0}
    for _ in range(n_sets):
        maps = noise.standard_normal((n + 1, 64)) * np.linspace(0.5, 2, 64) + np.linspace(0, 5, 64)
        result = cluster_inference(maps[0], maps[1:], adjacency, cluster_threshold=1.5, dh=0.01)
        hits["tfce"] += np.min(result.p_tfce) <= 0.05
        hits["extent"] += result.clusters.p_extent.min(initial=1.0) <= 0.05
        hits["mass"] += result.clusters.p_mass.min(initial=1.0) <= 0.05
        mean, sd = null_moments(maps[1:])
        apart = cluster_inference(maps[0], maps[1:], adjacency, mean=mean, sd=sd, cluster_threshold=None, dh=0.01)
        hits["tfce, apart"] += np.min(apart.p_tfce) <= 0.05
    rates = {name: count / n_sets for name, count in hits.items()}
    spread = np.sqrt(0.05 * 0.95 / n_sets)
    assert abs(rates["tfce"] - 0.05) < 3.5 * spread, rates
    assert abs(rates["mass"] - 0.05) < 3.5 * spread, rates
    assert rates["extent"] < 0.05 + 3.5 * spread, rates
    assert rates["tfce, apart"] > 0.1, rates


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: null_maxima(NULL[0], MEAN, SD, ADJACENCY), ValueError, r"null must have shape \(n_permutations"),
        (lambda: null_maxima(NULL, MEAN[1:], SD, ADJACENCY), ValueError, "are of different centres"),
        (lambda: null_maxima(NULL[:, 1:], MEAN[1:], SD[1:], ADJACENCY), ValueError, "are of different centres"),
        (lambda: null_maxima(NULL, MEAN, SD, ADJACENCY, dh=1e-9), ValueError, "dh=1e-09 is too small for map 0"),
        (lambda: null_maxima(NULL, MEAN, SD, ADJACENCY, dh=-1), ValueError, "dh.*must be finite and positive"),
        (lambda: null_maxima(NULL, MEAN, SD, ADJACENCY, cluster_threshold=-1), ValueError, "not negative"),
        (lambda: null_maxima(NULL, MEAN, SD, ADJACENCY, n_jobs=0), ValueError, "n_jobs=0"),
        (lambda: cluster_inference(NULL[0, 1:], NULL, ADJACENCY), ValueError, "the observed map has shape"),
        (lambda: cluster_inference(NULL[0], NULL, ADJACENCY, mean=MEAN), ValueError, "mean and sd belong together"),
    ],
)
def test_what_cannot_be_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
