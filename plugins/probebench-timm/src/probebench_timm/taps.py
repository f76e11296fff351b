"""The taps of a timm model, and the extraction of their features.

timm's `forward_intermediates` is common to all its families. Each stage or block that it returns is a tap:

- ``block.N`` where all maps have one size, as in a ViT, else ``stage.N``, as in a ResNet. timm's own name for the
  module (``layer1``) is an alias. Both are ``spatial``, and are the output of the block, before any final norm.
- With a class token ``block.N`` is ``tokens``: class token first, then other prefix tokens, then patches. The map of
  the patches alone is the ``spatial`` tap ``block.N.map``.
- ``pre_logits`` is the input vector of the classifier: pooled and normalised by the model. Encoders without a
  classifier do not have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from probebench.api import Tap, TapKind, UsageError
from probebench_timm.network import build

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from probebench_timm.network import TimmModel

PRE_LOGITS = "pre_logits"


@dataclass(frozen=True)
class Site:
    """A tap before its shape and cost are known.

    Attributes:
        id: Name of the tap.
        kind: Kind of the tap.
        index: Index of timm's intermediate feature; None for `PRE_LOGITS`, which is after all of them.
        default: Whether it is used if the user names no taps.
        aliases: timm's name of the module.
    """

    id: str
    kind: TapKind
    index: int | None
    default: bool = True
    aliases: tuple[str, ...] = ()


def all_sites(net: TimmModel) -> tuple[Site, ...]:
    """Returns all taps of a model, in timm's order."""
    return tuple(_sites(net))


def _sites(net: TimmModel) -> Iterator[Site]:
    features = list(net.feature_info)
    isotropic = len(features) > 1 and len({(item["reduction"], item["num_chs"]) for item in features}) == 1
    modules = [item["module"] for item in features]
    for index, module in enumerate(modules):
        name = f"{'block' if isotropic else 'stage'}.{index}"
        aliases = (module,) if modules.count(module) == 1 else ()  # CoaT uses one name for three
        if _has_class_token(net):
            yield Site(name, "tokens", index, aliases=aliases)
            yield Site(f"{name}.map", "spatial", index, default=False)
        else:
            yield Site(name, "spatial", index, aliases=aliases)
    if net.pretrained_cfg.get("classifier"):
        yield Site(PRE_LOGITS, "vector", None)


def _has_class_token(net: TimmModel) -> bool:
    """Returns whether the blocks have a class token; CaiT, for one, adds it after them."""
    among_blocks = "return_prefix_tokens" in signature(net.forward_intermediates).parameters
    return among_blocks and getattr(net, "cls_token", None) is not None


def read(net: TimmModel, inputs: Tensor, sites: Sequence[Site]) -> dict[str, Tensor]:
    """Returns the features of one forward pass, which ends at the deepest one.

    Args:
        net: The model.
        inputs: ``(B, 3, H, W)``.
        sites: Taps to read.

    Returns:
        Features by name of the tap: ``(B, C, H, W)``, ``(B, N, C)`` or ``(B, D)``, depending on its kind.
    """
    indices = sorted({site.index for site in sites if site.index is not None})
    final, maps = _forward(net, inputs, indices, to_the_end=any(site.index is None for site in sites))
    by_index = dict(zip(indices, maps, strict=True))
    features = {site.id: _shaped(by_index[site.index], site.kind) for site in sites if site.index is not None}
    if final is not None:
        features[PRE_LOGITS] = net.forward_head(final, pre_logits=True)
    return features


def _forward(
    net: TimmModel, inputs: Tensor, indices: list[int], *, to_the_end: bool
) -> tuple[Tensor | None, list[Any]]:
    if not indices:
        return net.forward_features(inputs), []
    form: dict[str, Any] = {"output_fmt": "NCHW"}
    if _has_class_token(net):
        form["return_prefix_tokens"] = True
    if to_the_end:
        final, maps = net.forward_intermediates(inputs, indices=indices, **form)
        return final, list(maps)
    return None, list(
        net.forward_intermediates(inputs, indices=indices, stop_early=True, intermediates_only=True, **form)
    )


def _shaped(feature: Tensor | tuple[Tensor, Tensor], kind: TapKind) -> Tensor:
    """Returns the map of the patches alone, or all tokens in the order of the block."""
    if isinstance(feature, torch.Tensor):
        return feature
    patches, prefix = feature
    return torch.cat([prefix, patches.flatten(2).transpose(1, 2)], dim=1) if kind == "tokens" else patches


def describe(name: str, net: TimmModel, input_size: tuple[int, int]) -> tuple[Tap, ...]:
    """Returns shapes and costs of all taps, from forward passes on the meta device, without arithmetic.

    A model that cannot run on the meta device runs on a black image instead.

    Args:
        name: Name of the model in timm.
        net: The model.
        input_size: Height and width of its input.

    Returns:
        Taps from the shallowest to the deepest; ``cost`` is the share of the FLOPs up to `PRE_LOGITS` that are needed
        for the tap alone.

    Raises:
        UsageError: The model does not accept this size.
    """
    try:
        return _measured_on_meta(name, input_size)
    except Exception:  # noqa: BLE001 - whatever fails on meta, the real pass decides
        weight = next(net.parameters())
        black = torch.zeros((1, 3, *input_size), device=weight.device, dtype=weight.dtype)
    try:
        return _measure(net, black)
    except Exception as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"timm's {name} does not accept images of {input_size[0]}x{input_size[1]}: {cause}",
            where="option size of timm",
            hint="size=model, which resizes images to the size of the model",
        ) from error


@lru_cache(maxsize=64)
def _measured_on_meta(name: str, input_size: tuple[int, int]) -> tuple[Tap, ...]:
    """Does not depend on the weights, so that a model and its untrained copy are measured once."""
    with torch.device("meta"):
        copy = build(name, seed=0)
    return _measure(copy, torch.empty((1, 3, *input_size), device="meta"))


def _measure(net: TimmModel, image: Tensor) -> tuple[Tap, ...]:
    sites = all_sites(net)
    # The FLOPs of fused attention kernels are not counted on every device; those of the plain one are.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        features, total = _counted(net, image, sites)
        spent = {
            index: _counted(net, image, (site,))[1] for index, site in {site.index: site for site in sites}.items()
        }
    # timm lists the branches of a network such as CrossViT one after another.
    by_depth = sorted(sites, key=lambda site: spent[site.index])
    return tuple(
        Tap(
            site.id,
            site.kind,
            tuple(features[site.id].shape[1:]),
            round(spent[site.index] / total, 4),
            site.default,
            site.aliases,
        )
        for site in by_depth
    )


def _counted(net: TimmModel, image: Tensor, sites: Sequence[Site]) -> tuple[dict[str, Tensor], int]:
    """Returns features and the FLOPs that they took."""
    with FlopCounterMode(display=False) as counter:
        features = read(net, image, sites)
    return features, counter.get_total_flops()
