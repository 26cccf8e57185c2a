"""What permuted targets keep and what they change, against counting and brute force."""

import itertools
import math
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsl.permutation.schemes import SCHEMES, permuted_targets

RUNS = np.repeat(np.arange(6), 8)
LABELS = np.tile(["face", "house", "cat", "cat"], 12)
VALUES = np.random.default_rng(5).normal(3.0, 1.0, 48)


def permute(y=LABELS, n=20, scheme="within_groups", groups=RUNS, random_state=0, **options):
    return permuted_targets(y, n, scheme, groups, random_state, **options)


def rows(array):
    return {tuple(row) for row in array.tolist()}


def same_counts(a, b):
    return Counter(np.asarray(a).tolist()) == Counter(np.asarray(b).tolist())


# What each scheme keeps


@pytest.mark.parametrize(
    "y", [LABELS, LABELS.astype(object), np.unique(LABELS, return_inverse=True)[1].astype(np.int8)]
)
def test_within_groups_keeps_the_counts_of_each_group(y):
    found = permute(y)
    assert found.shape == (20, 48)
    assert found.dtype == y.dtype
    assert len(rows(found)) == 20
    for row in found:
        for run in range(6):
            here = np.flatnonzero(np.equal(RUNS, run))
            assert same_counts(row[here], y[here])


def test_within_groups_follows_the_groups_whatever_the_order_of_samples():
    order = np.random.default_rng(1).permutation(48)
    names = np.array(["a", "b", "c", "d", "e", "f"])[RUNS]
    for row in permute(LABELS[order], groups=names[order]):
        for name in "abcdef":
            assert same_counts(row[names[order] == name], LABELS[names == name])


def test_without_groups_all_samples_are_exchanged():
    np.testing.assert_array_equal(permute(groups=None), permute(scheme="free"))
    found = permute(scheme="free")
    assert all(same_counts(row, LABELS) for row in found)
    assert any(not same_counts(row[:8], LABELS[:8]) for row in found)


def test_whole_groups_exchanges_blocks_in_their_order():
    y = np.repeat(["face", "house"], 24)
    y[[0, 9, 26]] = "cat"
    order = np.random.default_rng(2).permutation(48)  # runs interleaved
    blocks = Counter(tuple(y[order][RUNS[order] == run]) for run in range(6))
    found = permute(y[order], scheme="whole_groups", groups=RUNS[order])
    assert len(rows(found)) > 10
    for row in found:
        assert Counter(tuple(row[RUNS[order] == run]) for run in range(6)) == blocks


def test_sign_flip_turns_deviations_around():
    found = permute(VALUES, scheme="sign_flip", classifier=False)
    ratio = (found - VALUES.mean()) / (VALUES - VALUES.mean())
    np.testing.assert_allclose(np.abs(ratio), 1.0, rtol=1e-9)
    assert 0.4 < (ratio > 0).mean() < 0.6
    flipped = permute(np.arange(48), scheme="sign_flip", classifier=False)
    assert flipped.dtype == np.float64


def test_a_matrix_of_sample_numbers_is_taken_as_it_is():
    matrix = np.array([np.random.default_rng(p).permutation(48) for p in range(5)])
    np.testing.assert_array_equal(permute(n=5, scheme=matrix), LABELS[matrix])
    np.testing.assert_array_equal(permute(n=5, scheme=matrix.tolist(), classifier=True), LABELS[matrix])


# The set of rows


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_first_rows_of_many_are_the_rows_of_few(scheme):
    y, classifier = (VALUES, False) if scheme == "sign_flip" else (np.sort(LABELS), True)
    groups = np.arange(48) // 6 if scheme == "whole_groups" else np.arange(48) % 6
    many = permute(y, 40, scheme, groups, classifier=classifier)
    np.testing.assert_array_equal(many[:7], permute(y, 7, scheme, groups, classifier=classifier))


def test_the_seed_says_which_rows():
    np.testing.assert_array_equal(permute(), permute())
    assert rows(permute(random_state=1)) != rows(permute(random_state=2))
    state = np.random.RandomState(3)
    first, second = permute(random_state=state), permute(random_state=state)
    assert rows(first) != rows(second)
    np.testing.assert_array_equal(first, permute(random_state=np.random.RandomState(3)))
    assert rows(permute(random_state=None)) != rows(permute(random_state=None))


def test_rows_are_not_the_callers_y():
    y = LABELS.copy()
    permute(y)[:] = "dog"
    np.testing.assert_array_equal(y, LABELS)


def test_every_order_within_a_group_is_as_likely():
    y, groups = np.array([0, 1, 2, 0, 1]), np.array([0, 0, 0, 1, 1])
    drawn = Counter(
        tuple(row) for row in permuted_targets(np.r_[y, np.arange(9)], 6000, groups=np.r_[groups, [2] * 9])[:, :5]
    )
    assert len(drawn) == 12
    expected = 6000 / 12
    chi2 = sum((count - expected) ** 2 / expected for count in drawn.values())
    assert chi2 < 31.3, "the 99.9 % point of chi-square with 11 degrees of freedom"


# Few relabellings: all of them


