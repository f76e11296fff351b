"""A U-Net up to a tap, to be trained."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torch import nn

from probebench.api import pool_map
from probebench_ddpm.diffusion.denoiser import Denoiser

if TYPE_CHECKING:
    from torch import Tensor


class _ReachedTapError(Exception):
    """Raised by the tap's hook: nothing after it is needed, or trained."""


class TunableUNet(nn.Module):
    """Noisy images to pooled features of one tap, with gradients.

    Args:
        denoiser: The U-Net. It is copied, and left as it is.
        module: The module whose output is read.
        t: Step of the schedule that the network is told.
        pool: How a map becomes a vector.
    """

    def __init__(self, denoiser: Denoiser, module: str, t: int, pool: str) -> None:
        super().__init__()
        self.unet = copy.deepcopy(denoiser.module).requires_grad_(True).train()
        self._denoiser = Denoiser(self.unet, denoiser.told)
        self._module, self._t, self._pool = module, t, pool

    def forward(self, inputs: Tensor) -> Tensor:
        """Features ``(B, D)`` of inputs ``(B, 3, H, W)``."""
        found: list[Tensor] = []

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401 - what a hook is given
            found.append(pool_map(self._denoiser.feature_map(output), "spatial", self._pool))
            raise _ReachedTapError

        handle = self.unet.get_submodule(self._module).register_forward_hook(hook)
        try:
            with suppress(_ReachedTapError):
                self._denoiser(inputs, self._t)
        finally:
            handle.remove()
        return found[0]
