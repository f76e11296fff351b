"""From an encoded picture to uint8 RGB: orientation, colours, size."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import PIL
from PIL import Image, ImageOps, features

from probebench.api import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WITH_ALPHA = ("RGBA", "LA", "PA")
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_NO_RANGE = ("I", "F")


@dataclass(frozen=True)
class Decoder:
    """How pictures become images.

    The EXIF orientation is applied. What is not RGB becomes RGB: grey is repeated, palettes and CMYK are converted,
    of 16 bits the upper 8 are kept. What is transparent is laid over white, the colour of the pages that drawings
    with transparency are made for; the colours hidden under full transparency never show.

    Attributes:
        image_size: Side of the square images wanted: the shorter side is resized to it once, with Pillow's bicubic
            filter, which is antialiased, and the centre is cut out. The arithmetic of the sizes is that of
            torchvision's ``Resize`` and ``CenterCrop``. None leaves every picture as large as it is.
    """

    image_size: int | None = None

    @property
    def rule(self) -> str:
        """The decoding in words: part of the fingerprint of what was decoded."""
        size = "as stored"
        if self.image_size:
            size = f"shorter side {self.image_size}, bicubic, antialiased; centre {self.image_size}x{self.image_size}"
        return f"EXIF orientation; RGB, alpha over white; {size}"

    @property
    def libraries(self) -> str:
        """What else the pixels depend on: JPEG decoders may differ in a grey value."""
        return f"Pillow {PIL.__version__}, JPEG {features.version('libjpeg_turbo') or features.version('jpg')}"

    def decode(self, data: bytes, where: str) -> NDArray[np.uint8]:
        """Decodes one picture.

        Args:
            data: The content of a file in any format that Pillow reads.
            where: The file, for errors.

        Returns:
            uint8 ``(3, H, W)``, RGB.

        Raises:
            DataError: It is no picture, is damaged or incomplete, or its values have no known range.
        """
        try:
            _check_sums(data)
            with Image.open(io.BytesIO(data)) as picture:
                picture.load()
                upright = ImageOps.exif_transpose(picture)
            return np.asarray(self._resized(_to_rgb(upright, where))).transpose(2, 0, 1)
        except DataError:
            raise
        except Exception as error:  # damaged files make Pillow raise anything, from SyntaxError to struct.error
            raise DataError(
                f"the picture cannot be decoded: {_first_line(error)}",
                where=where,
                hint="copy the file again from where it came, or remove it",
            ) from error

    def _resized(self, picture: Image.Image) -> Image.Image:
        if self.image_size is None or picture.size == (self.image_size, self.image_size):
            return picture
        side, (width, height) = self.image_size, picture.size
        if width <= height:
            width, height = side, int(side * height / width)
        else:
            width, height = int(side * width / height), side
        left, top = round((width - side) / 2), round((height - side) / 2)
        return picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))


def _to_rgb(picture: Image.Image, where: str) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode in _NO_RANGE:
        raise DataError(
            f"the picture has {picture.mode!r} pixels of 32 bits, whose black and white nobody knows",
            where=where,
            hint="save it with 8 or 16 bits per channel",
        )
    if picture.mode in _SIXTEEN_BITS:
        # Pillow would clip 16 bits at 255. The upper byte is what it keeps of 16-bit colour.
        high = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        opaque = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return picture.convert("RGB")


def _check_sums(data: bytes) -> None:
    """Raises an error where a PNG's checksums are wrong, which Pillow ignores as long as pixels come out."""
    if data.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(data)) as picture:
            picture.verify()


def _first_line(error: Exception) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return "it is no picture, or of a format that Pillow does not read"
    return (str(error) or type(error).__name__).splitlines()[0]
