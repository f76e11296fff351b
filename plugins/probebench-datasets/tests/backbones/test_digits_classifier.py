"""The bundled classifier: its accuracy on digits that it was not trained on, its features and its costs."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import torch
from safetensors import safe_open

from probebench.api import Batch, NoOptions, Point, UsageError
from probebench_datasets import backbones
from probebench_datasets.backbones.digits_classifier import WEIGHTS_FILE, DigitsClassifier
from probebench_datasets.backbones.digits_classifier_training import accuracy
from probebench_datasets.bundled.scattered_digits import ScatteredDigits
from probebench_datasets.options import ScatteredDigitsOptions


@pytest.fixture(scope="module")
def bundled():
    return DigitsClassifier(NoOptions())


def network(backbone):
    return vars(backbone)["_net"]


def test_the_header_of_the_weights_is_true(bundled):
    """The accuracy in it is that on all 2,000 test images: no two best scores of an image are closer than 0.07."""
    with safe_open(files(backbones).joinpath(WEIGHTS_FILE), "pt") as packed:
        made = json.loads(packed.metadata()["made"])
    dataset = ScatteredDigits(ScatteredDigitsOptions())
    assert made["train"] == dataset.split("train").fingerprint()
    assert abs(accuracy(network(bundled), dataset.split("test")) - made["test_accuracy"]) <= 0.001
    assert made["test_accuracy"] > 0.95


def test_features_are_the_means_of_the_maps_that_the_scores_are_computed_from(bundled):
    split = ScatteredDigits(ScatteredDigitsOptions(train=10, test=20)).split("test")
    images = torch.stack([split.image(index) for index in range(20)])
    point = Point("block.2", "clean", "gap")
    features = bundled.extract(Batch(images, torch.arange(20), "toy/test"), [point], seed=0)[point]
    net = network(bundled)
    with torch.no_grad():
        torch.testing.assert_close(net.head(features), net(images.float() / 127.5 - 1))


def test_costs_are_shares_of_the_products(bundled):
    """Two convolutions of 3x3 in each block, and the linear layer, counted by hand at 16x16."""
    blocks = [(3 * 16 + 16 * 16) * 9 * 256, (16 * 32 + 32 * 32) * 9 * 64, (32 * 64 + 64 * 64) * 9 * 16]
    whole = sum(blocks) + 64 * 10
    expected = [sum(blocks[: number + 1]) / whole for number in range(3)]
    assert [tap.cost for tap in bundled.taps((16, 16))] == pytest.approx(expected)


@pytest.mark.parametrize("size", [(3, 16), (16, 2)])
def test_an_image_that_is_too_small(bundled, size):
    message = f"images of {size[0]}x{size[1]} are too small for digits-classifier\n.*4x4 or more"
    with pytest.raises(UsageError, match=message) as error:
        bundled.taps(size)
    assert error.value.exit_code == 2
