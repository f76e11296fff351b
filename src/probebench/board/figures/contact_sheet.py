"""Images side by side: the contact sheet of a dataset, to see whether its labels are right, and a plain grid."""

from __future__ import annotations

import io
import math
import unicodedata
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from probebench.api import UsageError
from probebench.util.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from probebench.api import Split

PER_CLASS = 8
"""Images of each class, at even distances through the split."""

_ROWS = 34
"""Classes below each other; more classes go beside them."""

_SMALLEST, _LARGEST = 48, 96
"""Pixels of an image's longer side: smaller ones are enlarged by whole factors, larger ones are reduced."""

_GAP = 4
_FONT_SIZE = 14
_LABEL = 150


def contact_sheet(split: Split, labels: Tensor, classes: Sequence[str]) -> Image.Image:
    """Draws the sheet.

    Args:
        split: Where the images come from.
        labels: Its labels, int64 ``(N,)``.
        classes: Names of the classes. One without images has an empty row.

    Raises:
        DataError: An image cannot be read.
    """
    first = split.image(0)
    width, height = _cell(int(first.shape[2]), int(first.shape[1]))
    rows = min(len(classes), _ROWS)
    row_height, block = height + _GAP, _LABEL + PER_CLASS * (width + _GAP)
    sheet = Image.new("RGB", (math.ceil(len(classes) / rows) * block + _GAP, rows * row_height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for number, name in enumerate(classes):
        left, top = (number // rows) * block + _GAP, (number % rows) * row_height + _GAP
        draw.text((left, top + height // 2), _fitted(_plain(str(name)), font), fill="black", font=font, anchor="lm")
        members = (labels == number).nonzero().flatten().tolist()
        for place, position in enumerate(_spread(members)):
            picture = Image.fromarray(split.image(position).permute(1, 2, 0).contiguous().numpy())
            sheet.paste(_resized(picture, width, height), (left + _LABEL + place * (width + _GAP), top))
    return sheet


def image_grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """Puts pictures of one size side by side, in rows of a square, with nothing written to them.

    Args:
        pictures: One at least.
    """
    width, height = _cell(*pictures[0].size)
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    grid = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        grid.paste(_resized(picture, width, height), (column * (width + _GAP) + _GAP, row * (height + _GAP) + _GAP))
    return grid


def write_png(sheet: Image.Image, path: Path) -> None:
    """Writes the sheet as a PNG file.

    Raises:
        UsageError: The file cannot be written.
    """
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise UsageError(
            f"the contact sheet cannot be written: {error.strerror}", where=str(path), hint="another file for --out"
        ) from error


def _cell(width: int, height: int) -> tuple[int, int]:
    """Size of an image on the sheet."""
    longest = max(width, height)
    scale = _LARGEST / longest if longest > _LARGEST else math.ceil(_SMALLEST / longest)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Enlarged without a blur, or reduced with one."""
    smooth = Image.Resampling.BICUBIC if picture.width > width else Image.Resampling.NEAREST
    return picture.resize((width, height), smooth)


def _spread(members: Sequence[int]) -> list[int]:
    """At most `PER_CLASS` of them, at even distances, the first among them."""
    count = min(len(members), PER_CLASS)
    return [members[step * len(members) // count] for step in range(count)]


def _plain(text: str) -> str:
    """Letters without their accents, which the built-in font lacks."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, cut to the width of its column."""
    if font.getlength(text) <= _LABEL - _GAP:
        return text
    while text and font.getlength(text + "...") > _LABEL - _GAP:
        text = text[:-1]
    return text + "..."
