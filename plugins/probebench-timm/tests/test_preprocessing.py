"""Images have the scale and the size that a model was trained with."""

from __future__ import annotations

import numpy as np
import pytest
import timm.models
import torch
from PIL import Image


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])
def test_mean_and_deviation_are_those_of_timm(backbone, images, model):
    made, batch = backbone(model), images(4, 16, 24)
    config = timm.models.get_pretrained_cfg(model)
    scaled = batch.double().numpy() / 255
    expected = (scaled - np.reshape(config.mean, (3, 1, 1))) / np.reshape(config.std, (3, 1, 1))
    np.testing.assert_allclose(made.prepare(batch).numpy(), expected, rtol=0, atol=1e-6)


def test_the_tag_determines_the_preprocessing(backbone):
    """Weights of one architecture were trained with different means."""
    ranges = {
        tag: backbone(f"mobilenetv4_conv_small.{tag}").input_range for tag in ("e1200_r224_in1k", "e3600_r256_in1k")
    }
    assert ranges["e3600_r256_in1k"] == (-1, 1)
    assert ranges["e1200_r224_in1k"] == pytest.approx((-0.485 / 0.229, (1 - 0.406) / 0.225))


def test_the_input_range_is_reached_by_black_and_white(backbone):
    made = backbone("test_efficientnet")
    for value, bound, pick in ((0, 0, torch.amin), (255, 1, torch.amax)):
        prepared = made.prepare(torch.full((1, 3, 8, 8), value, dtype=torch.uint8))
        assert float(pick(prepared)) == pytest.approx(made.input_range[bound], abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (300, 200), (160, 32)])
def test_resizing_is_the_antialiased_bicubic_one_of_pillow(backbone, images, height, width):
    made, batch = backbone("test_vit"), images(2, height, width)
    got = (made.prepare(batch) * 0.5 + 0.5).numpy()
    for picture, resized in zip(batch.numpy(), got, strict=True):
        for plane, channel in zip(picture, resized, strict=True):
            exact = Image.fromarray(plane.astype(np.float32)).resize((160, 160), Image.Resampling.BICUBIC)
            np.testing.assert_allclose(channel, np.clip(np.asarray(exact) / 255, 0, 1), rtol=0, atol=1e-4)


def test_an_edge_does_not_overshoot(backbone):
    edge = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    edge[..., 10:] = 255
    made = backbone("test_resnet", size=64)
    prepared = made.prepare(edge)
    assert made.input_range[0] <= float(prepared.min())
    assert float(prepared.max()) <= made.input_range[1]


@pytest.mark.parametrize(
    ("model", "size", "expected"),
    [
        ("test_resnet", "auto", (24, 40)),
        ("test_resnet", "native", (24, 40)),
        ("test_resnet", "model", (160, 160)),
        ("test_resnet", 48, (48, 48)),
        ("test_vit", "auto", (160, 160)),
        ("test_vit", "native", (24, 40)),
        ("test_vit", "model", (160, 160)),
        ("test_vit", 160, (160, 160)),
    ],
)
def test_size(backbone, images, model, size, expected):
    assert backbone(model, size=size).prepare(images(2, 24, 40)).shape == (2, 3, *expected)


def test_images_of_the_right_size_are_not_resized(backbone, images):
    batch = images(2, 160)
    assert torch.equal(backbone("test_vit").prepare(batch), backbone("test_vit", size="native").prepare(batch))
