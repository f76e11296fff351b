"""Finds self-attention in a network and checks how it is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from probebench.api import UsageError

if TYPE_CHECKING:
    from diffusers import ModelMixin, UNet2DModel


def has_attention(unet: UNet2DModel) -> bool:
    """Returns whether there is self-attention at any level or in the middle block."""
    blocks = (*unet.down_blocks, unet.mid_block, *unet.up_blocks)
    return any(attention is not None for block in blocks for attention in getattr(block, "attentions", None) or ())


def check_attention(network: ModelMixin, *, where: str) -> None:
    """Refuses attention that is not computed by torch's `scaled_dot_product_attention`.

    Eager attention keeps the matrix of all pairs of positions for the backward pass: 16 times the memory at twice the
    image's side.

    Args:
        network: The network.
        where: The checkpoint or training, for the error.

    Raises:
        UsageError: A layer uses another processor.
    """
    kinds = {type(layer.processor).__name__ for layer in network.modules() if isinstance(layer, Attention)}
    if others := sorted(kinds - {AttnProcessor2_0.__name__}):
        raise UsageError(
            f"attention is computed by {', '.join(others)}, not by scaled_dot_product_attention",
            where=where,
            hint="install torch 2 or newer, and call neither set_attn_processor nor enable_attention_slicing",
        )
