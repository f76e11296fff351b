"""The config of a new U-Net, and a U-Net with random weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from diffusers import UNet2DModel

from probebench_ddpm.networks.random_weights import random_network

if TYPE_CHECKING:
    from collections.abc import Sequence


WIDTHS = (32, 64, 64, 64)


def unet_config(*, widths: Sequence[int], attention: bool, size: int, dropout: float = 0.0) -> dict[str, Any]:
    """Returns arguments of `UNet2DModel` for the DDPM of Ho et al. 2020, appendix B: 4 levels of 2 residual layers.

    Args:
        widths: Channels of the levels, from the finest to the coarsest.
        attention: Whether there is self-attention, at the second level and in the middle block.
        size: Height and width of the training images.
        dropout: Dropout probability inside the residual layers.
    """
    down = ["DownBlock2D"] * len(widths)
    up = ["UpBlock2D"] * len(widths)
    if attention:
        down[1] = "AttnDownBlock2D"
        up[-2] = "AttnUpBlock2D"
    return {
        "sample_size": size,
        "block_out_channels": tuple(widths),
        "layers_per_block": 2,
        "down_block_types": tuple(down),
        "up_block_types": tuple(up),
        "add_attention": attention,
        # diffusers' default, 8 channels per head, gives 32 heads at 256 channels: more memory without a benefit.
        "attention_head_dim": math.gcd(64, *widths[1:]),
        # Four channels per group or more: with one, the norm removes the mean of every channel, and with it t and the
        # mean colour of a patch.
        "norm_num_groups": math.gcd(32, *(width // 4 for width in widths)),
        "dropout": dropout,
    }


def random_unet(config: dict[str, Any], *, seed: int) -> UNet2DModel:
    """Returns a U-Net of this config with random weights that depend only on the seed."""
    return random_network(config, UNet2DModel, seed=seed)
