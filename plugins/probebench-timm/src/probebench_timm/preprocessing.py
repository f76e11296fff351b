"""Preprocessing of images: size, mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import timm.data
import torch
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from torch import Tensor

    from probebench_timm.network import TimmModel
    from probebench_timm.options import Size

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a model's training images, except for the crop: probebench uses the whole image.

    Attributes:
        mean: Mean of the three channels, on the scale 0 to 1.
        std: Standard deviation of the three channels, on the same scale.
        own_size: Height and width that timm states for the model.
        size: Height and width that images are resized to; None if they are not resized.
    """

    mean: Triple
    std: Triple
    own_size: tuple[int, int]
    size: tuple[int, int] | None

    @property
    def input_range(self) -> tuple[float, float]:
        """The smallest value of a black pixel and the largest of a white one, over the channels."""
        channels = tuple(zip(self.mean, self.std, strict=True))
        return min(-mean / std for mean, std in channels), max((1 - mean) / std for mean, std in channels)

    def input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Returns height and width of the network's input for images of this size."""
        return self.size or image_size

    def __call__(self, images: Tensor) -> Tensor:
        """Returns the network's input.

        Args:
            images: uint8 ``(B, 3, H, W)``.

        Returns:
            float32 ``(B, 3, H', W')`` within `input_range`, on the same device.
        """
        scaled = images.float() / 255
        if self.size is not None and tuple(images.shape[2:]) != self.size:
            scaled = interpolate(scaled, self.size, mode="bicubic", antialias=True)
            # Bicubic interpolation overshoots at edges, beyond the range of an image.
            scaled = scaled.clamp_(0, 1)
        mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (self.mean, self.std))
        return (scaled - mean) / std

    def document(self) -> dict[str, Any]:
        """Returns everything that changes the input, as JSON values."""
        return {"mean": self.mean, "std": self.std, "size": self.size}


def preprocessing(net: TimmModel, size: Size) -> Preprocessing:
    """Returns the preprocessing that timm states for a model.

    Args:
        net: A timm model.
        size: The option `size`.
    """
    stated = timm.data.resolve_model_data_config(net)
    _, height, width = stated["input_size"]
    fixed = bool(net.pretrained_cfg.get("fixed_input_size"))
    targets = {"native": None, "model": (height, width), "auto": (height, width) if fixed else None}
    target = (size, size) if isinstance(size, int) else targets[size]
    return Preprocessing(tuple(stated["mean"]), tuple(stated["std"]), (height, width), target)
