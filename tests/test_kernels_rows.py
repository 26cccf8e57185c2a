"""Scalar products of rows, by vectors and one number after the other."""

import math

import numba as nb
import numpy as np
import pytest

from fastsl._kernels.rows import dot


@nb.njit
def _dot(a, b):
    return dot(a, b)


@pytest.mark.parametrize("n", [*range(36), 63, 64, 65, 120, 257])
def test_scalar_products_are_exact_to_rounding_and_read_nothing_more(n):
    rng = np.random.default_rng(n)
    a, b = (np.r_[np.nan, rng.standard_normal(n), np.nan][1:-1] for _ in range(2))
    products = [float(x) * float(y) for x, y in zip(a, b, strict=True)]
    tolerance = (n + 1) * np.finfo(float).eps * sum(map(abs, products))
    assert abs(_dot(a, b) - math.fsum(products)) <= tolerance


@pytest.mark.parametrize("n", [5, 16, 37])
def test_scalar_products_are_the_same_wherever_rows_begin(n):
    a, b = np.random.default_rng(n).standard_normal((2, n))
    room = np.empty(n + 9)
    found = set()
    for start in range(9):
        part = room[start : start + n]
        part[:] = a
        found.add(_dot(part, b))
    assert len(found) == 1


def test_rows_with_gaps_and_of_float32_have_products_too():
    A = np.random.default_rng(0).standard_normal((30, 4))
    np.testing.assert_allclose(_dot(A[:, 1], A[:, 2]), A[:, 1] @ A[:, 2], rtol=1e-13)
    single = A[:, 3].astype(np.float32)
    np.testing.assert_allclose(_dot(np.ascontiguousarray(A[:, 0]), single), A[:, 0] @ single.astype(float), rtol=1e-13)


def test_a_number_that_is_none_is_none_in_the_product():
    for place in (0, 15, 16, 20):
        a, b = np.ones(21), np.ones(21)
        a[place] = np.nan
        assert math.isnan(_dot(a, b))
