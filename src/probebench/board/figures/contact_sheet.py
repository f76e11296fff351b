"""Images side by side: a contact sheet of a dataset for checking its labels, and a plain grid."""

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
"""Images of each class, evenly spaced in the split."""

_ROWS = 34
"""Largest number of classes in a column; more classes start a new column."""

_SMALLEST, _LARGEST = 48, 96
"""Pixels of an image's longer side: smaller images are enlarged by whole factors, larger images are reduced."""

_GAP = 4
_FONT_SIZE = 14
_LABEL = 150


def contact_sheet(split: Split, labels: Tensor, classes: Sequence[str]) -> Image.Image:
    """Builds the contact sheet of a split.

    Args:
        split: The split.
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
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for number, name in enumerate(classes):
        left, top = (number // rows) * block + _GAP, (number % rows) * row_height + _GAP
        canvas.text((left, top + height // 2), _fitted(_plain(str(name)), font), fill="black", font=font, anchor="lm")
        members = (labels == number).nonzero().flatten().tolist()
        for column, position in enumerate(_evenly_spaced(members)):
            picture = Image.fromarray(split.image(position).permute(1, 2, 0).contiguous().numpy())
            sheet.paste(_resized(picture, width, height), (left + _LABEL + column * (width + _GAP), top))
    return sheet


def image_grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """Arranges images of one size in a square grid without labels.

    Args:
        pictures: One image or more.
    """
    width, height = _cell(*pictures[0].size)
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    grid = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        grid.paste(_resized(picture, width, height), (column * (width + _GAP) + _GAP, row * (height + _GAP) + _GAP))
    return grid


def write_png(sheet: Image.Image, path: Path) -> None:
    """Writes an image as a PNG file.

    Raises:
        UsageError: The file cannot be written.
    """
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise UsageError(
            f"the image cannot be written: {error.strerror}", where=str(path), hint="use another path for --out"
        ) from error


def _cell(width: int, height: int) -> tuple[int, int]:
    """Returns the size of an image on the sheet."""
    longest = max(width, height)
    scale = _LARGEST / longest if longest > _LARGEST else math.ceil(_SMALLEST / longest)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Enlarges an image without interpolation, or reduces it with bicubic interpolation."""
    smooth = Image.Resampling.BICUBIC if picture.width > width else Image.Resampling.NEAREST
    return picture.resize((width, height), smooth)


def _evenly_spaced(members: Sequence[int]) -> list[int]:
    """Returns at most `PER_CLASS` members with even spacing, beginning with the first."""
    count = min(len(members), PER_CLASS)
    return [members[step * len(members) // count] for step in range(count)]


def _plain(text: str) -> str:
    """Returns a text without accents, which the built-in font lacks."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Returns the text, shortened to the width of its column."""
    if font.getlength(text) <= _LABEL - _GAP:
        return text
    while text and font.getlength(text + "...") > _LABEL - _GAP:
        text = text[:-1]
    return text + "..."
