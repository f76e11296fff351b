"""Names of the places in a network where features are read, and the modules behind them.

The nine default taps of a four-level network are the outputs of its blocks, after the down- or upsampler:
``down.0`` to ``down.3``, ``mid``, ``up.0`` to ``up.3``. Fine taps are the layers inside, before the resampler:
``up.1.resnets.2``, or ``up.1.attentions.2`` where attention follows.

Aliases: ``thesis:Upsample 3`` counts resolutions as the thesis of 2024 does; ``ddae:out_6`` counts the decoder's layers
as DDAE does (arXiv 2303.09769, its code's ``out_k``).

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


@dataclass(frozen=True)
class Site:
    """A tap's name and the module whose output it is."""

    id: str
    module: str
    default: bool
    aliases: tuple[str, ...] = ()


def sites(network: ModelMixin) -> tuple[Site, ...]:
    """All taps of a U-Net or DiT, in the order of its forward pass."""
    if isinstance(network, DiTTransformer2DModel):
        numbers = range(len(network.transformer_blocks))
        return tuple(Site(f"block.{number}", f"transformer_blocks.{number}", True) for number in numbers)
    return tuple(_sites(network))


def _sites(unet: ModelMixin) -> Iterator[Site]:
    for number, block in enumerate(unet.down_blocks):
        yield from _layers(f"down.{number}", f"down_blocks.{number}", block)
        yield Site(f"down.{number}", f"down_blocks.{number}", True, (f"thesis:Downsample {number + 1}",))
    if unet.mid_block is not None:
        yield from _layers("mid", "mid_block", unet.mid_block, leading_resnets=1)
        yield Site("mid", "mid_block", True, ("thesis:Middle",))
    decoder_layers = 0
    for number, block in enumerate(unet.up_blocks):
        yield from _layers(f"up.{number}", f"up_blocks.{number}", block, ddae_offset=decoder_layers)
        decoder_layers += len(block.resnets)
        yield Site(f"up.{number}", f"up_blocks.{number}", True, (f"thesis:Upsample {len(unet.up_blocks) - number}",))


def _layers(
    tap: str, module: str, block: nn.Module, *, leading_resnets: int = 0, ddae_offset: int | None = None
) -> Iterator[Site]:
    """The layers inside a block. The middle block starts with a residual layer, then alternates."""
    attentions = [layer for layer in getattr(block, "attentions", None) or () if layer is not None]
    for number in range(leading_resnets):
        yield Site(f"{tap}.resnets.{number}", f"{module}.resnets.{number}", False)
    for number in range(len(block.resnets) - leading_resnets):  # type: ignore[arg-type]
        resnet = number + leading_resnets
        kinds = [("attentions", number)] if number < len(attentions) else []
        # In the middle attention comes before the residual layer, everywhere else after it.
        order = [*kinds, ("resnets", resnet)] if leading_resnets else [("resnets", resnet), *kinds]
        for position, (kind, index) in enumerate(order):
            last = position == len(order) - 1
            aliases = (f"ddae:out_{ddae_offset + number + 1}",) if last and ddae_offset is not None else ()
            yield Site(f"{tap}.{kind}.{index}", f"{module}.{kind}.{index}", False, aliases)


def describe(network: Denoiser, shape: tuple[int, int, int], *, before: int = 0) -> tuple[Tap, ...]:
    """Shapes and costs of all taps, by a forward pass of one image on the meta device: no arithmetic is done.

    Args:
        network: The network.
        shape: Of its input, without the batch.
        before: FLOPs that are spent before it.

    Returns:
        Taps in the order of the forward pass; ``cost`` is the share of all FLOPs spent so far.
    """
    double = network.on_meta()
    found = sites(double.module)
    shapes: dict[str, tuple[int, ...]] = {}
    spent: dict[str, int] = {}
    counter = FlopCounterMode(display=False)

    def note(site: Site) -> Any:  # noqa: ANN401 - a forward hook
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            shapes[site.id] = tuple(double.feature_map(output).shape[1:])
            spent[site.id] = before + counter.get_total_flops()

        return hook

    for site in found:
        double.module.get_submodule(site.module).register_forward_hook(note(site))
    with torch.no_grad(), counter:
        double(torch.empty((1, *shape), device="meta"), 0)
    total = before + counter.get_total_flops()
    return tuple(
        Tap(site.id, "spatial", shapes[site.id], round(spent[site.id] / total, 4), site.default, site.aliases)
        for site in found
    )
