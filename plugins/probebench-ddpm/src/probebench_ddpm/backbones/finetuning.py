"""A U-Net up to a tap, for probes that fine-tune it."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torch import nn

from probebench.api import pool_map
from probebench_ddpm.diffusion.denoiser import Denoiser

if TYPE_CHECKING:
    from torch import Tensor


class _TapReachedError(Exception):
    """Stops a forward pass after the tap: later layers are neither needed nor trained."""


class TrainableUNet(nn.Module):
    """A copy of a U-Net that maps noisy images to the pooled features of one tap, with gradients.

    Args:
        denoiser: The U-Net. It is copied and not changed.
        module: Name of the module whose output is read.
        t: Step of the schedule that the network is fed.
        pool: How a map is pooled to a vector.
    """

    def __init__(self, denoiser: Denoiser, module: str, t: int, pool: str) -> None:
        super().__init__()
        self.unet = copy.deepcopy(denoiser.module).requires_grad_(True).train()
        self._denoiser = Denoiser(self.unet, denoiser.conditions)
        self._module_name, self._t, self._pool = module, t, pool

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns features ``(B, D)`` for inputs ``(B, 3, H, W)``."""
        features: list[Tensor] = []

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401 - a forward hook
            features.append(pool_map(self._denoiser.feature_map(output), "spatial", self._pool))
            raise _TapReachedError

        handle = self.unet.get_submodule(self._module_name).register_forward_hook(hook)
        try:
            with suppress(_TapReachedError):
                self._denoiser(inputs, self._t)
        finally:
            handle.remove()
        return features[0]
