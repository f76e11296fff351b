"""The components pass the conformance checks and do what they are made for."""

from __future__ import annotations

import pytest
import torch

from probebench.api import Batch, Point
from probebench.plugins.registry import resolve
from probebench.testing import parametrize_with_checks


@parametrize_with_checks(["edge-directions", "edge-directions:directions=3", "shapes:train=90,test=30", "centroid"])
def test_conformance(subject, check):
    check(subject)


@pytest.mark.parametrize(("direction", "strongest"), [(2, 0), (1, 2)])  # image dimension, filter
def test_an_edge_is_strongest_in_the_filter_across_it(direction, strongest):
    ramp = torch.arange(8, dtype=torch.uint8) * 20
    image = ramp.expand(3, 8, 8) if direction == 2 else ramp[:, None].expand(3, 8, 8)
    backbone = resolve("backbone", "edge-directions:directions=4").build()
    point = Point("edges", "clean", "gap")
    features = backbone.extract(Batch(image[None], torch.tensor([0]), "a test"), [point], seed=0)
    assert features[point].argmax() == strongest


def test_the_colour_does_not_depend_on_the_shape():
    split = resolve("dataset", "shapes").build().split("train")
    images = torch.stack([split.image(index) for index in range(len(split))])
    brightest = images.amax((2, 3)).float()
    means = torch.stack([brightest[split.labels() == label].mean(0) for label in range(3)])
    assert (means - means.mean(0)).abs().max() < 10  # of 112 levels
