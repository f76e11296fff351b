"""The decoder: every kind of image file becomes the uint8 RGB image that a viewer shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from probebench.api import DataError
from probebench_datasets.images.decoder import Decoder


def save(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data: bytes, image_size: int | None = None) -> np.ndarray:
    """Returns uint8 ``(H, W, 3)``."""
    return Decoder(image_size).decode(data, "some.png").transpose(1, 2, 0)


def test_rgb_is_kept_as_it_is(smooth_image):
    pixels = smooth_image(0, 20, 30)
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
        (6, lambda seen: np.rot90(seen, 1)),  # stored rotated to the left: a quarter turn clockwise corrects it
        (7, lambda seen: seen[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda seen: np.rot90(seen, -1)),
    ],
)
def test_exif_orientation_is_applied(smooth_image, orientation, turn):
    upright = smooth_image(1, 6, 9)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = save(Image.fromarray(np.ascontiguousarray(turn(upright))), exif=exif)
    assert np.array_equal(decode(stored), upright)


def test_grey_is_repeated(smooth_image):
    grey = smooth_image(2, 8, 8)[..., 0]
    assert np.array_equal(decode(save(Image.fromarray(grey))), np.repeat(grey[..., None], 3, axis=2))


def test_black_and_white_is_0_and_255():
    bits = np.eye(8, dtype=bool)
    assert np.array_equal(decode(save(Image.fromarray(bits)))[..., 0], bits * np.uint8(255))


def test_of_16_bits_the_upper_8_are_kept():
    deep = np.array([[0, 255, 256, 257], [32767, 32768, 65279, 65535]], np.uint16)
    assert decode(save(Image.fromarray(deep)))[..., 1].tolist() == [[0, 0, 1, 1], [127, 128, 254, 255]]


def test_palette_gives_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 40, 250])
    image.putdata([1, 0])
    assert decode(save(image)).tolist() == [[[30, 40, 250], [200, 10, 20]]]


def test_transparent_palette_entry_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 40, 250])
    image.putdata([1, 0])
    assert decode(save(image, transparency=1)).tolist() == [[[255, 255, 255], [200, 10, 20]]]


def test_alpha_is_composited_over_white():
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 100, 200, 51]]], np.uint8)
    # 20 % of the colour, 80 % of white
    assert decode(save(Image.fromarray(pixels))).tolist() == [[[255, 255, 255], [10, 20, 30], [204, 224, 244]]]


def test_grey_with_alpha_is_composited_over_white():
    pixels = np.array([[[10, 0], [10, 255]]], np.uint8)
    assert decode(save(Image.fromarray(pixels, "LA"))).tolist() == [[[255] * 3, [10] * 3]]


def test_cmyk_becomes_rgb():
    ink = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert decode(save(ink, "tiff")).tolist() == [[[0, 255, 255]]]


@pytest.mark.parametrize(("mode", "value"), [("I", 70000), ("F", 0.5)])
def test_values_without_a_range_are_refused(mode, value):
    with pytest.raises(DataError, match=r"32-bit pixels(?s:.)*in: deep\.tif(?s:.)*8 or 16 bits"):
        Decoder().decode(save(Image.new(mode, (4, 4), value), "tiff"), "deep.tif")


@pytest.mark.parametrize("size", [(40, 40), (60, 40), (40, 60), (61, 40), (40, 61), (333, 47), (10, 17), (16, 16)])
def test_resizing_is_that_of_torchvision(smooth_image, size):
    """Both call Pillow's filter, so the pixels are equal where the arithmetic of the sizes is."""
    image = Image.fromarray(smooth_image(3, *size))
    bicubic = transforms.InterpolationMode.BICUBIC
    reference = transforms.CenterCrop(16)(transforms.Resize(16, bicubic, antialias=True)(image))
    assert np.array_equal(decode(save(image), 16), np.asarray(reference))


def test_resizing_is_antialiased():
    """Black and white columns of one pixel become grey; taking every fourth pixel would give one of the colours."""
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
        (lambda data: b"", "not an image"),
        (lambda data: b"GET / HTTP/1.1", "not an image"),
        (lambda data: data[: len(data) // 2], "cannot be decoded"),
        (lambda data: data[:20], "cannot be decoded"),
    ],
    ids=["empty", "text", "half", "head"],
)
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_error_names_a_damaged_file(smooth_image, kind, damage, why):
    data = damage(save(Image.fromarray(smooth_image(4, 64, 64)), kind))
    with pytest.raises(DataError, match=rf"{why}(?s:.)*in: cats/7\.jpg(?s:.)*try: copy the file again"):
        Decoder().decode(data, "cats/7.jpg")


@settings(deadline=None)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), kind=st.sampled_from(["png", "jpeg", "gif", "webp"]))
def test_a_flipped_bit_is_an_error_or_an_image(position, bit, kind):
    """Pillow may raise anything for damaged bytes; the decoder returns an image or raises a DataError."""
    pixels = torch.arange(16 * 16 * 3, dtype=torch.int32).remainder(251).to(torch.uint8).reshape(16, 16, 3).numpy()
    data = bytearray(save(Image.fromarray(pixels), kind))
    data[position % len(data)] ^= 1 << bit
    try:
        image = Decoder(8).decode(bytes(data), "some")
    except DataError:
        return
    assert image.shape == (3, 8, 8)
    assert image.dtype == np.uint8
