"""Building a timm model by its name, without its classifier, and the fingerprint of its weights."""

from __future__ import annotations

import difflib
import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

import timm
import torch

from probebench.api import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn

    class TimmModel(nn.Module):
        """The common interface of timm's models, which share no class; for the type checker only."""

        pretrained_cfg: dict[str, Any]
        feature_info: Iterable[dict[str, Any]]

        forward_features: Callable[[Tensor], Tensor]
        forward_intermediates: Callable[..., Any]
        forward_head: Callable[..., Tensor]


_WHERE = "option model of timm"


def check_name(name: str) -> None:
    """Raises an error unless timm has a model and its tag.

    Raises:
        UsageError: timm has no such model or tag. Names of other sources, such as ``hf-hub:...``, are refused as
            well, because they would download something.
    """
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=3)
        names = " or ".join(map(repr, close))
        hint = f"did you mean {names}?" if close else f"one of the {len(known)} names that timm.list_models() returns"
        raise UsageError(f"timm has no model {architecture!r}", where=_WHERE, hint=hint)
    tags = [variant.partition(".")[2] for variant in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        hint = "one of " + ", ".join(tags) if tags else f"model={architecture}, which has no tags"
        raise UsageError(f"timm's {architecture} has no tag {tag!r}", where=_WHERE, hint=hint)


def build(name: str, *, seed: int) -> TimmModel:
    """Builds a frozen model without a classifier, whose random weights depend on the seed alone.

    Args:
        name: A name that `check_name` accepts.
        seed: Seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
        net = cast("TimmModel", timm.create_model(name, pretrained=False, num_classes=0))
    net.requires_grad_(False).eval()
    return net


def fingerprint(net: nn.Module, name: str, preprocessing: dict[str, Any]) -> str:
    """Returns a SHA-256 over name, preprocessing and weights."""
    total = hashlib.sha256(json.dumps([name, preprocessing], sort_keys=True).encode())
    for key, tensor in sorted(net.state_dict().items()):
        total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
