"""The taps of a network: the names of the places where features are read, and the modules they belong to.

The nine default taps of a four-level network are the outputs of its blocks, after the down- or upsampler:
``down.0`` to ``down.3``, ``mid``, ``up.0`` to ``up.3``. Fine taps are the layers inside, before the resampler:
``up.1.resnets.2``, or ``up.1.attentions.2`` where attention follows.

Aliases: ``thesis:Upsample 3`` is the name in the thesis of 2024, which counts resolutions; ``ddae:out_6`` is the name
in DDAE, which counts the decoder's layers (arXiv 2303.09769, ``out_k`` in its code).

The taps of a DiT are its blocks: ``block.0`` to ``block.27``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiTTransformer2DModel
from torch.utils.flop_counter import FlopCounterMode

from probebench.api import Tap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import ModelMixin
    from torch import nn

    from probebench_ddpm.diffusion.denoiser import Denoiser


_described: dict[tuple[str, tuple[int, int, int], int], tuple[Tap, ...]] = {}
"""Results of `describe_taps`, by architecture, shape of the input and FLOPs of the encoder."""


@dataclass(frozen=True)
class TapModule:
    """A tap and the module whose output it is.

    Attributes:
        id: Name of the tap.
        module: Name of the module.
        default: Whether the tap is read when the user names none.
        aliases: Other names of the tap.
    """

    id: str
    module: str
    default: bool
    aliases: tuple[str, ...] = ()


def tap_modules(network: ModelMixin) -> tuple[TapModule, ...]:
    """Returns all taps of a U-Net or DiT, in the order of its forward pass."""
    if isinstance(network, DiTTransformer2DModel):
        numbers = range(len(network.transformer_blocks))
        return tuple(TapModule(f"block.{number}", f"transformer_blocks.{number}", True) for number in numbers)
    return tuple(_unet_taps(network))


def _unet_taps(unet: ModelMixin) -> Iterator[TapModule]:
    for number, block in enumerate(unet.down_blocks):
        yield from _layers(f"down.{number}", f"down_blocks.{number}", block)
        yield TapModule(f"down.{number}", f"down_blocks.{number}", True, (f"thesis:Downsample {number + 1}",))
    if unet.mid_block is not None:
        yield from _layers("mid", "mid_block", unet.mid_block, leading_resnets=1)
        yield TapModule("mid", "mid_block", True, ("thesis:Middle",))
    decoder_layers = 0
    for number, block in enumerate(unet.up_blocks):
        yield from _layers(f"up.{number}", f"up_blocks.{number}", block, ddae_offset=decoder_layers)
        decoder_layers += len(block.resnets)
        yield TapModule(
            f"up.{number}", f"up_blocks.{number}", True, (f"thesis:Upsample {len(unet.up_blocks) - number}",)
        )


def _layers(
    tap: str, module: str, block: nn.Module, *, leading_resnets: int = 0, ddae_offset: int | None = None
) -> Iterator[TapModule]:
    """Yields the layers inside a block. The middle block starts with a residual layer and then alternates."""
    attentions = [layer for layer in getattr(block, "attentions", None) or () if layer is not None]
    for number in range(leading_resnets):
        yield TapModule(f"{tap}.resnets.{number}", f"{module}.resnets.{number}", False)
    for number in range(len(block.resnets) - leading_resnets):  # type: ignore[arg-type]
        resnet = number + leading_resnets
        kinds = [("attentions", number)] if number < len(attentions) else []
        # In the middle block attention precedes the residual layer, in all other blocks it follows it.
        order = [*kinds, ("resnets", resnet)] if leading_resnets else [("resnets", resnet), *kinds]
        for position, (kind, index) in enumerate(order):
            last = position == len(order) - 1
            aliases = (f"ddae:out_{ddae_offset + number + 1}",) if last and ddae_offset is not None else ()
            yield TapModule(f"{tap}.{kind}.{index}", f"{module}.{kind}.{index}", False, aliases)


def describe_taps(network: Denoiser, shape: tuple[int, int, int], *, encoder_flops: int = 0) -> tuple[Tap, ...]:
    """Determines shapes and costs of all taps by a forward pass of one image on the meta device, without arithmetic.

    The pass takes longer than one with arithmetic, so its result is kept for all networks of the same architecture,
    such as the checkpoints of a training.

    Args:
        network: The network.
        shape: Shape of its input, without the batch.
        encoder_flops: FLOPs that are spent on the image before the network.

    Returns:
        Taps in the order of the forward pass; ``cost`` is the share of all FLOPs spent so far.
    """
    key = (network.architecture(), shape, encoder_flops)
    if key not in _described:
        _described[key] = _describe(network.on_meta(), shape, encoder_flops)
    return _described[key]


def _describe(on_meta: Denoiser, shape: tuple[int, int, int], encoder_flops: int) -> tuple[Tap, ...]:
    modules = tap_modules(on_meta.module)
    shapes: dict[str, tuple[int, ...]] = {}
    spent: dict[str, int] = {}
    counter = FlopCounterMode(display=False)

    def make_hook(tap: TapModule) -> Any:  # noqa: ANN401 - a forward hook
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            shapes[tap.id] = tuple(on_meta.feature_map(output).shape[1:])
            spent[tap.id] = encoder_flops + counter.get_total_flops()

        return hook

    for tap in modules:
        on_meta.module.get_submodule(tap.module).register_forward_hook(make_hook(tap))
    with torch.no_grad(), counter:
        on_meta(torch.empty((1, *shape), device="meta"), 0)
    total = encoder_flops + counter.get_total_flops()
    return tuple(
        Tap(tap.id, "spatial", shapes[tap.id], round(spent[tap.id] / total, 4), tap.default, tap.aliases)
        for tap in modules
    )
