"""Pictures of every kind become the uint8 RGB images that a viewer shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from probebench.api import DataError
from probebench_datasets.images.decoder import Decoder


def save(picture: Image.Image, kind: str = "png", **how: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def decode(data: bytes, image_size: int | None = None) -> np.ndarray:
    """uint8 ``(H, W, 3)``."""
    return Decoder(image_size).decode(data, "some.png").transpose(1, 2, 0)


def test_rgb_is_kept_as_it_is(scene):
    pixels = scene(0, 20, 30)
    image = Decoder().decode(save(Image.fromarray(pixels)), "some.png")
    assert image.dtype == np.uint8
    assert image.shape == (3, 30, 20)
    assert np.array_equal(image.transpose(1, 2, 0), pixels)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda seen: seen),
        (2, lambda seen: seen[:, ::-1]),
        (3, lambda seen: seen[::-1, ::-1]),
        (4, lambda seen: seen[::-1]),
        (5, lambda seen: seen.transpose(1, 0, 2)),
        (6, lambda seen: np.rot90(seen, 1)),  # stored lying on its left side: a quarter turn clockwise mends it
        (7, lambda seen: seen[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda seen: np.rot90(seen, -1)),
    ],
)
def test_exif_orientation_is_applied(scene, orientation, turn):
    upright = scene(1, 6, 9)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = save(Image.fromarray(np.ascontiguousarray(turn(upright))), exif=exif)
    assert np.array_equal(decode(stored), upright)


def test_grey_is_repeated(scene):
    grey = scene(2, 8, 8)[..., 0]
    assert np.array_equal(decode(save(Image.fromarray(grey))), np.repeat(grey[..., None], 3, axis=2))


def test_black_and_white_is_0_and_255():
    bits = np.eye(8, dtype=bool)
    assert np.array_equal(decode(save(Image.fromarray(bits)))[..., 0], bits * np.uint8(255))


def test_of_16_bits_the_upper_8_are_kept():
    deep = np.array([[0, 255, 256, 257], [32767, 32768, 65279, 65535]], np.uint16)
    assert decode(save(Image.fromarray(deep)))[..., 1].tolist() == [[0, 0, 1, 1], [127, 128, 254, 255]]


def test_palette_gives_its_colours():
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 30, 40, 250])
    picture.putdata([1, 0])
    assert decode(save(picture)).tolist() == [[[30, 40, 250], [200, 10, 20]]]


def test_transparent_palette_entry_is_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 30, 40, 250])
    picture.putdata([1, 0])
    assert decode(save(picture, transparency=1)).tolist() == [[[255, 255, 255], [200, 10, 20]]]


def test_alpha_is_laid_over_white():
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 100, 200, 51]]], np.uint8)
    # 20 % of the colour, 80 % of white
    assert decode(save(Image.fromarray(pixels))).tolist() == [[[255, 255, 255], [10, 20, 30], [204, 224, 244]]]


def test_grey_with_alpha_is_laid_over_white():
    pixels = np.array([[[10, 0], [10, 255]]], np.uint8)
    assert decode(save(Image.fromarray(pixels, "LA"))).tolist() == [[[255] * 3, [10] * 3]]


def test_cmyk_becomes_rgb():
    ink = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert decode(save(ink, "tiff")).tolist() == [[[0, 255, 255]]]


@pytest.mark.parametrize(("mode", "value"), [("I", 70000), ("F", 0.5)])
def test_values_without_a_range_are_refused(mode, value):
    with pytest.raises(DataError, match=r"32 bits(?s:.)*in: deep\.tif(?s:.)*8 or 16 bits"):
        Decoder().decode(save(Image.new(mode, (4, 4), value), "tiff"), "deep.tif")


@pytest.mark.parametrize("size", [(40, 40), (60, 40), (40, 60), (61, 40), (40, 61), (333, 47), (10, 17), (16, 16)])
def test_resizing_is_that_of_torchvision(scene, size):
    picture = Image.fromarray(scene(3, *size))
    bicubic = transforms.InterpolationMode.BICUBIC
    reference = transforms.CenterCrop(16)(transforms.Resize(16, bicubic, antialias=True)(picture))
    assert np.array_equal(decode(save(picture), 16), np.asarray(reference))


def test_resizing_is_antialiased():
    """Columns of one pixel, black and white: whoever takes every fourth pixel sees one colour, an eye sees grey."""
    columns = np.zeros((64, 64, 3), np.uint8)
    columns[:, ::2] = 255
    inner = decode(save(Image.fromarray(columns)), 16)[4:-4, 4:-4].astype(int)
    assert abs(inner - 127.5).max() < 2


def test_filter_and_crop_are_in_the_rule():
    assert Decoder(64).rule.endswith("shorter side 64, bicubic, antialiased; centre 64x64")
    assert len({Decoder(size).rule for size in (None, 32, 64)}) == 3


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: b"", "no picture"),
        (lambda data: b"GET / HTTP/1.1", "no picture"),
        (lambda data: data[: len(data) // 2], "cannot be decoded"),
        (lambda data: data[:20], "cannot be decoded"),
    ],
    ids=["empty", "text", "half", "head"],
)
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_damaged_file_is_named(scene, kind, damage, why):
    data = damage(save(Image.fromarray(scene(4, 64, 64)), kind))
    with pytest.raises(DataError, match=rf"{why}(?s:.)*in: cats/7\.jpg(?s:.)*try: copy the file again"):
        Decoder().decode(data, "cats/7.jpg")


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), kind=st.sampled_from(["png", "jpeg", "gif", "webp"]))
def test_a_flipped_bit_is_an_error_or_an_image(position, bit, kind):
    """Foreign bytes may make Pillow raise anything: what leaves the decoder is an image or a DataError."""
    pixels = torch.arange(16 * 16 * 3, dtype=torch.int32).remainder(251).to(torch.uint8).reshape(16, 16, 3).numpy()
    data = bytearray(save(Image.fromarray(pixels), kind))
    data[position % len(data)] ^= 1 << bit
    try:
        image = Decoder(8).decode(bytes(data), "some")
    except DataError:
        return
    assert image.shape == (3, 8, 8)
    assert image.dtype == np.uint8
