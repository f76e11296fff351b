"""Properties of the carved validation part and of the limit."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probebench.extraction.subsets import carve, limit
from probebench.util.errors import UsageError

labellings = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(torch.tensor)
fractions = st.floats(0.01, 0.99)


def count(labels, index):
    return Counter(labels[index].tolist())


@given(labellings.filter(lambda labels: len(labels) > len(labels.unique())), fractions, st.integers(0, 9))
def test_carve_divides_every_class(labels, fraction, seed):
    train, val = carve(labels, fraction, seed=seed)
    assert train.dtype == val.dtype == torch.int64
    assert sorted(train.tolist() + val.tolist()) == list(range(len(labels)))
    assert train.tolist() == sorted(train.tolist())
    assert val.tolist() == sorted(val.tolist())
    for label, n in Counter(labels.tolist()).items():
        held_out = count(labels, val)[label]
        assert held_out == (0 if n == 1 else min(max(round(fraction * n), 1), n - 1))


@given(labellings.filter(lambda labels: len(labels) > len(labels.unique())), st.integers(0, 9))
def test_a_class_is_divided_independently_of_the_others(labels, seed):
    _, val = carve(labels, 0.3, seed=seed)
    merged = torch.where(labels == 0, 0, labels + 10)
    assert carve(merged, 0.3, seed=seed)[1].tolist() == val.tolist()


def test_another_seed_carves_another_part():
    labels = torch.arange(200) % 4
    assert carve(labels, 0.1, seed=0)[1].tolist() != carve(labels, 0.1, seed=1)[1].tolist()


def test_the_carved_part_never_changes():
    # A change here moves images between train and val of every published record: raise the protocol's version.
    labels = torch.arange(60) % 3
    assert carve(labels, 0.1, seed=0)[1].tolist() == CARVED
    assert limit(labels, 7).tolist() == LIMITED


CARVED = [28, 36, 37, 38, 47, 51]
LIMITED = [9, 13, 15, 34, 38, 41, 52]


@given(labellings, st.integers(1, 100))
def test_limit_is_exact_and_stratified(labels, number):
    index = limit(labels, number)
    assert index.dtype == torch.int64
    assert index.tolist() == sorted(set(index.tolist()))
    assert len(index) == min(number, len(labels))
    sizes, taken = Counter(labels.tolist()), count(labels, index)
    if number >= len(sizes):
        assert set(taken) == set(sizes)
    for one, size in sizes.items():
        for other in sizes:
            if size >= sizes[other]:
                assert taken[one] >= taken[other] - (size == sizes[other])


@given(labellings, st.integers(1, 80), st.integers(1, 80))
def test_a_larger_limit_holds_the_smaller(labels, one, other):
    smaller, larger = sorted((one, other))
    assert set(limit(labels, smaller).tolist()) <= set(limit(labels, larger).tolist())


def test_limit_keeps_proportions():
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    assert count(labels, limit(labels, 100)) == {0: 60, 1: 30, 2: 10}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(fraction):
    with pytest.raises(UsageError, match="not between 0 and 1"):
        carve(torch.zeros(9, dtype=torch.int64), fraction, seed=0)


def test_single_images_cannot_be_carved():
    with pytest.raises(UsageError, match="no class has two") as caught:
        carve(torch.arange(5), 0.5, seed=0)
    assert "--limit" in str(caught.value)


@pytest.mark.parametrize("number", [0, -3])
def test_a_limit_below_one_is_refused(number):
    with pytest.raises(UsageError) as caught:
        limit(torch.arange(5), number)
    assert str(caught.value).splitlines() == [
        f"--limit {number} leaves no image to measure",
        "  try: --limit 1 or more images per split",
    ]


@pytest.mark.parametrize("labels", [torch.zeros(0, dtype=torch.int64), torch.zeros(2, 2, dtype=torch.int64)])
def test_labels_of_a_wrong_shape_are_refused(labels):
    with pytest.raises(UsageError, match="cannot be divided"):
        limit(labels, 1)
    with pytest.raises(UsageError, match="cannot be divided"):
        carve(labels, 0.1, seed=0)
