"""Spheres against brute-force distances, known counts, nilearn, and what holds for any geometry."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from fastsl.neighbours import RADIUS_TOLERANCE, Neighbours, VoxelCentres, plan_spheres, sphere_neighbours

FULL = np.ones((5, 5, 5), bool)


def naive_spheres(mask, affine, radius, centres):
    """Members by the distance of every voxel to every centre."""
    voxels = np.argwhere(mask)
    members = []
    for centre in centres:
        distances = [np.linalg.norm(np.asarray(affine, float)[:3, :3] @ (voxel - centre)) for voxel in voxels]
        members.append([row for row, d in enumerate(distances) if d <= radius * (1 + 1e-6)])
    return members


def lists(neighbours):
    return [neighbours[c].tolist() for c in range(len(neighbours))]


def assert_identical(a, b):
    for name in ("indptr", "indices", "centres"):
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert a.n_voxels == b.n_voxels


def make_affine(A, offset=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = A
    affine[:3, 3] = offset
    return affine


def rotation(x, y, z):
    """Rotation by three angles, in degrees."""
    R = np.eye(3)
    for axis, angle in enumerate(np.deg2rad([x, y, z])):
        i, j = (k for k in range(3) if k != axis)
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        R = R @ turn
    return R


AFFINES = {
    "unit": np.eye(4),
    "anisotropic": make_affine(np.diag([3.5, 3.75, 4.4]), (-91, -126, -72)),
    "oblique": make_affine(rotation(17, -31, 8) @ np.diag([2.0, 2.0, 3.3]), (10, -3, 7)),
    "sheared": make_affine([[2, 0.3, 0], [0, 2, 0.7], [0.1, 0, 2.5]]),
    "flipped": make_affine(np.diag([-3.0, 3.0, -3.0]), (90, -126, 72)),
    "axes swapped": make_affine([[0, 0, 2.0], [-2.0, 0, 0], [0, 3.0, 0]]),
    "sub-millimetre": make_affine(np.diag([0.7, 0.7, 0.8]), (-0.35, 0.35, 0.4)),
    "2.4 mm": make_affine(np.diag([2.4, 2.4, 2.4]), (-96.5, -132.5, -78.5)),
}


# Counts and the boundary


@pytest.mark.parametrize(("radius", "count"), [(0, 1), (0.99, 1), (1, 7), (2, 33), (3, 123), (4, 257), (5, 515)])
def test_counts_on_a_unit_grid(radius, count):
    assert sphere_neighbours(np.ones((11, 11, 11)), np.eye(4), radius, centres=[[5, 5, 5]]).sizes.tolist() == [count]


@pytest.mark.parametrize("size", [0.3, 0.7, 1.1, 2.4, 3.3, 1 / 3])
@pytest.mark.parametrize("turn", [(0, 0, 0), (17, 0, 0), (5, -44, 71)])
def test_all_interior_spheres_have_33_voxels_at_twice_the_voxel_size(size, turn):
    affine = make_affine(size * rotation(*turn), (-96.37, 31.1, 0.05))
    interior = np.zeros((7, 7, 7), bool)
    interior[2:-2, 2:-2, 2:-2] = True
    assert set(sphere_neighbours(np.ones((7, 7, 7)), affine, 2 * size, centres=interior).sizes) == {33}


@pytest.mark.parametrize("centre", [[2, 2, 2], [2.5, 2, 2]], ids=["on the grid", "between voxels"])
def test_the_boundary_is_inclusive_with_a_relative_tolerance_of_a_millionth(centre):
    shell = 3.0 if centre == [2, 2, 2] else 1.5
    inner, reached = (1, 7) if centre == [2, 2, 2] else (0, 2)
    for factor, count in [(1 - 2e-6, inner), (1 - 0.5e-6, reached), (1, reached), (1 + 0.5e-6, reached)]:
        sizes = sphere_neighbours(FULL, np.diag([3, 3, 3, 1]), shell * factor, centres=[centre]).sizes
        assert sizes.tolist() == [count], factor
    assert RADIUS_TOLERANCE == 1e-6


# The naive twin


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("in_voxels", [0, 1, 1.5, 2])
def test_equals_brute_force(affine, in_voxels):
    mask = np.random.default_rng(1).random((5, 4, 6)) < 0.7
    radius = in_voxels * np.linalg.norm(affine[:3, 0])
    neighbours = sphere_neighbours(mask, affine, radius)
    assert lists(neighbours) == naive_spheres(mask, affine, radius, np.argwhere(mask))
    np.testing.assert_array_equal(neighbours.centres, np.argwhere(mask))
    assert neighbours.n_voxels == mask.sum()


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_centres_between_voxels_and_outside_equal_brute_force(affine):
    mask = np.random.default_rng(2).random((4, 5, 4)) < 0.7
    centres = np.random.default_rng(3).uniform(-2, 6, (30, 3))
    centres[::5] = np.rint(centres[::5])  # on and off the grid in one list
    centres[1] = [1.5, 2.5, -0.5]  # as far from voxels as can be
    radius = 1.7 * np.linalg.norm(affine[:3, 0])
    neighbours = sphere_neighbours(mask, affine, radius, centres=centres)
    assert lists(neighbours) == naive_spheres(mask, affine, radius, centres)
    assert neighbours.sizes.min() == 0


@pytest.mark.parametrize("radius", [4, 30, 1e5])
@pytest.mark.parametrize("shift", [0, 0.25])
def test_a_radius_beyond_the_volume_takes_every_voxel(radius, shift):
    centres = np.argwhere(np.ones((3, 2, 2))) + shift
    assert sphere_neighbours(np.ones((3, 2, 2)), np.eye(4), radius, centres).sizes.tolist() == [12] * 12


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("in_voxels", [1, 2, 2.9, 3])
def test_agrees_with_nilearn_on_2_and_3_mm_grids(size, in_voxels):
    masker = pytest.importorskip("nilearn.maskers.nifti_spheres_masker", reason="nilearn is an oracle")
    nib = pytest.importorskip("nibabel")
    mask = np.random.default_rng(4).random((8, 7, 6)) < 0.8
    affine = make_affine(size * np.eye(3), (-9 * size, 4 * size, -2 * size))
    seeds = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    _, theirs = masker.apply_mask_and_get_affinity(seeds, None, size * in_voxels, True, image)
    assert lists(sphere_neighbours(mask, affine, size * in_voxels)) == [list(row) for row in theirs.rows]


# Any geometry

masks = hnp.arrays(bool, st.tuples(*[st.integers(1, 4)] * 3)).filter(np.any)
diagonals = st.tuples(*[st.floats(0.5, 4) for _ in range(3)])
turns = st.tuples(*[st.floats(-180, 180) for _ in range(3)])
affines = st.builds(
    lambda turn, sizes, flips: make_affine(rotation(*turn) @ np.diag(np.multiply(sizes, flips))),
    turns,
    diagonals,
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
)
radii = st.floats(0, 6)
geometry = settings(max_examples=30, deadline=None, derandomize=True, database=None)


@geometry
@given(masks, affines, radii)
def test_any_geometry_equals_brute_force(mask, affine, radius):
    neighbours = sphere_neighbours(mask, affine, radius)
    assert lists(neighbours) == naive_spheres(mask, affine, radius, np.argwhere(mask))
    assert (neighbours.indptr.dtype, neighbours.indices.dtype) == (np.int64, np.int32)
    assert all((np.diff(members) > 0).all() for members in lists(neighbours))  # sorted, and none twice


@geometry
@given(masks, affines, radii, hnp.arrays(float, (3, 3), elements=st.floats(-3, 6)))
def test_any_centres_equal_brute_force(mask, affine, radius, centres):
    neighbours = sphere_neighbours(mask, affine, radius, centres=centres)
    assert lists(neighbours) == naive_spheres(mask, affine, radius, centres)


@geometry
@given(masks, affines, radii)
def test_v_is_in_the_sphere_of_c_when_c_is_in_the_sphere_of_v(mask, affine, radius):
    matrix = sphere_neighbours(mask, affine, radius).to_sparse().toarray()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert matrix.diagonal().all()


@geometry
@given(masks, affines, radii, radii)
def test_a_larger_radius_keeps_all_members(mask, affine, one, other):
    small, large = (
        sphere_neighbours(mask, affine, r).to_sparse().toarray() for r in (min(one, other), max(one, other))
    )
    assert large[small].all()


@geometry
@given(masks, affines, radii, st.tuples(*[st.floats(-1e4, 1e4)] * 3))
def test_moving_the_origin_changes_nothing(mask, affine, radius, offset):
    moved = make_affine(affine[:3, :3], offset)
    assert_identical(sphere_neighbours(mask, affine, radius), sphere_neighbours(mask, moved, radius))


@geometry
@given(masks, turns, st.sampled_from([0.7, 1.0, 2.4, 3.3]), st.sampled_from([1, 2, 3]))
def test_turning_the_head_changes_nothing_even_on_the_shells(mask, turn, size, in_voxels):
    straight = sphere_neighbours(mask, make_affine(size * np.eye(3)), size * in_voxels)
    turned = sphere_neighbours(mask, make_affine(size * rotation(*turn)), size * in_voxels)
    assert_identical(straight, turned)


# Centres, blocks, subsets


def test_a_boolean_array_of_centres_means_its_voxels_in_c_order():
    centres = np.zeros(FULL.shape, bool)
    centres[4, 0, 1] = centres[0, 3, 2] = centres[0, 3, 0] = True
    by_mask = sphere_neighbours(FULL, np.eye(4), 1, centres=centres)
    assert_identical(by_mask, sphere_neighbours(FULL, np.eye(4), 1, centres=[[0, 3, 0], [0, 3, 2], [4, 0, 1]]))


def test_a_centre_outside_the_mask_is_no_member_of_its_sphere():
    mask = FULL.copy()
    mask[2, 2, 2] = False
    neighbours = sphere_neighbours(mask, np.eye(4), 1, centres=[[2, 2, 2], [-1, 0, 0], [-2, 0, 0], [99, 99, 99]])
    assert neighbours.sizes.tolist() == [6, 1, 0, 0]
    assert neighbours[1].tolist() == [0]


@pytest.mark.parametrize("seed", range(3))
def test_a_subset_of_centres_has_the_spheres_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((6, 6, 6)) < 0.6
    chosen = mask & (rng.random(mask.shape) < 0.2)
    whole = sphere_neighbours(mask, AFFINES["oblique"], 5)
    part = sphere_neighbours(mask, AFFINES["oblique"], 5, centres=chosen)
    expected = [members for members, kept in zip(lists(whole), chosen[mask], strict=True) if kept]
    assert len(expected) > 3
    assert lists(part) == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float32])
def test_centres_may_be_numbers_of_any_kind(dtype):
    mask = np.zeros((9, 8, 7), bool)
    mask[3:7, 2:5, 4:] = True  # spheres reach beyond the box around the mask
    centres = np.argwhere(np.ones(mask.shape))
    expected = sphere_neighbours(mask, AFFINES["oblique"], 4.0, centres + 0.0)
    found = sphere_neighbours(mask, AFFINES["oblique"], 4.0, centres.astype(dtype))
    assert lists(found) == lists(expected)
    assert found.centres.dtype == np.float64
    np.testing.assert_array_equal(plan_spheres(mask, AFFINES["oblique"], 4.0, centres).sizes(), expected.sizes)


@pytest.mark.parametrize("edges", [[0, 1, 2, 50, 125], [0, 0, 60, 125, 125], list(range(126))])
@pytest.mark.parametrize("between_voxels", [False, True])
def test_blocks_joined_are_the_whole_bit_for_bit(edges, between_voxels):
    centres = np.argwhere(FULL) + (np.linspace(-0.4, 0.4, 125)[:, None] if between_voxels else 0)
    plan = plan_spheres(FULL, AFFINES["oblique"], 4.0, centres)
    whole = sphere_neighbours(FULL, AFFINES["oblique"], 4.0, centres)
    assert len(plan) == len(whole) == 125
    for source in (plan, whole):
        parts = [source.block(a, b) for a, b in itertools.pairwise(edges)]
        joined = Neighbours(
            np.concatenate([[0], np.cumsum(np.concatenate([part.sizes for part in parts]))]),
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.centres for part in parts]),
            plan.n_voxels,
        )
        assert_identical(joined, whole)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)), st.data())
def test_coordinates_of_a_mask_made_piece_by_piece(mask, data):
    centres, expected = VoxelCentres(mask), np.argwhere(mask)
    assert len(centres) == len(expected)
    for _ in range(4):  # in any order: what was made last is kept
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(expected) + 1)] * 2)))
        np.testing.assert_array_equal(centres[start:stop], expected[start:stop])
    np.testing.assert_array_equal(centres[:], expected)
    held, until, kept = centres._last
    assert until - held <= 2
    assert len(kept) <= np.count_nonzero(mask[held:until])


def test_coordinates_beyond_two_bytes():
    mask = np.zeros((40_000, 1, 2), bool)
    mask[::7] = True
    expected = np.argwhere(mask)
    centres = VoxelCentres(mask)
    for start in (0, 5_000, 11_000):
        np.testing.assert_array_equal(centres[start : start + 30], expected[start : start + 30])


@pytest.mark.parametrize("planes", [[0, 1, 2, 3, 4], [1, 4], [2]])
def test_centres_of_a_mask_are_those_of_its_coordinates(planes):
    mask = np.zeros_like(FULL)
    mask[planes] = True
    plan = plan_spheres(FULL, AFFINES["oblique"], 4.0, mask)
    expected = sphere_neighbours(FULL, AFFINES["oblique"], 4.0, np.argwhere(mask))
    assert_identical(plan.block(0, len(plan)), expected)
    assert_identical(plan.between(3, 20).block(0, 9), plan.block(3, 12))
    np.testing.assert_array_equal(plan.sizes(), expected.sizes)


def test_single_spheres_are_reached_by_number():
    neighbours = sphere_neighbours(FULL, np.eye(4), 1)
    assert neighbours[-1].tolist() == neighbours[124].tolist() == [99, 119, 123, 124]
    for beyond in (125, -126):
        with pytest.raises(IndexError, match=f"centre {beyond} of 125"):
            neighbours[beyond]


def test_any_mask_that_numpy_reads_is_non_zero_inside():
    expected = sphere_neighbours(FULL, np.eye(4), 1)
    for mask in (FULL.astype(">f4") * 0.5, np.asfortranarray(FULL), FULL[::-1], FULL.astype(np.uint8).tolist()):
        assert_identical(sphere_neighbours(mask, np.eye(4).tolist(), np.float32(1)), expected)


# Sparse matrices


@pytest.mark.parametrize("form", ["csr", "csc", "lil", "coo", "dok"])
@pytest.mark.parametrize("flavour", ["array", "matrix"])
def test_a_sparse_matrix_of_any_format_becomes_neighbours(form, flavour):
    dense = np.random.default_rng(5).random((6, 9)) < 0.4
    dense[2] = False
    neighbours = Neighbours.from_sparse(getattr(sparse, f"{form}_{flavour}")(dense))
    assert lists(neighbours) == [np.flatnonzero(row).tolist() for row in dense]
    assert (neighbours.n_voxels, neighbours.centres.shape) == (9, (6, 0))
    assert (neighbours.indptr.dtype, neighbours.indices.dtype) == (np.int64, np.int32)
    np.testing.assert_array_equal(neighbours.to_sparse().toarray(), dense)


def test_spheres_survive_the_way_through_a_sparse_matrix():
    neighbours = sphere_neighbours(FULL, np.eye(4), 2)
    assert lists(Neighbours.from_sparse(neighbours.to_sparse())) == lists(neighbours)


def test_stored_zeros_are_members_and_repeats_are_one():
    stored = sparse.coo_array(([0.0, 1.0, 2.0, 3.0], ([0, 0, 1, 1], [3, 1, 2, 2])), shape=(2, 4))
    assert lists(Neighbours.from_sparse(stored)) == [[1, 3], [2]]


def test_an_unsorted_matrix_is_sorted_and_left_as_it_was():
    given_matrix = sparse.csr_array((np.ones(3), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(2, 3))
    assert lists(Neighbours.from_sparse(given_matrix)) == [[0, 2], [1]]
    assert given_matrix.indices.tolist() == [2, 0, 1]


# What is refused

SINGULAR = np.diag([2.0, 0.0, 2.0, 1.0])
NOT_FINITE = make_affine(np.eye(3), (np.nan, 0, 0))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"mask": np.ones((3, 3))}, ValueError, r"mask must be a 3-D array, got shape \(3, 3\)"),
        ({"mask": np.ones((3, 3, 3, 2))}, ValueError, r"mask must be a 3-D array, got shape \(3, 3, 3, 2\)"),
        ({"mask": np.zeros((3, 3, 3))}, ValueError, "mask is empty: no voxel is true"),
        ({"affine": np.eye(3)}, ValueError, r"affine must have shape \(4, 4\), got \(3, 3\)"),
        ({"affine": SINGULAR}, ValueError, "affine must be finite and invertible"),
        ({"affine": NOT_FINITE}, ValueError, "affine must be finite and invertible"),
        ({"radius": -1}, ValueError, r"radius must be finite and not negative, got -1.0 mm"),
        ({"radius": np.nan}, ValueError, "radius must be finite and not negative, got nan mm"),
        ({"radius": np.inf}, ValueError, "radius must be finite and not negative, got inf mm"),
        ({"radius": "4"}, TypeError, "radius must be a number of mm, got '4'"),
        ({"radius": None}, TypeError, "radius must be a number of mm, got None"),
        ({"radius": True}, TypeError, "radius must be a number of mm, got True"),
        ({"centres": np.ones((2, 2, 2), bool)}, ValueError, r"shape \(2, 2, 2\), the mask has shape \(5, 5, 5\)"),
        ({"centres": [1, 2, 3]}, ValueError, r"\(n_centres, 3\), got shape \(3,\)"),
        ({"centres": [[1, 2]]}, ValueError, r"\(n_centres, 3\), got shape \(1, 2\)"),
        ({"centres": [[1, 2, np.nan]]}, ValueError, "centres must be finite numbers"),
        ({"centres": [["a", "b", "c"]]}, ValueError, "centres must be finite numbers"),
    ],
)
@pytest.mark.parametrize("function", [sphere_neighbours, plan_spheres])
def test_bad_input(function, changed, error, message):
    with pytest.raises(error, match=message):
        function(**{"mask": FULL, "affine": np.eye(4), "radius": 1.0, **changed})


@pytest.mark.parametrize("segment", [1, 64])
@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_spheres_on_what_they_reach_are_the_same_spheres(shift, segment):
    rng = np.random.default_rng(0)
    mask = rng.random((20, 21, 22)) < 0.7
    centres = np.array([[3.0, 4, 5], [17, 2, 20], [4, 4, 5]]) + shift
    spheres = plan_spheres(mask, np.eye(4), 2.5, centres)
    reached = spheres.reached(segment)
    assert np.count_nonzero(reached) < np.count_nonzero(mask) / 4
    assert not (reached & ~mask).any()
    rows = np.flatnonzero(reached[mask])  # of the matrix of all voxels
    assert set(spheres.block(0, 3).indices) <= set(rows)
    assert segment > 1 or set(spheres.block(0, 3).indices) == set(rows)
    part = spheres.within(reached)
    assert part.n_voxels == len(rows)
    for alone, whole in zip(lists(part.block(0, 3)), lists(spheres.block(0, 3)), strict=True):
        assert rows[alone].tolist() == whole
    # Whole segments, so that a voxel has the same place in its segment.
    np.testing.assert_array_equal(rows % segment, np.arange(len(rows)) % segment)
    np.testing.assert_array_equal(plan_spheres(mask, np.eye(4), 2.5).reached(segment), mask)


@pytest.mark.parametrize(("radius", "single", "whole"), [(0, 1, 0), (1.9, 1, 0), (2, 0, 0), (6.9, 0, 0), (7, 0, 1)])
def test_spheres_of_one_voxel_and_of_all_are_known_unlisted(radius, single, whole):
    spheres = plan_spheres(np.ones((3, 3, 2)), np.diag([2, 3, 2, 1]), radius)  # corners are 7.5 mm apart
    spheres_of_corners = plan_spheres(np.ones((2, 2, 2)), np.diag([2, 3, 6, 1]), radius)  # exactly 7 mm
    assert spheres.are_single_voxels == spheres_of_corners.are_single_voxels == bool(single)
    assert not spheres.are_whole_mask()
    assert spheres_of_corners.are_whole_mask() == bool(whole)


def test_a_sphere_between_voxels_is_no_single_voxel():
    assert not plan_spheres(np.ones((3, 3, 3)), np.eye(4), 0.9, [[0.5, 0, 0]]).are_single_voxels


def test_spheres_that_reach_nothing_leave_the_mask_as_it_is():
    spheres = plan_spheres(FULL, np.eye(4), 1.0, [[50.0, 0, 0]])
    np.testing.assert_array_equal(spheres.reached(), FULL)
