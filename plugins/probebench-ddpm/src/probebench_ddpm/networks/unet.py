"""The U-Net of a new network, and the weights' fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from probebench.api import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import ModelMixin
    from torch import Tensor

WIDTHS = (32, 64, 64, 64)


def input_range(scale: float = 1.0) -> tuple[float, float]:
    """Values of black and white as the network gets them."""
    return -scale, scale


def to_input(images: Tensor, scale: float = 1.0) -> Tensor:
    """uint8 images as the network is trained on them and read with them: float32 in `input_range`."""
    clean = images.float() / 127.5 - 1
    return clean if scale == 1 else clean * scale


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


def has_attention(unet: UNet2DModel) -> bool:
    """Whether there is self-attention at some level or in the middle."""
    blocks = (*unet.down_blocks, unet.mid_block, *unet.up_blocks)
    return any(attention is not None for block in blocks for attention in getattr(block, "attentions", None) or ())


def check_attention(network: ModelMixin, *, where: str) -> None:
    """Refuses attention that is computed otherwise than by torch's `scaled_dot_product_attention`.

    Eager attention keeps the matrix of all pairs of positions for the backward pass: 16 times the memory at twice the
    image's side.

    Raises:
        UsageError: There is such a layer.
    """
    kinds = {type(layer.processor).__name__ for layer in network.modules() if isinstance(layer, Attention)}
    if others := sorted(kinds - {AttnProcessor2_0.__name__}):
        raise UsageError(
            f"attention is computed by {', '.join(others)}, not by scaled_dot_product_attention",
            where=where,
            hint="torch 2 or newer, and no set_processor or attention slicing",
        )


def fingerprint(network: ModelMixin, context: dict[str, Any]) -> str:
    """SHA-256 over architecture, weights and what else the features depend on, such as the schedule."""
    architecture = {key: value for key, value in network.config.items() if not key.startswith("_")}
    total = hashlib.sha256(json.dumps([architecture, context], sort_keys=True, default=list).encode())
    for name, tensor in sorted(network.state_dict().items()):
        total.update(f"{name} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return total.hexdigest()
