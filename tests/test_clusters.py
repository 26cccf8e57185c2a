"""TFCE and clusters of one map against other packages, and what holds for any map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

import fastsl
import naive
from fastsl.neighbours import Neighbours
from fastsl.permutation.clusters import cluster_extents_and_masses, tfce, voxel_adjacency


def smooth_volume(seed=0, shape=(12, 11, 13), largest=8.0):
    volume = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.2)
    return volume * (largest / volume.max())


# Adjacency


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_neighbours_are_those_of_the_structuring_element(connectivity):
    mask = np.random.default_rng(0).random((4, 5, 6)) < 0.6
    adjacency = voxel_adjacency(mask, connectivity)
    assert adjacency.indices.dtype == np.int32
    voxels = np.argwhere(mask)
    touching = naive.structure(connectivity)
    for v, voxel in enumerate(voxels):
        steps = voxels - voxel
        near = np.flatnonzero((np.abs(steps) <= 1).all(axis=1))
        expected = [u for u in near if touching[tuple(steps[u] + 1)]]
        assert adjacency[v].tolist() == expected
    assert voxel_adjacency(np.ones((3, 3, 3)), connectivity).sizes.max() == connectivity + 1, "itself among them"


# Other packages


@pytest.mark.parametrize(("connectivity", "dh"), [(6, 0.125), (18, 0.5), (26, 0.125), (26, "auto")])
@pytest.mark.parametrize(("E", "H"), [(0.5, 2), (1.0, 1.5)])
def test_tfce_equals_nilearns(connectivity, dh, E, H):
    """nilearn has round(max / dh) heights up to the very maximum, 100 by default, and no factor dh.

    The maximum here is 6.25 or 8, so that those heights are exact multiples of dh.
    """
    utils = pytest.importorskip("nilearn.mass_univariate._utils")
    volume = smooth_volume(largest=6.25 if dh == "auto" else 8.0)
    expected = utils.calculate_tfce(
        volume[..., None], naive.structure(connectivity), E=E, H=H, dh=dh, two_sided_test=False
    )[..., 0]
    step = 0.0625 if dh == "auto" else dh
    adjacency = voxel_adjacency(np.ones_like(volume), connectivity)
    found = tfce(volume.ravel(), adjacency, dh=step, E=E, H=H, with_dh=False)
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-12)
    np.testing.assert_allclose(tfce(volume.ravel(), adjacency, dh=step, E=E, H=H), step * found, rtol=1e-12)


@pytest.mark.parametrize("threshold", [1.0, 3.1, 7.9, 8.0])
def test_the_largest_cluster_is_nilearns(threshold):
    utils = pytest.importorskip("nilearn.mass_univariate._utils")
    volume = smooth_volume()
    volume[0, 0, 0] = threshold  # not above it
    size, mass = utils.calculate_cluster_measures(volume[..., None], threshold, naive.structure(26))
    _, clusters = cluster_extents_and_masses(volume.ravel(), voxel_adjacency(np.ones_like(volume)), threshold)
    assert clusters.extent.max(initial=0) == size[0]
    np.testing.assert_allclose(clusters.mass.max(initial=0.0), mass[0], rtol=1e-12)


# Published by CoSMoMVPA, tests/test_measure_clusters.m: a line of seven, four decimals.
LINE = np.array([-1, 2, 1, 1, np.nan, 2, 2])
COSMO_TFCE = [
    (0.1, {}, [0, 2.7518, 0.6668, 0.6668, 0, 3.4931, 3.4931]),
    (0.05, {}, [0, 2.7935, 0.5348, 0.5348, 0, 3.6310, 3.6310]),
    (3, {}, [0, 0, 0, 0, 0, 0, 0]),
    (0.05, {"E": 1}, [0, 3.1850, 0.9263, 0.9263, 0, 5.1350, 5.1350]),
    (0.05, {"H": 1}, [0, 2.2977, 0.8227, 0.8227, 0, 2.7577, 2.7577]),
]


@pytest.mark.parametrize(("dh", "exponents", "published"), COSMO_TFCE)
def test_tfce_equals_cosmomvpas_published_numbers(dh, exponents, published):
    """CoSMoMVPA adds dh up: twenty times 0.1 is more than 2, so that a value of 2 has 19 heights there and 20 here.

    Values half a step above the last height that was added up have the same number of heights in both.
    """
    added_up = np.cumsum(np.full(100, float(dh)))
    known = ~np.isnan(LINE)
    reached = np.array([np.count_nonzero(added_up <= value) for value in LINE])
    same_heights = np.where(known, np.where(reached > 0, (reached + 0.5) * dh, LINE), np.nan)
    found = tfce(same_heights, voxel_adjacency(np.ones((7, 1, 1))), dh=dh, **exponents)
    np.testing.assert_allclose(found[known], np.array(published)[known], rtol=1e-4)
    assert np.isnan(found[4])
    twin = naive.tfce(LINE[:, None, None], 26, added_up, dh, **{k: float(v) for k, v in exponents.items()})
    np.testing.assert_allclose(twin.ravel()[known], np.array(published)[known], rtol=1e-4)


@pytest.mark.parametrize(
    ("threshold", "sizes", "sums"),
    [
        (1, [0, 3, 3, 3, 0, 2, 2], [0, 4, 4, 4, 0, 4, 4]),
        (2, [0, 1, 0, 0, 0, 2, 2], [0, 2, 0, 0, 0, 4, 4]),
        (3, [0] * 7, [0] * 7),
    ],
)
def test_clusters_equal_cosmomvpas_published_numbers(threshold, sizes, sums):
    """Its clusters include values that equal the threshold, and its sums are of the values themselves."""
    below = np.nextafter(threshold, 0)
    labels, clusters = cluster_extents_and_masses(LINE, voxel_adjacency(np.ones((7, 1, 1))), below)
    np.testing.assert_array_equal(np.r_[0, clusters.extent][labels], sizes)
    np.testing.assert_allclose(np.r_[0.0, clusters.mass + below * clusters.extent][labels], sums, rtol=1e-12)


# What holds for any map

volumes = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4),
    elements=st.one_of(st.floats(-2, 4, width=16), st.integers(0, 4).map(float), st.just(np.nan)),
)


@settings(max_examples=150, deadline=None)
@given(volumes, st.sampled_from([6, 18, 26]), st.sampled_from([0.1, 0.25, 1.0]))
def test_small_volumes_equal_the_naive_twin(volume, connectivity, dh):
    adjacency = voxel_adjacency(np.ones(volume.shape), connectivity)
    found = tfce(volume.ravel(), adjacency, dh=dh)
    expected = naive.tfce(np.where(np.isnan(volume), -1.0, volume), connectivity, naive.multiples(volume, dh), dh)
    np.testing.assert_allclose(found, np.where(np.isnan(volume), np.nan, expected).ravel(), rtol=1e-12)
    labels, clusters = cluster_extents_and_masses(volume.ravel(), adjacency, 0.5)
    theirs, extents, masses = naive.clusters(volume, connectivity, 0.5)
    assert sorted(clusters.extent) == sorted(extents)
    np.testing.assert_allclose(sorted(clusters.mass), sorted(masses), rtol=1e-12)
    pairs = set(zip(labels.tolist(), theirs.ravel().tolist(), strict=True)) - {(0, 0)}
    assert len(pairs) == len(extents), "the same partition"
    for label, extent, peak, value in zip(
        clusters.label, clusters.extent, clusters.peak, clusters.peak_value, strict=True
    ):
        members = np.flatnonzero(labels == label)
        assert len(members) == extent
        assert value == volume.ravel()[members].max()
        assert peak == members[np.argmax(volume.ravel()[members])]


def test_clusters_are_numbered_by_extent_then_mass_then_place():
    values = np.array([4, 0, 5, 0, 4, 0, 4, 4.5, 0, 4, 4])
    labels, clusters = cluster_extents_and_masses(values, voxel_adjacency(np.ones((11, 1, 1))), 3)
    assert labels.tolist() == [4, 0, 3, 0, 5, 0, 1, 1, 0, 2, 2]
    assert clusters.label.tolist() == [1, 2, 3, 4, 5]
    assert len(clusters) == 5
    assert np.isnan(clusters.p_extent).all()


def test_no_cluster():
    labels, clusters = cluster_extents_and_masses(np.zeros(8), voxel_adjacency(np.ones((2, 2, 2))), 0)
    assert not labels.any()
    assert len(clusters) == 0


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_a_flipped_volume_has_flipped_values(axes):
    volume = smooth_volume()
    mask = np.random.default_rng(3).random(volume.shape) < 0.9
    found = np.zeros(volume.shape)
    found[mask] = tfce(volume[mask], voxel_adjacency(mask))
    turned = np.zeros(volume.shape)
    turned[np.flip(mask, axes)] = tfce(np.flip(volume, axes)[np.flip(mask, axes)], voxel_adjacency(np.flip(mask, axes)))
    np.testing.assert_allclose(np.flip(turned, axes), found, rtol=1e-13)


def test_a_voxel_far_away_changes_nothing_elsewhere():
    volume = np.pad(smooth_volume(), 2)
    mask = volume != 0
    alone = tfce(volume[mask], voxel_adjacency(mask))
    mask[0, 0, 0], volume[0, 0, 0] = True, 50.0
    both = tfce(volume[mask], voxel_adjacency(mask))
    np.testing.assert_allclose(both[1:], alone, rtol=1e-13)
    np.testing.assert_allclose(both[0], ((np.arange(1, 501) * 0.1) ** 2 * 0.1).sum(), rtol=1e-13)


def test_more_neighbours_make_larger_values():
    values = smooth_volume().ravel()
    six, eighteen, twenty_six = (tfce(values, voxel_adjacency(np.ones((12, 11, 13)), c)) for c in (6, 18, 26))
    assert (six <= eighteen * (1 + 1e-12)).all()
    assert (eighteen <= twenty_six * (1 + 1e-12)).all()
    assert six.sum() < eighteen.sum() < twenty_six.sum()


def test_the_sum_comes_close_to_the_integral():
    # One voxel of height 1 in a map of its own: the integral of h^2 is 1/3.
    for dh in (0.1, 0.01, 0.001):
        assert tfce([1.0], voxel_adjacency([[[1]]]), dh=dh)[0] == pytest.approx(1 / 3, abs=dh)


def test_any_mutual_neighbourhood_will_do():
    ring = Neighbours.from_sparse(np.roll(np.eye(5), 1, axis=0) + np.roll(np.eye(5), -1, axis=0))
    assert tfce([1.0, 0.0, 0.0, 0.0, 1.0], ring, dh=1, E=1).tolist() == [2.0, 0.0, 0.0, 0.0, 2.0]


def test_the_callers_map_is_left_alone():
    values = smooth_volume().ravel()
    values.flags.writeable = False
    assert fastsl.tfce(values, fastsl.voxel_adjacency(np.ones((12, 11, 13)))).max() > 0


EIGHT = voxel_adjacency(np.ones((2, 2, 2)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: voxel_adjacency(np.ones((2, 2, 2)), 8), ValueError, r"must be 6 \(voxels share a face\), 18.*got 8"),
        (lambda: voxel_adjacency(np.zeros((2, 2, 2))), ValueError, "mask"),
        (lambda: voxel_adjacency(np.ones((2, 2))), ValueError, "mask"),
        (lambda: tfce(np.ones((2, 2, 2)), EIGHT), ValueError, r"shape \(2, 2, 2\).*of 8 centres.*volume\[mask\]"),
        (lambda: tfce(np.r_[np.ones(7), np.inf], EIGHT), ValueError, "finite or NaN, got inf at centre 7"),
        (
            lambda: tfce(np.ones(8), EIGHT, dh=0),
            ValueError,
            "dh, the step between heights, .*finite and positive",
        ),
        (lambda: tfce(np.ones(8), EIGHT, dh="0.1"), TypeError, "dh, .*must be a number, got '0.1'"),
        (lambda: tfce(np.ones(8), EIGHT, dh=1e-8), ValueError, "dh=1e-08 is too small for map 0.*0.1 is usual"),
        (lambda: tfce(np.ones(8), EIGHT, E=-1), ValueError, "E, the exponent of the extent, .*not negative, got -1.0"),
        (lambda: tfce(np.ones(8), EIGHT, H=np.nan), ValueError, "H, the exponent of the height"),
        (lambda: cluster_extents_and_masses(np.ones(7), EIGHT, 1), ValueError, "of 8 centres"),
        (
            lambda: cluster_extents_and_masses(np.ones(8), EIGHT, -1),
            ValueError,
            "cluster threshold.*not negative, got -",
        ),
        (lambda: cluster_extents_and_masses(np.ones(8), EIGHT, None), TypeError, "cluster threshold.*got None"),
    ],
)
def test_what_cannot_be_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
