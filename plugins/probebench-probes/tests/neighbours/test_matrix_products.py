"""Products against float64: no computed product is below its lower bound, and the largest are found."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probebench_probes.neighbours.matrix_products import Bf16Products, Fp32Products, below, largest


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def both(vectors, offset):
    rounded = Bf16Products(*vectors.shape)
    half = len(vectors) // 2
    rounded.put(slice(0, half), vectors[:half], offset[:half])
    rounded.put(slice(half, None), vectors[half:], offset[half:])
    return Fp32Products(vectors.float(), offset.float()), rounded


@pytest.mark.parametrize("dimensions", [1, 7, 256])
@pytest.mark.parametrize("large", [0.0, 1.0, 100.0])
def test_no_product_is_computed_below_its_lower_bound(dimensions, large):
    vectors, queries = noise(500, dimensions), noise(40, dimensions, seed=1)
    vectors[:, 0] *= 1 + large  # so that sums lose what small terms add
    offset = large * noise(500, seed=2)
    offset -= offset.mean()
    exact = queries @ vectors.T + offset
    for products in both(vectors, offset):
        computed, index = products.best(queries, 60)
        known = computed.isfinite().all(1)
        assert known.any()
        longest = torch.linalg.vector_norm(vectors, dim=1)
        for rank in range(60):
            at = index[:, rank, None]
            bound = products.lower_bound(exact.gather(1, at)[:, 0], queries, longest[at[:, 0]])
            assert (computed[known, rank] >= bound[known]).all()


def test_the_bf16_bound_is_close():
    """About four times the largest error of 500 vectors, so that few candidates remain within it."""
    vectors, queries = noise(500, 64), noise(1, 64, seed=1)
    _, products = both(vectors, torch.zeros(500, dtype=torch.float64))
    value = torch.zeros(1, dtype=torch.float64)
    longest = torch.linalg.vector_norm(vectors, dim=1).max()[None]
    bound = -products.lower_bound(value, queries, longest)
    length = float(torch.linalg.vector_norm(queries)) * float(longest)
    assert 0 < float(bound) < 2**-7 * length


def test_queries_without_enough_positive_products_are_unknown():
    vectors = noise(50, 4)
    _, products = both(vectors, torch.zeros(50, dtype=torch.float64))
    values, _ = products.best(noise(3, 4, seed=1), 50)
    assert values.isposinf().all()


def test_an_offset_keeps_the_digits_of_fp32():
    offset = noise(50) + 3
    products = both(torch.zeros(50, 4, dtype=torch.float64), offset)[1]
    stored = products._vectors[:, 4:].double().sum(1)
    assert torch.allclose(stored, offset, rtol=2.0**-22, atol=0)


@settings(deadline=None)
@given(st.floats(-1e30, 1e30))
def test_rounding_down_gives_the_next_lower_float32(value):
    exact = torch.tensor([value], dtype=torch.float64)
    rounded = below(exact)
    assert float(rounded) <= value
    assert float(torch.nextafter(rounded, torch.tensor(torch.inf))) >= value


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 700), st.booleans(), st.booleans(), st.integers(0, 99), st.data())
def test_the_largest_are_those_of_a_full_sort(rows, columns, tied, integers, seed, data):
    k = data.draw(st.integers(1, min(columns, 12)))
    values = noise(rows, columns, seed=seed)
    values = values.round() if tied else values
    values = (1000 * values).short() if integers else values
    found, index = largest(values, k)
    assert torch.equal(found, values.sort(1, descending=True).values[:, :k])
    assert torch.equal(values.gather(1, index), found)
    assert all(len(set(row)) == k for row in index.tolist())
