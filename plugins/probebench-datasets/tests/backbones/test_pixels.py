"""Raw pixels, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probebench.api import Batch, Point, UsageError
from probebench_datasets.backbones.pixels import Pixels
from probebench_datasets.options import PixelsOptions

POINT = Point("image", "clean", "flat")


def batch(count=4, height=8, width=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)
    return Batch(images, torch.arange(count), "toy/train")


def pixels(**options):
    return Pixels(PixelsOptions(**options))


def test_all_pixels_in_fp32_from_minus_1_to_1():
    images = batch()
    images.images[0], images.images[1] = 0, 255
    features = pixels().extract(images, [POINT], seed=0)[POINT]
    expected = images.images.numpy().reshape(4, -1) / 127.5 - 1
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-6)
    assert float(features[0].max()) == pytest.approx(-1)
    assert float(features[1].min()) == pytest.approx(1)


@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_a_grid_is_the_mean_over_its_cells(grid):
    images = batch()
    features = pixels(grid=grid).extract(images, [POINT], seed=0)[POINT]
    cell = 8 // grid
    cells = (images.images.numpy() / 127.5 - 1).reshape(4, 3, grid, cell, grid, cell).mean((3, 5))
    np.testing.assert_allclose(features.numpy(), cells.reshape(4, -1), atol=1e-6)


def test_a_grid_that_does_not_divide_the_image():
    """Cells overlap, as in adaptive pooling: cell i of n covers floor(i s / n) to ceil((i + 1) s / n)."""
    images = batch(2, 8, 10)
    features = pixels(grid=3).extract(images, [POINT], seed=0)[POINT].reshape(2, 3, 3, 3)
    values = images.images.numpy() / 127.5 - 1
    for row in range(3):
        for column in range(3):
            rows = slice(row * 8 // 3, -(-(row + 1) * 8 // 3))
            columns = slice(column * 10 // 3, -(-(column + 1) * 10 // 3))
            expected = values[:, :, rows, columns].mean((2, 3))
            np.testing.assert_allclose(features[:, :, row, column].numpy(), expected, atol=1e-6)


def test_the_tap_has_the_length_of_the_features():
    assert pixels().taps((8, 10))[0].shape == (240,)
    assert pixels(grid="4").taps((8, 10))[0].shape == (48,)
    assert pixels().extract(batch(1, 8, 10), [POINT], seed=0)[POINT].shape == (1, 240)


@pytest.mark.parametrize("size", [(8, 16), (16, 8)])
def test_a_grid_finer_than_the_image(size):
    message = f"images of {size[0]}x{size[1]} cannot be averaged over 9x9 cells\n.*option grid of pixels\n.*grid=8"
    with pytest.raises(UsageError, match=message) as error:
        pixels(grid=9).taps(size)
    assert error.value.exit_code == 2


def test_seed_and_other_images_have_no_effect():
    images = batch()
    whole = pixels().extract(images, [POINT], seed=0)[POINT]
    single = pixels().extract(Batch(images.images[2:3], images.index[2:3], images.source), [POINT], seed=1)[POINT]
    torch.testing.assert_close(single, whole[2:3], rtol=0, atol=1e-6)
