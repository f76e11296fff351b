"""The search against brute force in float64, especially where vectors tie."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probebench_probes.neighbours import matrix_products, search
from probebench_probes.neighbours.search import Bank


@pytest.fixture(params=["fp32", "bf16"], autouse=True)
def arithmetic(request, monkeypatch):
    """Runs every test with each kind of product, regardless of the processor."""
    monkeypatch.setattr(matrix_products.Bf16Products, "pays", lambda vectors: request.param == "bf16")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def brute_force(bank, queries, k, distance):
    """Index of the k nearest, ties in the order of positions: one pair at a time, in float64."""
    rows = []
    for query in queries.double():
        if distance == "euclidean":
            values = [-float((vector - query).square().sum()) for vector in bank.double()]
        else:
            lengths = [float(vector.norm()) * float(query.norm()) for vector in bank.double()]
            values = [float((vector * query).sum()) for vector in bank.double()]
            values = [value / length if length else 0.0 for value, length in zip(values, lengths, strict=True)]
        rows.append(sorted(range(len(bank)), key=lambda i: (-values[i], i))[:k])
    return torch.tensor(rows)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_neighbours_in_a_large_bank_are_those_of_float64(distance):
    bank, queries = noise(5000, 6), noise(4, 6, seed=1)  # enough vectors to compare them in groups
    bank[100:140] = bank[7]
    assert torch.equal(Bank(bank, distance).search(queries, 50).index, brute_force(bank, queries, 50, distance))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("shift", [0.0, 1.0, 1e3])
def test_neighbours_are_those_of_float64(distance, shift):
    bank, queries = noise(300, 16) + shift, noise(20, 16, seed=1) + shift
    found = Bank(bank, distance).search(queries, 40)
    assert torch.equal(found.index, brute_force(bank, queries, 40, distance))


# The fixture applies to all examples alike.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(1, 3), st.integers(0, 99), st.data())
def test_ties_go_to_the_lower_position(images, dimensions, seed, data):
    # Few different vectors, so that more are equal than there are spare candidates; some are zero. Integers do not
    # round: their similarities are exact on any processor.
    k = data.draw(st.integers(1, images))
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randint(-1, 2, (images, dimensions), generator=generator).float()
    queries = torch.randint(-1, 2, (5, dimensions), generator=generator).float()
    assert torch.equal(Bank(bank, "euclidean").search(queries, k).index, brute_force(bank, queries, k, "euclidean"))
    # Only vectors of equal or opposite direction have bit-identical cosines.
    lines, points = bank[:, :1], queries[:, :1]
    assert torch.equal(Bank(lines, "cosine").search(points, k).index, brute_force(lines, points, k, "cosine"))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_copies_beyond_the_spare_candidates_tie_exactly(distance):
    bank = noise(30, 64).repeat(48, 1)
    found = Bank(bank, distance).search(bank[:30], 10)
    assert torch.equal(found.index, torch.arange(30)[:, None] + 30 * torch.arange(10))
    assert (found.similarity == found.similarity[:, :1]).all()


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_coarse_product_changes_nothing(distance):
    bank, queries = noise(2000, 128), noise(40, 128, seed=1)
    exact = Bank(bank, distance).search(queries, 20)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        coarse = Bank(bank, distance).search(queries, 20)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(coarse.index, exact.index)
    assert torch.allclose(coarse.similarity, exact.similarity, rtol=1e-12, atol=0)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_blocks_change_nothing(distance, monkeypatch):
    bank, queries = noise(200, 8), noise(50, 8, seed=1)
    whole = Bank(bank, distance).search(queries, 30)
    monkeypatch.setattr(matrix_products, "BLOCK_BYTES", 7 * 4 * len(bank))
    monkeypatch.setattr(search, "CACHED_BYTES", 5 * 8 * 7 * 8)
    parts = Bank(bank, distance).search(queries, 30)
    assert torch.equal(parts.index, whole.index)
    assert torch.allclose(parts.similarity, whole.similarity, rtol=1e-12, atol=0)
    assert torch.equal(Bank(bank, distance).search(queries[3:4], 30).index, whole.index[3:4])


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_an_outlier_does_not_change_the_neighbours(distance):
    bank, queries = noise(300, 16), noise(10, 16, seed=1)
    bank[17] = 1e6
    found = Bank(bank, distance).search(queries, 20)
    assert torch.equal(found.index, brute_force(bank, queries, 20, distance))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_similarity_does_not_depend_on_the_scale(distance):
    bank, queries = noise(100, 8), noise(10, 8, seed=1)
    plain = Bank(bank, distance).search(queries, 10)
    for factor in (2.0**-20, 2.0**20):
        scaled = Bank(bank * factor, distance).search(queries * factor, 10)
        assert torch.equal(scaled.index, plain.index)
        assert torch.allclose(scaled.similarity, plain.similarity, rtol=1e-12)


def test_euclidean_similarity_is_in_units_of_the_spread():
    bank = torch.tensor([[0.0, 3.0], [0.0, -3.0]])  # each 3 from the mean
    found = Bank(bank, "euclidean").search(torch.tensor([[4.0, 3.0]]), 2)
    assert found.index.tolist() == [[0, 1]]
    assert found.similarity.tolist() == [[pytest.approx(-(4**2) / 18), pytest.approx(-(4**2 + 6**2) / 18)]]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_degenerate_banks_have_neighbours_in_order(distance):
    for bank in (torch.ones(50, 4), torch.zeros(50, 4), torch.ones(1, 4)):
        found = Bank(bank, distance).search(torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, 0]]), len(bank))
        assert found.index.tolist() == [list(range(len(bank)))] * 2
        assert found.similarity.isfinite().all()


def test_no_queries_have_no_neighbours():
    found = Bank(noise(5, 3), "cosine").search(torch.zeros(0, 3), 2)
    assert found.index.shape == found.similarity.shape == (0, 2)
