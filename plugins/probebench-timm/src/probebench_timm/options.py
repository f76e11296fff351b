"""Options of the `timm` backbone. No torch here: `probebench list` imports this module."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from probebench.api import Options

Size = Literal["auto", "native", "model"] | Annotated[int, Field(ge=8)]


class TimmOptions(Options):
    """Options of `timm`: model, weights and input size."""

    model: str = Field(
        "resnet18",
        description="name in timm, such as resnet18 or resnet18.tv_in1k; the tag determines the preprocessing",
    )
    weights: str = Field(
        "none",
        description="file of weights (.safetensors, .pth or .pt), package for those of an installed package "
        "(tf_efficientnet_lite0), or none for random weights; nothing is downloaded",
    )
    size: Size = Field(
        "auto",
        description="input size: that of the images (native), that of the model (model), or the side of a square in "
        "pixels; auto is model if the model accepts one size only, else native",
    )
    init_seed: int = Field(0, ge=0, description="seed of random weights")
