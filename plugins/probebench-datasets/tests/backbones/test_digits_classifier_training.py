"""The training of the bundled classifier: it learns, and can be repeated."""

from __future__ import annotations

import pytest
import torch

from probebench_datasets.backbones.digits_classifier_training import accuracy, train
from probebench_datasets.bundled.scattered_digits import ScatteredDigits
from probebench_datasets.options import ScatteredDigitsOptions


@pytest.fixture(scope="module")
def dataset():
    return ScatteredDigits(ScatteredDigitsOptions(train=400, test=10))


def test_it_learns(dataset):
    """It reaches 0.6 to 0.9 on these 400 images, depending on the seed and the machine; chance is 0.1."""
    assert accuracy(train(dataset, epochs=8), dataset.split("train")) > 0.25


def test_a_second_training_gives_the_same_weights_and_changes_no_random_state(dataset):
    state = torch.random.get_rng_state()
    first, second = (train(dataset, epochs=2) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)
