"""Which voxels spheres need, and which centres a shard has."""

import nibabel as nib
import numpy as np
import pytest

from fastsl.checkpoints.shards import WHOLE, Shard
from fastsl.images import Grid, load_mask
from fastsl.placement import place_spheres

SHAPE, AFFINE, RADIUS = (12, 11, 10), np.diag([2.0, 3.0, 2.0, 1.0]), 4.0
GRID = Grid(SHAPE, AFFINE)


def mask_of(inside, affine=AFFINE):
    return load_mask(nib.Nifti1Image(inside.astype(np.uint8), affine), "mask_img")


INSIDE = np.random.default_rng(0).random(SHAPE) < 0.8
CENTRES = np.zeros(SHAPE, bool)
CENTRES[2:5, 3, 4:6] = True
BRAIN = mask_of(INSIDE)


def near(centres):
    """Voxels inside within the radius of any of ``centres``, by all distances."""
    apart = (np.argwhere(INSIDE)[:, None] - np.argwhere(centres)) @ AFFINE[:3, :3]
    found = np.zeros(SHAPE, bool)
    found[INSIDE] = (np.linalg.norm(apart, axis=2) <= RADIUS * (1 + 1e-6)).any(axis=1)
    return found


def test_where_all_voxels_are_centres_all_are_needed():
    placed = place_spheres(BRAIN, BRAIN, GRID, RADIUS, WHOLE, 64)
    assert placed.reads_all
    np.testing.assert_array_equal(placed.needed, INSIDE)
    assert (placed.first, placed.stop, len(placed.spheres)) == (0, INSIDE.sum(), INSIDE.sum())


@pytest.mark.parametrize("segment", [1, 8])
@pytest.mark.parametrize("part", [WHOLE, Shard(2, 3)], ids=str)
def test_few_centres_need_what_is_near_any_of_them_also_where_a_shard_has_fewer(part, segment):
    placed = place_spheres(BRAIN, mask_of(CENTRES), GRID, RADIUS, part, segment)
    expected = np.flatnonzero(near(CENTRES)[INSIDE]) // segment
    np.testing.assert_array_equal(np.isin(np.arange(INSIDE.sum()) // segment, expected), placed.needed[INSIDE])
    assert not (placed.needed & ~INSIDE).any()
    assert not placed.reads_all
    assert len(placed.spheres) == CENTRES.sum()
    # Members are rows of the matrix of needed voxels.
    rows = np.argwhere(placed.needed)
    for centre, sphere in zip(np.argwhere(CENTRES), placed.spheres.block(0, len(placed.spheres)), strict=True):
        alone = np.zeros(SHAPE, bool)
        alone[tuple(centre)] = True
        np.testing.assert_array_equal(rows[sphere], np.argwhere(near(alone)))


def test_shards_have_every_centre_once():
    placed = [place_spheres(BRAIN, BRAIN, GRID, RADIUS, Shard(i, 3), 1) for i in (1, 2, 3)]
    edges = [(one.first, one.stop) for one in placed]
    assert edges[0][0] == 0
    assert edges[2][1] == INSIDE.sum()
    assert edges[0][1] == edges[1][0] < edges[1][1] == edges[2][0]


def test_without_a_mask_every_voxel_may_enter():
    with pytest.warns(UserWarning, match="hold the whole mask, all its 1320 voxels"):
        placed = place_spheres(None, mask_of(CENTRES), GRID, 99.0, WHOLE, 1)
    assert placed.inside.all()
    assert placed.reads_all
