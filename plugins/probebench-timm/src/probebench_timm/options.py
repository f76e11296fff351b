"""Options of the `timm` backbone. No torch here: `probebench list` reads this module."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from probebench.api import Options

Size = Literal["auto", "native", "model"] | Annotated[int, Field(ge=8)]


class TimmOptions(Options):
    """Which model, which weights, and how large it sees an image."""

    model: str = Field(
        "resnet18",
        description="name in timm, with or without a tag; the tag decides the preprocessing: resnet18.tv_in1k",
    )
    weights: str = Field(
        "none",
        description="file of weights (.safetensors, or .pth or .pt), package for those that an installed package has "
        "(tf_efficientnet_lite0), or none for random ones; nothing is downloaded",
    )
    size: Size = Field(
        "auto",
        description="images as they are (native), resized to the model's own input size (model) or to a square of so "
        "many pixels; auto is model where the model takes one size only, else native",
    )
    init_seed: int = Field(0, ge=0, description="seed of random weights")
