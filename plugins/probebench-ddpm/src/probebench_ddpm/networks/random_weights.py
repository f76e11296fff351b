"""Networks with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from diffusers import ModelMixin


def random_network(config: dict[str, Any], model: type[ModelMixin], *, seed: int) -> ModelMixin:
    """Returns a network of this config with random weights that depend only on the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: ModelMixin = model.from_config(config)
    return network
