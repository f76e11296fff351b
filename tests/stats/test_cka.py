"""CKA and CKNNA against their written-out definitions and against known values."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probebench.stats import cka as cka_module
from probebench.stats.cka import cka, cknna, hsic, neighbours

SEEDS = st.integers(0, 2**32)


def features(seed, n=12, d=3):
    return torch.randn((n, d), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(seed, d):
    return torch.linalg.qr(features(seed, d, d)).Q


def hsic_by_tuples(x, y):
    """Song et al. 2012, section 3.2: means over pairs, triples and quadruples of different images."""
    k, l, n = x @ x.T, y @ y.T, len(x)  # noqa: E741

    def mean(size, term):
        values = [float(term(*chosen)) for chosen in permutations(range(n), size)]
        return math.fsum(values) / len(values)

    return (
        mean(2, lambda i, j: k[i, j] * l[i, j])
        + mean(4, lambda i, j, q, r: k[i, j] * l[q, r])
        - 2 * mean(3, lambda i, j, q: k[i, j] * l[i, q])
    )


def cknna_by_loops(x, y, k):
    """Huh et al. 2024, appendix A, one pair of images at a time."""
    n, kernels, near = len(x), [], []
    for matrix in (x, y):
        rows = [row / row.norm() for row in matrix]
        kernel = [[float(a @ b) for b in rows] for a in rows]
        kernels.append([[value - sum(row) / n for value in row] for row in kernel])
        order = [sorted(set(range(n)) - {i}, key=lambda j, row=row: -row[j]) for i, row in enumerate(kernel)]
        near.append([set(others[:k]) for others in order])

    def align(a, b):
        return sum(kernels[a][i][j] * kernels[b][i][j] for i in range(n) for j in near[a][i] & near[b][i])

    return align(0, 1) / math.sqrt(align(0, 0) * align(1, 1))


@pytest.mark.parametrize(("n", "d", "e"), [(4, 3, 2), (6, 2, 2), (6, 9, 11)])
def test_hsic_is_its_definition_over_tuples_of_images(n, d, e):
    """Narrow features use X'Y, wide features use matrices of images by images."""
    x, y = features(1, n, d) + 5, features(2, n, e)
    assert hsic(x, y) == pytest.approx(hsic_by_tuples(x, y), rel=1e-9)
    assert hsic(x, x) == pytest.approx(hsic_by_tuples(x, x), rel=1e-9)


def test_cka_of_unrelated_images_is_zero_in_expectation():
    """Over all ways to pair five images with five others. The biased estimate is positive for each of them."""
    x, y = features(1, 5, 40), features(2, 5, 40)
    values = [hsic(x, y[list(order)]) for order in permutations(range(5))]
    assert math.fsum(values) / len(values) == pytest.approx(0, abs=1e-9 * max(map(abs, values)))
    assert min(values) < 0 < max(values)


