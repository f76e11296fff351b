"""The U-Net of a new network, and the weights' fingerprint."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DModel

if TYPE_CHECKING:
    from collections.abc import Sequence


WIDTHS = (32, 64, 64, 64)


def unet_config(*, widths: Sequence[int], attention: bool, size: int, dropout: float = 0.0) -> dict[str, Any]:
    """Arguments of `UNet2DModel` for the DDPM of Ho et al. 2020, appendix B: 4 levels of 2 residual layers.

    Args:
        widths: Channels of the levels, from the finest.
        attention: Self-attention at the second level and in the middle, or nowhere.
        size: Height and width of the training images.
        dropout: Inside the residual layers.
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
        # diffusers' default of 8 channels a head makes 32 heads of 256 channels: memory, and nothing for it.
        "attention_head_dim": math.gcd(64, *widths[1:]),
        # Four channels a group or more: with one, the norm takes away every channel's mean, and t and the mean
        # colour of a patch with it.
        "norm_num_groups": math.gcd(32, *(width // 4 for width in widths)),
        "dropout": dropout,
    }


def random_unet(config: dict[str, Any], *, seed: int) -> UNet2DModel:
    """A U-Net of this config with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel.from_config(config)
