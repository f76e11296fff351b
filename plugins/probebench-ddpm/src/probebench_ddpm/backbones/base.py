"""What all backbones of this plugin share: a network that predicts noise, read while it looks at a noised image."""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from probebench.api import Backbone, Batch, Level, Point, Precision, Tap, UsageError, normal, pool_map
from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule
from probebench_ddpm.networks.scaling import input_range, to_input
from probebench_ddpm.networks.taps import sites

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diffusers import DDPMScheduler, ModelMixin
    from torch import Tensor

    from probebench_ddpm.diffusion.denoiser import Denoiser
    from probebench_ddpm.options import DDPMOptions, LatentOptions

LEVELS = (10,)
"""Read when the user names none: the level that DDAE (arXiv 2303.09769) reads CIFAR-10 at, its t = 11."""

_BATCH_BYTES = 4 << 20
"""Of the largest feature map of a batch on a CPU: a larger one leaves the caches, and its memory is claimed from the
system and given back layer by layer. Measured on networks of 2 to 36 million weights: docs/performance.md."""


class _ReachedDeepestTapError(Exception):
    """Raised by the deepest hook: nothing after it is needed."""


class Diffusion(Backbone):
    """A network that predicts noise, read at its blocks while it looks at an image with noise of level t.

    Args:
        options: How an image is noised.
        denoiser: The network.
        scheduler: The forward process that it was trained on.
        image_size: Height and width that it was trained on, or a usual one.
        widest: Channels of the largest feature map, which has the size of the image.
        parts: Networks that are moved along with it.
    """

    input_range = input_range()
    batch_size = 128

    def __init__(
        self,
        options: DDPMOptions | LatentOptions,
        denoiser: Denoiser,
        scheduler: DDPMScheduler,
        *,
        image_size: tuple[int, int],
        widest: int,
        parts: Sequence[ModelMixin] = (),
    ) -> None:
        self._options = options
        self._denoiser = denoiser
        self._parts = (*parts, denoiser.module)
        for part in self._parts:
            part.requires_grad_(False).eval()
        self.scheduler = scheduler
        self._schedule = NoiseSchedule(scheduler)
        self._modules = {site.id: site.module for site in sites(denoiser.module)}
        self._order = {name: position for position, name in enumerate(self._modules)}
        self._taps: dict[tuple[int, int], tuple[Tap, ...]] = {}
        self._device, self._dtype = torch.device("cpu"), torch.float32
        self._widest = widest
        self.parameters = sum(weight.numel() for part in self._parts for weight in part.parameters())
        self.image_size = image_size
        # Maps that are narrow and small at once do not fill a matrix unit: 16 x 16 of 32 channels gain a fifth at most,
        # 32 x 32 take half the time.
        self.bf16_pays = widest * min(image_size) >= 1024

    @abstractmethod
    def _clean(self, images: Tensor) -> Tensor:
        """What the network would see of uint8 images if there were no noise: float32 ``(B, C, H, W)``."""

    def levels(self) -> tuple[Level, ...]:
        """The levels that are read when the user names none."""
        return tuple(self._schedule.level(t) for t in LEVELS)

    def level(self, text: str) -> Level:
        """``10`` and ``t=10`` both mean step 10 of the training schedule, 0 being the least noisy."""
        return self._schedule.level(self._schedule.parse(text))

    def place(self, device: str, precision: Precision) -> None:
        """Moves the networks; in bf16 their weights are bf16 and laid out channels last, as matrix units like them."""
        self._device = torch.device(device)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        layout = torch.channels_last if precision == "bf16" else torch.contiguous_format
        for part in self._parts:
            # torch's own `to`: that of diffusers warns of a list of modules to keep in fp32, which is empty here.
            nn.Module.to(part, device=self._device, dtype=self._dtype)
            nn.Module.to(part, memory_format=layout)
        if self._device.type == "cpu":
            one = self._widest * math.prod(self.image_size) * self._dtype.itemsize
            self.batch_size = min(type(self).batch_size, max(1, _BATCH_BYTES // one))

    def prepare(self, images: Tensor) -> Tensor:
        """Scales 0..255 to -1..1."""
        return to_input(images)

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """One forward pass for each level and draw; it stops after the deepest tap that the level needs."""
        clean = self._clean(batch.images)
        features: dict[Point, Tensor] = {}
        for level in dict.fromkeys(point.level for point in points):
            wanted = [point for point in points if point.level == level]
            t = self._schedule.parse(level)
            draws = [self._read(noised, t, wanted) for noised in self._noised(batch, clean, t, seed)]
            for point in wanted:
                features[point] = torch.stack([draw[point] for draw in draws]).mean(0) if draws[1:] else draws[0][point]
        return features

    def _placed(self, inputs: Tensor) -> Tensor:
        layout = torch.channels_last if self._dtype == torch.bfloat16 else torch.contiguous_format
        return inputs.to(self._device).to(self._dtype, memory_format=layout)

    def _noised(self, batch: Batch, clean: Tensor, t: int, seed: int) -> Iterator[Tensor]:
        """The network's inputs, one for each draw. A draw does not depend on t: levels are compared on equal noise."""
        if self._options.noise == "none":
            yield clean
            return
        shape = tuple(clean.shape[1:])
        steps = torch.full((len(clean),), t)
        for draw in range(self._options.draws if self._options.noise == "mean" else 1):
            if self._options.noise == "shared":
                noise = normal(shape, seed=seed, source="shared", index=[0]).expand_as(clean)
            else:
                noise = normal(shape, seed=seed, source=batch.source, index=batch.index.tolist(), draw=draw)
            yield self._schedule.add_noise(clean, noise.to(clean.device), steps)

    def _read(self, noised: Tensor, t: int, points: Sequence[Point]) -> dict[Point, Tensor]:
        """Pooled features of one forward pass."""
        inputs, network = self._placed(noised), self._denoiser.module
        found: dict[Point, Tensor] = {}
        deepest = max((point.tap for point in points), key=self._order.__getitem__)
        with ExitStack() as hooks, suppress(_ReachedDeepestTapError), torch.inference_mode():
            for tap in {point.tap for point in points}:
                hooks.enter_context(self._hook(tap, points, found))
            hooks.enter_context(network.get_submodule(self._modules[deepest]).register_forward_hook(_stop))
            self._denoiser(inputs, t)
        return found

    def _hook(self, tap: str, points: Sequence[Point], found: dict[Point, Tensor]) -> Any:  # noqa: ANN401 - a handle
        """Pools the tap's output as soon as it is there, so that no full map outlives its block."""
        pools = [point for point in points if point.tap == tap]

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            for point in pools:
                found[point] = pool_map(self._denoiser.feature_map(output), "spatial", point.pool)

        return self._denoiser.module.get_submodule(self._modules[tap]).register_forward_hook(hook)


def _stop(*_: Any) -> None:  # noqa: ANN401 - a forward hook
    raise _ReachedDeepestTapError


def check_halving(image_size: tuple[int, int], times: int, backbone: str) -> None:
    """Refuses images that a network cannot halve as often as it has to.

    Raises:
        UsageError: Height or width is no multiple of ``2 ** times``.
    """
    if image_size[0] % 2**times or image_size[1] % 2**times:
        raise UsageError(
            f"images of {image_size[0]}x{image_size[1]} cannot be halved {times} times",
            where=backbone,
            hint=f"height and width that are multiples of {2**times}",
        )
