"""Decodes an image file to uint8 RGB: orientation, colours, size."""

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
_WITHOUT_RANGE = ("I", "F")


@dataclass(frozen=True)
class Decoder:
    """Decodes image files to uint8 RGB.

    The EXIF orientation is applied. Grey is repeated, palettes and CMYK are converted, and of 16 bits the upper 8 are
    kept. Transparency is composited over white, the background that drawings with transparency are made for; colours
    of fully transparent pixels never show.

    Attributes:
        image_size: Side of the square images: the shorter side is resized to it once, with Pillow's bicubic filter,
            which is antialiased, and the centre is cropped. The arithmetic of the sizes is that of torchvision's
            ``Resize`` and ``CenterCrop``. None keeps the size of every image.
    """

    image_size: int | None = None

    @property
    def rule(self) -> str:
        """The decoding in words: part of the fingerprint of decoded images."""
        size = "as stored"
        if self.image_size:
            size = f"shorter side {self.image_size}, bicubic, antialiased; centre {self.image_size}x{self.image_size}"
        return f"EXIF orientation; RGB, alpha over white; {size}"

    @property
    def libraries(self) -> str:
        """The libraries that pixels depend on: two JPEG decoders may differ by one grey value."""
        return f"Pillow {PIL.__version__}, JPEG {features.version('libjpeg_turbo') or features.version('jpg')}"

    def decode(self, data: bytes, where: str) -> NDArray[np.uint8]:
        """Decodes one image.

        Args:
            data: The content of a file in any format that Pillow reads.
            where: The file, for errors.

        Returns:
            uint8 ``(3, H, W)``, RGB.

        Raises:
            DataError: The data are not an image, are damaged or incomplete, or their values have no known range.
        """
        try:
            _verify_png(data)
            with Image.open(io.BytesIO(data)) as stored:
                stored.load()
                upright = ImageOps.exif_transpose(stored)
            return np.asarray(self._resized(_to_rgb(upright, where))).transpose(2, 0, 1)
        except DataError:
            raise
        except Exception as error:  # for damaged files, Pillow raises anything from SyntaxError to struct.error
            raise DataError(
                f"the image cannot be decoded: {_first_line(error)}",
                where=where,
                hint="copy the file again from its source, or delete it",
            ) from error

    def _resized(self, image: Image.Image) -> Image.Image:
        if self.image_size is None or image.size == (self.image_size, self.image_size):
            return image
        side, (width, height) = self.image_size, image.size
        if width <= height:
            width, height = side, int(side * height / width)
        else:
            width, height = int(side * width / height), side
        left, top = round((width - side) / 2), round((height - side) / 2)
        return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in _WITHOUT_RANGE:
        raise DataError(
            f"the image has 32-bit pixels (mode {image.mode!r}), whose range from black to white is unknown",
            where=where,
            hint="save it with 8 or 16 bits per channel",
        )
    if image.mode in _SIXTEEN_BITS:
        # Pillow would clip 16 bits at 255. The upper byte is what it keeps of 16-bit colour.
        high = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        transparent = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", transparent.size, "white"), transparent).convert("RGB")
    return image.convert("RGB")


def _verify_png(data: bytes) -> None:
    """Raises an error where a checksum of a PNG is wrong, which Pillow ignores as long as it can decode pixels."""
    if data.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(data)) as image:
            image.verify()


def _first_line(error: Exception) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return "the data are not an image, or are in a format that Pillow does not read"
    return (str(error) or type(error).__name__).splitlines()[0]
