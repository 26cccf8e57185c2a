"""What neighbouring spheres have in common, summed once: which voxels these are, and that nobody can tell."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.svm import LinearSVC

from fastsl import Neighbours, search_light, sphere_neighbours
from fastsl._kernels.block import Block
from fastsl._kernels.shared_gram import nothing_at_hand, sphere_gram
from fastsl.decoders import local
from fastsl.extend import BlockMetric
from fastsl.neighbours import plan_spheres
from fastsl.shared import group_spheres

SHAPE = (7, 9, 8)
rng = np.random.default_rng(0)
MASK = rng.random(SHAPE) < 0.9
AFFINES = {
    "cubes": np.diag([2.0, 2.0, 2.0, 1.0]),
    "slabs": np.diag([-2.0, 1.5, 3.0, 1.0]),
    "oblique": np.array([[2.0, 0.3, 0, 9], [-0.2, 2, 0.4, -7], [0.1, 0, 2.2, 0], [0, 0, 0, 1]]),
}
RADIUS = 6.0
every_affine = pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)


def whole_grid(affine):
    """Spheres around every voxel of the grid, the mask's or not: so that every group is complete but at the edges."""
    return sphere_neighbours(MASK, affine, RADIUS, np.ones(MASK.shape, bool))


@every_affine
def test_levels_say_who_else_has_a_voxel(affine):
    neighbours = whole_grid(affine)
    members = {tuple(c.astype(int)): set(neighbours[i]) for i, c in enumerate(neighbours.centres)}
    seen = set()
    for i, (x, y, z) in enumerate(neighbours.centres.astype(int)):
        if y // 2 * 2 + 1 >= MASK.shape[1]:  # the last row has no partner
            continue
        expected = np.zeros(len(neighbours[i]), int)
        for level, (along_y, along_z) in enumerate([(1, 2), (2, 2), (2, 4)], start=1):
            ys, zs = (
                range(c // along * along, c // along * along + along) for c, along in ((y, along_y), (z, along_z))
            )
            of_all = set.intersection(*(members[x, b, c] for b, c in itertools.product(ys, zs)))
            expected[[v in of_all for v in neighbours[i]]] = level
        found = neighbours.levels[neighbours.indptr[i] : neighbours.indptr[i + 1]]
        np.testing.assert_array_equal(found, expected)
        seen.update(expected)
    assert seen == ({0, 1, 2} if affine is AFFINES["slabs"] else {0, 1, 2, 3})  # no sphere reaches over four slabs


@every_affine
def test_order_puts_groups_together(affine):
    neighbours = whole_grid(affine)
    order, levels, groups = group_spheres(neighbours.centres, neighbours.levels)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(neighbours)))
    assert levels is neighbours.levels
    c = neighbours.centres.astype(int)
    for numbers, extent, most in zip(groups.T, ([1, 1, 2], [1, 2, 2], [1, 2, 4]), (2, 4, 8), strict=True):
        runs = [len(list(run)) for _, run in itertools.groupby(numbers[order])]
        assert len(runs) == len(np.unique(numbers))
        assert set(runs) <= {most, most // 2}  # half of them at the last of an odd number of rows
        same = (c[:, None] // extent == c // extent).all(axis=2)
        np.testing.assert_array_equal(numbers[:, None] == numbers, same)


def test_centres_between_voxels_and_small_spheres_share_nothing():
    between = sphere_neighbours(MASK, AFFINES["cubes"], RADIUS, np.array([[3.5, 4.0, 4.0], [3.0, 4.0, 4.0]]))
    first, second = (between.levels[between.indptr[i] : between.indptr[i + 1]] for i in range(2))
    assert not first.any()
    assert second.any()
    assert sphere_neighbours(MASK, AFFINES["cubes"], 4.0).levels.size == 0


@every_affine
def test_gram_products_are_those_of_all_voxels_whatever_is_at_hand(affine):
    neighbours = whole_grid(affine)
    X = rng.standard_normal((neighbours.n_voxels, 12)).astype(np.float32)
    order, levels, groups = group_spheres(neighbours.centres, neighbours.levels)
    B, n = np.empty((neighbours.sizes.max(), 12)), X.shape[1]

    def product(i, cores, at_hand):
        G, part = np.zeros((n, n)), slice(neighbours.indptr[i], neighbours.indptr[i + 1])
        sphere_gram(X, neighbours.indices[part], levels[part], groups[i], B, cores, at_hand, G)
        return np.triu(G)

    kept = nothing_at_hand(n, True)
    for i in order[:: max(1, len(order) // 200)].tolist() + order[100:140].tolist():
        found = product(i, *kept)
        Z = X[neighbours[i]].astype(float)
        np.testing.assert_allclose(found, np.triu(Z.T @ Z), rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(product(i, *nothing_at_hand(n, True)), found)


@BlockMetric
def weighted_sum(held_out):
    """Weigh decision values by position: any change of any bit shows."""
    values = held_out.values.reshape(len(held_out.values), -1)
    return (values * np.cos(np.arange(1, values.shape[1] + 1))).sum(axis=1)


@pytest.mark.parametrize("first", ["on the grid", "between"])
def test_centres_between_voxels_take_nothing_from_those_on_the_grid(first):
    """Nearest to the voxels of the same group as the others are, and decoded before or after them."""
    on_grid = np.add(list(np.ndindex(1, 2, 4)), [3.0, 4.0, 4.0])
    between = np.add(on_grid, [0.0, 0.2, 0.4])
    centres = np.concatenate([on_grid, between] if first == "on the grid" else [between, on_grid])
    X, y = rng.standard_normal((24, np.count_nonzero(MASK))), np.arange(24) % 2
    neighbours = sphere_neighbours(MASK, AFFINES["cubes"], RADIUS, centres)
    assert neighbours.levels.any()

    def values(neighbours):
        return search_light(X, y, RidgeClassifier(), neighbours, scoring=weighted_sum, cv=KFold(4), n_jobs=1)

    together = values(neighbours)
    alone = [values(neighbours.take(np.array([i])))[0] for i in range(len(centres))]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(together, values(Neighbours.from_sparse(neighbours.to_sparse())), rtol=1e-9)


@pytest.mark.parametrize("estimator", [RidgeClassifier(), LinearSVC()], ids=["ridge", "svc"])
def test_scores_do_not_depend_on_which_spheres_are_decoded_together(estimator):
    y, X = np.arange(24) % 2, rng.standard_normal((24, np.count_nonzero(MASK)))
    X += 0.2 * y[:, None]
    whole = sphere_neighbours(MASK, AFFINES["cubes"], RADIUS)
    assert whole.levels.any()

    def values(neighbours):
        return search_light(X, y, estimator, neighbours, scoring=weighted_sum, cv=KFold(4), n_jobs=1)

    expected = values(whole)
    some = rng.permutation(len(whole))[:40]
    np.testing.assert_array_equal(values(whole.take(some)), expected[some])
    block = plan_spheres(MASK, AFFINES["cubes"], RADIUS).block(101, 140)
    np.testing.assert_array_equal(values(block), expected[101:140])
    alone = Neighbours.from_sparse(whole.to_sparse())
    assert alone.levels.size == 0
    np.testing.assert_allclose(values(alone), expected, rtol=0, atol=1e-9)


def test_spheres_that_share_nothing_have_the_same_members():
    sharing = plan_spheres(MASK, AFFINES["cubes"], RADIUS)
    alone, whole = sharing.alone().block(0, len(sharing)), sharing.block(0, len(sharing))
    assert whole.levels.any()
    assert alone.levels.size == 0
    for name in ("indptr", "indices", "centres"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name))
    order, _, groups = group_spheres(alone.centres, alone.levels)
    np.testing.assert_array_equal(order, np.arange(len(whole)))
    assert len(groups) == 0


def new_segments(table, plan, size):
    """How many segments are tabulated for all spheres, ``size`` at a time."""
    X, n = table.X, 0
    for start in range(0, len(plan), size):
        spheres = plan.block(start, start + size)
        for *_, new in table.parts(Block(X, np.zeros(len(X)), spheres.indptr, spheres.indices, 0.0, 0, 1)):
            n += len(new)
    return n


@pytest.mark.parametrize("size", [1, 16, 32, 64])
def test_a_table_of_all_planes_but_one_that_a_sphere_reaches_tabulates_nothing_twice(monkeypatch, size):
    monkeypatch.setattr(local, "TABLE_BYTES", 10 * local.SEGMENT)
    plan = plan_spheres(np.ones((20, 8 * local.SEGMENT // 32, 8)), AFFINES["cubes"], 4.0)  # five planes of two segments
    table = local.SegmentTable(np.zeros((plan.n_voxels, 1), np.float32), 1)
    assert new_segments(table, plan, size) == plan.n_voxels // local.SEGMENT


def test_a_table_takes_no_more_than_it_must(monkeypatch):
    plan = plan_spheres(np.ones((20, 8 * local.SEGMENT // 32, 8)), AFFINES["cubes"], 4.0)
    table = local.SegmentTable(np.zeros((plan.n_voxels, 1), np.float32), 1)
    assert new_segments(table, plan, 16) == plan.n_voxels // local.SEGMENT == 40
    assert table.n_rows == plan.n_voxels
    assert len(np.unique(np.arange(plan.n_voxels)[:: local.SEGMENT] + table.shift)) <= 11


def test_many_spheres_have_a_larger_table_than_few(monkeypatch):
    monkeypatch.setattr(local, "FEW_BYTES", 20 * local.SEGMENT)
    monkeypatch.setattr(local, "FEW", 100)
    plan = plan_spheres(np.ones((20, 8 * local.SEGMENT // 32, 8)), AFFINES["cubes"], 4.0)
    table = local.SegmentTable(np.zeros((plan.n_voxels, 1), np.float32), 1)
    new_segments(table, plan, 99)
    assert table.n_rows == 20 * local.SEGMENT
    new_segments(table, plan, 100)
    assert table.n_rows == plan.n_voxels


@pytest.mark.parametrize("estimator", [GaussianNB(), NearestCentroid()], ids=["gnb", "centroid"])
def test_tables_that_hold_a_part_of_a_block_know_its_spheres(monkeypatch, estimator):
    y, X = np.arange(24) % 2, rng.standard_normal((24, np.count_nonzero(MASK)))
    whole = sphere_neighbours(MASK, AFFINES["cubes"], RADIUS)
    assert whole.levels.any()

    def values():
        return search_light(X, y, estimator, whole, scoring=weighted_sum, cv=KFold(4), n_jobs=1)

    expected = values()
    monkeypatch.setattr(local, "TABLE_BYTES", 2**17)
    np.testing.assert_array_equal(values(), expected)
