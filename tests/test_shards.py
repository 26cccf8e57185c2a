"""Shards: a partition of the centres that every process finds alike, and parts that equal the whole to the last bit."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.naive_bayes import BernoulliNB

from fastsl import SearchLight
from fastsl.checkpoints.shards import CONSTANT_WORK, WHOLE, Shard

RADIUS = 15.0


def ranges(sizes, n):
    return [Shard(i, n).centres(sizes) for i in range(1, n + 1)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 600), max_size=200), st.integers(1, 300))
def test_shards_are_a_partition_in_order(sizes, n):
    found = ranges(sizes, n)
    assert found[0][0] == 0
    assert found[-1][1] == len(sizes)
    assert all(first <= stop for first, stop in found)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))


@settings(deadline=None)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=200), st.integers(1, 50))
def test_shards_have_the_same_work_to_a_sphere(sizes, n):
    work = np.array(sizes) + CONSTANT_WORK
    share = work.sum() / n
    for first, stop in ranges(sizes, n):
        assert abs(work[first:stop].sum() - share) < work.max()


def test_spheres_at_the_edge_count_less():
    first, second = ranges([100] * 100 + [700] * 100, 2)
    assert first[1] - first[0] > second[1] - second[0] > 0
    assert ranges([100] * 100 + [700] * 100, 1) == [(0, 200)]


def test_more_shards_than_centres_leave_some_empty():
    found = ranges([7, 7], 5)
    assert sum(stop - first for first, stop in found) == 2
    assert max(stop - first for first, stop in found) == 1


def test_a_huge_brain_in_many_shards_does_not_overflow():
    sizes = np.full(2_000_000, 5000)
    assert Shard(100_000, 100_000).centres(sizes)[1] == 2_000_000


@pytest.mark.parametrize("given", ["1/4", " 1 / 4 ", (1, 4), [1, 4], np.array([1, 4]), Shard(1, 4)])
def test_what_a_shard_may_be(given):
    shard = Shard.parse(given)
    assert (shard, str(shard), shard.folder) == (Shard(1, 4), "1/4", "shard-1-of-4")
    assert Shard.of_folder(shard.folder) == shard
    assert type(shard.number) is int


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("1", ValueError, "shard must be I/N, such as 1/8 for the first of eight, got '1'"),
        ("1/x", ValueError, "shard must be I/N"),
        ("-1/2", ValueError, "shard must be I/N"),
        ("0/4", ValueError, "shard 0/4 does not exist: the first of 4 is 1/4, the last 4/4"),
        ("5/4", ValueError, "shard 5/4 does not exist"),
        ((0, 0), ValueError, "shard 0/0 does not exist"),
        (3, TypeError, r"shard must be a pair \(i, n\), such as \(1, 8\), got 3"),
        ((1, 2, 3), TypeError, "shard must be a pair"),
        ((1.0, 2), TypeError, "shard must be a pair of whole numbers"),
        ((True, 2), TypeError, "shard must be a pair of whole numbers"),
    ],
)
def test_what_a_shard_may_not_be(given, error, message):
    with pytest.raises(error, match=message):
        Shard.parse(given)


def test_other_folders_are_no_shards():
    assert [Shard.of_folder(name) for name in ("shard-1", "shard-1-of-2.old", "arrays", "shard-a-of-b")] == [None] * 4
    assert WHOLE.folder == "shard-1-of-1"


# Parts of a search


def fit(phantom, shard=None, **arguments):
    searchlight = SearchLight(phantom.mask_img, radius=RADIUS, n_jobs=1, **arguments)
    return searchlight.fit(phantom.img, phantom.labels["condition"], phantom.labels["run"], shard=shard)


@pytest.mark.filterwarnings("ignore:groups are given but cv=None")
@pytest.mark.parametrize("n", [1, 3, 8])
def test_parts_equal_the_whole(phantom, n):
    whole = fit(phantom)
    parts = [fit(phantom, (i, n)) for i in range(1, n + 1)]
    np.testing.assert_array_equal(sum(part.scores_ for part in parts), whole.scores_)
    np.testing.assert_array_equal(sum(part.process_mask_.astype(int) for part in parts), whole.process_mask_)
    np.testing.assert_array_equal(np.concatenate([part.fold_scores_ for part in parts], axis=1), whole.fold_scores_)
    np.testing.assert_array_equal(np.concatenate([part.n_voxels_ for part in parts]), whole.n_voxels_)
    for part in parts:
        assert part.n_elements_ == len(part.masked_scores_) == part.process_mask_.sum()
        np.testing.assert_array_equal(part.scores_img_.get_fdata(), part.scores_)


@pytest.mark.filterwarnings("ignore:groups are given but cv=None")
def test_a_part_takes_new_images_for_its_own_centres(phantom, few_centres):
    whole = fit(phantom, process_mask_img=few_centres)
    parts = [fit(phantom, (i, 2), process_mask_img=few_centres) for i in (1, 2)]
    found = np.concatenate([part.predict(phantom.img) for part in parts], axis=1)
    np.testing.assert_array_equal(found, whole.predict(phantom.img))


@pytest.mark.parametrize("estimator", ["svc", BernoulliNB()], ids=["compiled", "general"])
def test_single_centres_equal_the_whole_with_many_folds(phantom, few_centres, estimator):
    """A mean over ten folds of one centre adds in another order than numpy's mean of many."""
    arguments = {"estimator": estimator, "cv": 10, "process_mask_img": few_centres, "scoring": "roc_auc"}

    def scores(shard=None):
        searchlight = SearchLight(phantom.mask_img, radius=RADIUS, n_jobs=1, **arguments)
        return searchlight.fit(phantom.img, phantom.labels["condition"], shard=shard).masked_scores_

    whole = scores()
    n = len(whole)
    chosen = range(1, n + 1, 5)
    parts = [scores((i, n)) for i in chosen]
    assert {len(part) for part in parts} <= {0, 1, 2}
    assert 1 in {len(part) for part in parts}
    found = np.concatenate(parts)
    assert all(score in whole for score in found)