@pytest.mark.parametrize("n", [4, 8, 256])
def test_cka_of_orthogonal_features_goes_to_zero(n):
    """Half of the images on one side, and half of each half: the estimate in closed form, about -1 / n."""
    x, y = torch.tensor([1.0, 1, -1, -1]).repeat(n // 4)[:, None], torch.tensor([1.0, -1]).repeat(n // 2)[:, None]
    rest = Fraction(n * n, (n - 1) * (n - 2)) - n - Fraction(2 * n, n - 2)
    assert cka(x, y) == pytest.approx(float(rest / (n * n + rest)))
    assert abs(cka(x, y)) < 2.1 / n


def test_cka_of_wide_unrelated_features_is_near_zero():
    """The biased estimate is large: with as many features as images, all matrices look similar."""
    x, y = features(3, 300, 200), features(4, 300, 200)
    assert abs(cka(x, y)) < 0.05
    assert (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()) > 0.35


@given(SEEDS)
def test_equal_features_have_similarity_1(seed):
    x = features(seed)
    assert cka(x, x) == pytest.approx(1)
    assert cknna(x, x, 3) == pytest.approx(1)


@given(SEEDS, st.floats(1e-3, 1e3))
def test_rotation_and_scale_change_nothing(seed, factor):
    x, y = features(seed), features(seed + 1, d=5)
    turned = factor * x @ rotation(seed + 2, 3)
    assert cka(turned, y) == pytest.approx(cka(x, y), abs=1e-9)
    assert cknna(turned, y, 3) == pytest.approx(cknna(x, y, 3), abs=1e-9)


@given(SEEDS)
def test_shift_changes_no_cka(seed):
    x, y = features(seed), features(seed + 1)
    assert cka(x + torch.tensor([3.0, -2.0, 100.0]), y) == pytest.approx(cka(x, y), abs=1e-9)


@given(SEEDS, st.integers(4, 9), st.sampled_from([None, 4]))
def test_cka_is_symmetric_and_bounded(seed, n, batch):
    x, y = features(seed, n), features(seed + 1, n, 7)
    assert cka(x, y, batch=batch) == pytest.approx(cka(y, x, batch=batch), abs=1e-9)
    assert abs(cka(x, y, batch=batch)) <= 1 + 1e-9


@given(SEEDS, st.integers(12, 30))
def test_one_minibatch_is_the_full_form(seed, batch):
    x, y = features(seed), features(seed + 1)
    assert hsic(x, y, batch=batch) == hsic(x, y)
    assert cka(x, y, batch=batch) == cka(x, y)


def test_minibatches_hold_every_image_once_and_average(monkeypatch):
    seen = []
    monkeypatch.setattr(cka_module, "_hsic", lambda x, y: seen.append((x, y)) or float(len(seen)))
    x = torch.arange(11.0)[:, None]
    assert hsic(x, -x, batch=5) == 1.5  # of 1 and 2
    assert sorted(len(part) for part, _ in seen) == [5, 6]
    assert sorted(torch.cat([part for part, _ in seen]).flatten().tolist()) == x.flatten().tolist()
    assert all(torch.equal(part, -other) for part, other in seen)
    first = [part.tolist() for part, _ in seen]
    assert first[0] != x[: len(first[0])].tolist()  # or a test split sorted by class would be compared within classes
    hsic(x, -x, batch=5)
    assert [part.tolist() for part, _ in seen[2:]] == first


def test_minibatches_estimate_the_same():
    x = features(1, 2000, 4)
    y = x + features(2, 2000, 4)
    assert cka(x, y, batch=50) == pytest.approx(cka(x, y), abs=0.03)


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 9), st.integers(1, 6))
def test_cknna_is_its_definition(seed, n, k):
    n = max(n, k + 1)
    x, y = features(seed, n) + 1, features(seed + 1, n, 5)
    a = cknna_by_loops(x, y, k)
    assert cknna(x, y, k) == pytest.approx(a, rel=1e-9, abs=1e-12)


def test_cknna_depends_on_neighbours_and_cka_on_all_images():
    """Pairs of images are close together in both matrices, and the positions of the pairs are unrelated."""
    x, y = (features(seed, 200, 30).repeat(2, 1) + 0.01 * features(seed + 10, 400, 30) for seed in (1, 2))
    assert cknna(x, y, 1) > 0.99
    assert cka(x, y) < 0.1


def test_unrelated_features_share_k_of_n_neighbours():
    assert cknna(features(1, 500, 50), features(2, 500, 50), 10) == pytest.approx(10 / 499, abs=0.01)


def test_blocks_change_nothing(monkeypatch):
    x, y, wide = features(1, 20), features(2, 20, 5), features(3, 20, 90)
    whole = [hsic(x, y), hsic(wide, wide), cknna(x, wide, 4)]
    monkeypatch.setattr(cka_module, "_BLOCK", 60)
    assert [hsic(x, y), hsic(wide, wide), cknna(x, wide, 4)] == pytest.approx(whole, rel=1e-9)


def test_the_nearest_come_first_and_no_image_is_its_own_neighbour():
    angles = torch.tensor([0.0, 0.1, 0.3, 3.0])
    found = neighbours(torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [9], [1], [1]]), 2)
    assert found.index.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


@pytest.mark.parametrize("value", [0.0, 0.1, 12345.678])
def test_features_without_differences_have_no_similarity(value):
    x, same = features(1), torch.full((12, 3), value)
    for batch in (None, 4):
        assert math.isnan(cka(x, same, batch=batch))
    assert math.isnan(cknna(x, same, 3))
    assert math.isnan(cka(same, same))


@pytest.mark.parametrize(("n", "other", "batch"), [(3, 3, None), (8, 7, None), (8, 8, 3)])
def test_too_few_images_are_an_error(n, other, batch):
    with pytest.raises(ValueError, match="HSIC is not defined"):
        hsic(features(1, n), features(2, other), batch=batch)


@pytest.mark.parametrize("k", [0, 12])
def test_too_few_neighbours_are_an_error(k):
    with pytest.raises(ValueError, match="12 images do not have"):
        neighbours(features(1), k)
