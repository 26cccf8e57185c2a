"""p values and moments against their definitions, and that p values are as small as often as they should be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastsl.permutation.inference import null_moments, p_fwe, p_uncorrected, z_scores


def test_p_uncorrected_by_its_formula():
    np.testing.assert_array_equal(p_uncorrected([0, 1, 999, np.nan], 999), [0.001, 0.002, 1.0, np.nan])
    assert p_uncorrected(np.array([[3]], np.uint16), 9).tolist() == [[0.4]]
    assert np.isnan(p_uncorrected(np.full(3, np.nan), 5)).all()


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(0, 8), elements=st.sampled_from([np.nan, 0.0, 0.5, 0.7, 1.0])),
    hnp.arrays(np.float64, st.integers(1, 8), elements=st.sampled_from([0.0, 0.5, 0.6, 0.7, 1.0, -np.inf])),
)
def test_p_fwe_by_counting(observed, null_max):
    expected = [(np.count_nonzero(null_max >= x) + 1) / (len(null_max) + 1) for x in observed]
    np.testing.assert_array_equal(p_fwe(observed, null_max), np.where(np.isnan(observed), np.nan, expected))


def test_a_permutation_without_a_maximum_counts_against():
    assert p_fwe([5.0], [1.0, np.nan, 2.0]).tolist() == [0.5]
    assert p_fwe([5.0, np.nan], [np.nan, np.nan])[0] == 1.0


def test_ties_survive_the_rounding_of_the_null():
    null_max = np.full(9, 0.7, np.float32)
    assert float(np.float32(0.7)) < 0.7
    assert p_fwe([0.7], null_max).tolist() == [1.0]
    assert p_fwe([0.7], null_max.astype(np.float64)).tolist() == [0.1]


def test_p_fwe_of_exchangeable_maps_is_uniform():
    """P(p <= k / (n + 1)) = k / (n + 1) for continuous maxima, whatever the correlation of the centres."""
    rng = np.random.default_rng(0)
    n, n_sets = 19, 4000
    maps = rng.standard_normal((n_sets, n + 1, 12)) + rng.standard_normal((n_sets, n + 1, 1))
    maxima = maps.max(axis=2)
    p = np.array([p_fwe(m[0], m[1:]) for m in maxima])
    for k in (1, 2, 5, 10):
        rate, expected = (p <= k / 20 + 1e-12).mean(), k / 20
        assert abs(rate - expected) < 4 * np.sqrt(expected * (1 - expected) / n_sets)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", int])
def test_moments_by_numpy(dtype):
    null = np.random.default_rng(1).normal(5, 2, (30, 7)).astype(dtype)
    observed = np.arange(7.0)
    mean, sd = null_moments(null)
    np.testing.assert_allclose(mean, null.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sd, null.astype(float).std(axis=0, ddof=1), rtol=1e-12)
    mean, sd = null_moments(null, observed)
    every = np.vstack([null.astype(float), observed])
    np.testing.assert_allclose(mean, every.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sd, every.std(axis=0, ddof=1), rtol=1e-12)


def test_a_constant_null_has_an_sd_of_0():
    for value in (0.1, 1 / 3, 1e6):
        assert null_moments(np.full((37, 2), value, np.float32))[1].tolist() == [0.0, 0.0]


def test_z_where_there_is_none():
    scores = [0.9, 0.9, 0.9, np.nan, np.inf, 0.9]
    sd = [0.1, 0.0, np.nan, 0.1, 0.1, 1e-9]
    found = z_scores(scores, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], sd)
    np.testing.assert_allclose(found, [4, 0, 0, np.nan, np.nan, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: p_uncorrected([1], 0), "n must be at least 1 permutation, got 0"),
        (lambda: p_uncorrected([1, 12], 9), "between 0 and the number of permutations, n=9, got 12"),
        (lambda: p_uncorrected([-1], 9), "n=9, got -1"),
        (lambda: p_fwe([1], []), r"null_max must hold one value a permutation, .*got \(0,\)"),
        (lambda: p_fwe([1], [[1]]), r"got \(1, 1\)"),
        (lambda: null_moments([1, 2]), r"null must have shape \(n_permutations, n_centres\).*got \(2,\)"),
        (lambda: null_moments(np.zeros((0, 3))), r"got \(0, 3\)"),
        (lambda: null_moments(np.zeros((1, 3))), "at least two maps"),
        (lambda: null_moments(np.zeros((4, 3)), np.zeros(2)), r"shape \(2,\) but the null has 3 centres"),
    ],
)
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