def test_an_empty_shard_is_no_error(phantom, few_centres):
    centres = np.zeros(phantom.mask_img.shape, np.uint8)
    centres[tuple(np.argwhere(phantom.mask_img.get_fdata() > 0)[900])] = 1
    one = nib.Nifti1Image(centres, phantom.mask_img.affine)
    parts = [
        SearchLight(phantom.mask_img, one, radius=RADIUS, n_jobs=1).fit(
            phantom.img, phantom.labels["condition"], shard=(i, 3)
        )
        for i in (1, 2, 3)
    ]
    assert sorted(part.n_elements_ for part in parts) == [0, 0, 1]


def test_a_part_whose_spheres_are_all_empty_is_no_error(phantom):
    """The last slices of the volume have no voxel within reach; a search of all centres would score them NaN."""
    everywhere = nib.Nifti1Image(np.ones(phantom.mask_img.shape, np.uint8), phantom.mask_img.affine)
    searchlight = SearchLight(phantom.mask_img, everywhere, radius=0, n_jobs=1)
    with pytest.warns(RuntimeWarning, match="fewer than min_voxels=1 voxels"):
        searchlight.fit(phantom.img, phantom.labels["condition"], shard=(1, 40))
    assert searchlight.n_elements_ > 0
    assert np.isnan(searchlight.masked_scores_).all()


@pytest.mark.parametrize(("shard", "asked"), [(None, 1), ((1, 2), 1), ((2, 2), 0), ((1, 200), 0)])
def test_only_the_first_spheres_of_all_say_that_there_is_no_hope(phantom, monkeypatch, shard, asked):
    """The edge of a brain may fail where the whole does not: a shard of edge alone must not give up."""
    calls = []
    monkeypatch.setattr("fastsl.search.stop_if_hopeless", lambda *given: calls.append(given))
    searchlight = SearchLight(phantom.mask_img, radius=RADIUS, n_jobs=1)
    searchlight.fit(phantom.img, phantom.labels["condition"], shard=shard)
    assert len(calls) == asked
