"""The bundled classifier reads digits it has never seen, and can be made again."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import torch
from safetensors import safe_open

from probebench.api import Batch, NoOptions, Point, UsageError
from probebench_datasets import ScatteredDigitsOptions, backbones
from probebench_datasets.backbones.digits_classifier import WEIGHTS_FILE, DigitsClassifier
from probebench_datasets.backbones.digits_classifier_training import accuracy, train
from probebench_datasets.bundled.digits import ScatteredDigits


@pytest.fixture(scope="module")
def bundled():
    return DigitsClassifier(NoOptions())


@pytest.fixture(scope="module")
def scenes():
    return ScatteredDigits(ScatteredDigitsOptions(train=400, test=500))


def network(backbone):
    return vars(backbone)["_net"]


def test_what_the_file_says_is_what_it_does(bundled):
    """The accuracy in the file's header is that on all 2,000 test scenes."""
    with safe_open(files(backbones).joinpath(WEIGHTS_FILE), "pt") as packed:
        made = json.loads(packed.metadata()["made"])
    dataset = ScatteredDigits(ScatteredDigitsOptions())
    assert made["train"] == dataset.split("train").fingerprint()
    assert abs(accuracy(network(bundled), dataset.split("test")) - made["test_accuracy"]) <= 0.001
    assert made["test_accuracy"] > 0.95


def test_features_are_the_means_of_the_maps_that_the_scores_are_made_from(bundled, scenes):
    split = scenes.split("test")
    images = torch.stack([split.image(index) for index in range(20)])
    point = Point("block.2", "clean", "gap")
    features = bundled.extract(Batch(images, torch.arange(20), "toy/test"), [point], seed=0)[point]
    net = network(bundled)
    with torch.no_grad():
        torch.testing.assert_close(net.head(features), net(images.float() / 127.5 - 1))


def test_costs_are_shares_of_the_products(bundled):
    """Two convolutions of 3x3 in each block, and the head, counted by hand at 16x16."""
    blocks = [(3 * 16 + 16 * 16) * 9 * 256, (16 * 32 + 32 * 32) * 9 * 64, (32 * 64 + 64 * 64) * 9 * 16]
    whole = sum(blocks) + 64 * 10
    expected = [sum(blocks[: number + 1]) / whole for number in range(3)]
    assert [tap.cost for tap in bundled.taps((16, 16))] == pytest.approx(expected)


@pytest.mark.parametrize("size", [(3, 16), (16, 2)])
def test_an_image_of_which_nothing_would_be_left(bundled, size):
    message = f"images of {size[0]}x{size[1]} are too small for digits-classifier\n.*4x4 or more"
    with pytest.raises(UsageError, match=message) as error:
        bundled.taps(size)
    assert error.value.exit_code == 2


def test_it_is_made_from_labels_and_again_the_same(scenes):
    state = torch.random.get_rng_state()
    first, second = (train(scenes, epochs=8) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert accuracy(first, scenes.split("train")) > 0.25  # chance is 0.1