def brute_force(y, groups, scheme):
    """Every distinct target that the scheme allows, y among them."""
    y, groups = np.asarray(y), np.asarray(groups)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    if scheme == "free":
        members = [np.arange(len(y))]
    if scheme == "whole_groups":
        choices = [np.concatenate(order) for order in itertools.permutations(members)]
    else:
        sets = [list(itertools.permutations(m)) for m in members]
        choices = [np.concatenate(order) for order in itertools.product(*sets)]
    found = set()
    for choice in choices:
        row = y.copy()
        row[np.concatenate(members)] = y[choice]
        found.add(tuple(row.tolist()))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
    st.permutations([0, 0, 1, 1, 2, 2]),
    st.sampled_from(["within_groups", "whole_groups", "free"]),
)
def test_where_there_are_few_relabellings_all_are_listed_once(y, groups, scheme):
    every = brute_force(y, groups, scheme)
    if len(every) == 1:
        with pytest.raises(ValueError, match="cannot change anything"):
            permuted_targets(y, 10, scheme, groups, classifier=False)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = permuted_targets(y, 1000, scheme, groups, classifier=False)
    assert len(found) == len(every) - 1
    assert rows(found) == every - {tuple(y)}


def test_the_warning_names_the_number_and_the_smallest_p():
    y, groups = [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2]
    with pytest.warns(UserWarning, match=r"8 distinct relabellings.*n_permutations=1000.*7 others.*1/8 = 0\.125"):
        assert len(permuted_targets(y, 1000, groups=groups)) == 7
    assert len(rows(permuted_targets(y, 7, groups=groups))) == 7, "all of them, no warning"
    assert len(permuted_targets(y, 6, groups=groups)) == 6, "drawn at random"


def test_flips_are_listed_without_those_that_change_nothing():
    with pytest.warns(UserWarning, match="4 distinct relabellings"):
        found = permuted_targets([1.0, 3.0, 2.0], 10, "sign_flip", classifier=False)
    assert rows(found) == {(1.0, 1.0, 2.0), (3.0, 3.0, 2.0), (3.0, 1.0, 2.0)}


def test_counting_does_not_overflow():
    y = np.repeat([0, 1], 500)
    assert permuted_targets(y, 3).shape == (3, 1000)
    blocks = [math.comb(6, 3) - 1, 6]
    with pytest.warns(UserWarning, match="20 distinct"):
        assert len(permuted_targets(np.repeat([0, 1], 24), 50, "whole_groups", RUNS)) == blocks[0]


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"scheme": "shuffle"},
            ValueError,
            "unknown permutation scheme 'shuffle'; choose one of 'within_groups', 'whole_",
        ),
        ({"n": 0}, ValueError, "n_permutations must be a whole number of at least 1, got 0"),
        ({"n": 2.5}, ValueError, "whole number of at least 1, got 2.5"),
        ({"n": True}, ValueError, "whole number of at least 1, got True"),
        ({"y": np.repeat(["a", "b"], 24)}, ValueError, "y is constant within each group.*'whole_groups'.*or 'free'"),
        ({"scheme": "whole_groups"}, ValueError, "every group holds the same targets.*Use scheme='within_groups'"),
        ({"scheme": "whole_groups", "groups": None}, ValueError, "give groups, the run of each sample"),
        (
            {"scheme": "whole_groups", "groups": np.r_[RUNS[:-1], 0]},
            ValueError,
            r"different numbers of samples \(0: 9, 1: 8, 2: 8, 3: 8, 4: 8, 5: 7\)",
        ),
        ({"groups": RUNS[1:]}, ValueError, "groups has shape"),
        ({"scheme": "sign_flip"}, ValueError, "labels have none: use 'within_groups'"),
        ({"scheme": "sign_flip", "classifier": False}, ValueError, "needs numbers, got y of dtype"),
        ({"y": np.full(48, 0.1), "scheme": "sign_flip", "classifier": False}, ValueError, "y is constant"),
        ({"y": np.full(48, 0.1), "scheme": "free", "classifier": False}, ValueError, "y is constant"),
        ({"y": np.zeros(48)}, ValueError, "one class only"),
        ({"y": np.zeros((48, 2))}, ValueError, "one-dimensional"),
        ({"y": None}, TypeError, "y is missing"),
        ({"scheme": np.zeros((20, 48))}, TypeError, "sample numbers, integers; got dtype float64"),
        ({"scheme": np.arange(48)}, ValueError, r"here \(n_permutations, 48\), got \(48,\)"),
        ({"scheme": np.tile(np.arange(47), (20, 1))}, ValueError, r"here \(n_permutations, 48\), got \(20, 47\)"),
        ({"scheme": np.tile(np.arange(48), (3, 1))}, ValueError, "n_permutations=20 but the matrix has 3 rows"),
        (
            {"scheme": np.vstack([np.tile(np.arange(48), (18, 1)), np.tile(np.arange(48) // 2, (2, 1))])},
            ValueError,
            "row 18 of the matrix is no permutation: each of the sample numbers 0 to 47.*2 of 20 rows",
        ),
    ],
)
def test_what_cannot_be_permuted_is_said(arguments, error, message):
    with pytest.raises(error, match=message):
        permute(**arguments)
