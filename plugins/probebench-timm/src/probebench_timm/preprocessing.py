"""From an image to the network's input: size, mean and standard deviation."""

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
    """How a model was shown its training images, except for the crop: probebench shows the whole image.

    Attributes:
        mean: Of the three channels, on the scale 0 to 1.
        std: Standard deviation, on the same scale.
        own_size: Height and width that timm states for the model.
        size: Height and width that images are resized to; None leaves them as they are.
    """

    mean: Triple
    std: Triple
    own_size: tuple[int, int]
    size: tuple[int, int] | None

    @property
    def input_range(self) -> tuple[float, float]:
        """What black and white become, in the channels where they go furthest."""
        channels = tuple(zip(self.mean, self.std, strict=True))
        return min(-mean / std for mean, std in channels), max((1 - mean) / std for mean, std in channels)

    def input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the network's input for images of this size."""
        return self.size or image_size

    def __call__(self, images: Tensor) -> Tensor:
        """The network's input.

        Args:
            images: uint8 ``(B, 3, H, W)``.

        Returns:
            float32 ``(B, 3, H', W')`` within `input_range`, on the same device.
        """
        scaled = images.float() / 255
        if self.size is not None and tuple(images.shape[2:]) != self.size:
            scaled = interpolate(scaled, self.size, mode="bicubic", antialias=True)
            # Bicubic interpolation overshoots at edges, to values that no image has.
            scaled = scaled.clamp_(0, 1)
        mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (self.mean, self.std))
        return (scaled - mean) / std

    def document(self) -> dict[str, Any]:
        """What changes an input, as JSON values."""
        return {"mean": self.mean, "std": self.std, "size": self.size}


def preprocessing(net: TimmModel, size: Size) -> Preprocessing:
    """The preprocessing that timm states for a model.

    Args:
        net: A timm model.
        size: The user's word about the size.
    """
    stated = timm.data.resolve_model_data_config(net)
    _, height, width = stated["input_size"]
    fixed = bool(net.pretrained_cfg.get("fixed_input_size"))
    targets = {"native": None, "model": (height, width), "auto": (height, width) if fixed else None}
    target = (size, size) if isinstance(size, int) else targets[size]
    return Preprocessing(tuple(stated["mean"]), tuple(stated["std"]), (height, width), target)
