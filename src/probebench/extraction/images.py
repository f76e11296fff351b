"""Images before they are given to a backbone: they are read, and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.api.contracts import check_range
from probebench.plugins.isolation import plugin_errors
from probebench.util.errors import DataError, ProbebenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench.api import Backbone, Split


class ImageReader:
    """Reads images of one split, which all have the type and size of the first.

    Args:
        split: The split.
        source: Name of the split, for errors.
    """

    def __init__(self, split: Split, source: str) -> None:
        self._split, self._source = split, source
        self._shape: tuple[int, ...] | None = None

    def read(self, positions: Sequence[int]) -> Tensor:
        """Reads the images at these positions of the split.

        Returns:
            uint8 ``(len(positions), 3, H, W)``.

        Raises:
            DataError: An image cannot be read, is not uint8 ``(3, H, W)``, or is of another size than the first.
        """
        return torch.stack([self._image(position) for position in positions])

    def _image(self, position: int) -> Tensor:
        try:
            image = self._split.image(position)
        except ProbebenchError as error:
            raise self._error(position, f"cannot be read: {error.what}", error.hint, error.where) from error
        except Exception as error:
            raise self._error(position, f"cannot be read: {type(error).__name__}: {error}") from error
        if not isinstance(image, torch.Tensor) or image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
            found = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, torch.Tensor) else type(image).__name__
            raise self._error(position, f"is {found}, not uint8 (3, H, W)")
        self._shape = self._shape or tuple(image.shape)
        if tuple(image.shape) != self._shape:
            raise self._error(position, f"has shape {tuple(image.shape)}, and the images before it have {self._shape}")
        return image

    def _error(self, position: int, fault: str, hint: str | None = None, where: str | None = None) -> DataError:
        name = f"image {position} of {self._source}"
        return DataError(
            f"{name} {fault}", where=where, hint=hint or "repair or replace the image, and run the same command again"
        )


def check_input_range(backbone: Backbone, images: Tensor) -> None:
    """Checks that images are inside the backbone's input range after its preprocessing.

    Args:
        backbone: What prepares them.
        images: uint8 ``(B, 3, H, W)``.

    Raises:
        FeatureError: A value is more than 0.001 outside `Backbone.input_range`, or is not finite.
        PluginError: `Backbone.prepare` fails.
    """
    name = type(backbone).__name__
    with plugin_errors(f"backbone {name} cannot prepare its input"):
        prepared = backbone.prepare(images)
    check_range(prepared, backbone.input_range, where=f"{name}.prepare")
