"""The base class of all backbones of this plugin: a denoising network that is read on noised images."""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from probebench.api import Backbone, Batch, Level, Point, Precision, Tap, UsageError, pool_map
from probebench_ddpm.diffusion.noise import noise_samples
from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule
from probebench_ddpm.networks.scaling import input_range, to_input
from probebench_ddpm.networks.taps import tap_modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diffusers import DDPMScheduler, ModelMixin
    from torch import Tensor

    from probebench_ddpm.diffusion.denoiser import Denoiser
    from probebench_ddpm.options import DDPMOptions, LatentOptions

DEFAULT_LEVELS = (10,)
"""Levels that are read when the user names none. DDAE (arXiv 2303.09769) reads CIFAR-10 at this one, its t = 11."""

_BATCH_BYTES = 4 << 20
"""Size of the largest feature map of a batch on a CPU. A larger map does not fit in the caches, and its memory is
requested from the system and released again for each layer. Measured on networks of 2 to 36 million weights:
docs/performance.md."""


class _DeepestTapReachedError(Exception):
    """Stops a forward pass after the deepest tap."""


class DiffusionBackbone(Backbone):
    """A denoising network, read at its blocks while its input is an image with noise of level t.

    Args:
        options: Options of the backbone; its fields `noise` and `draws` are read here.
        denoiser: The network.
        scheduler: The forward process that the network was trained on.
        image_size: Height and width of the training images, or common ones where they are unknown.
        widest: Channels of the largest feature map, which has the height and width of the image.
        encoders: Networks that process the image before the denoiser; they are moved to devices together with it.
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
        encoders: Sequence[ModelMixin] = (),
    ) -> None:
        self._options = options
        self._denoiser = denoiser
        self._networks = (*encoders, denoiser.module)
        for network in self._networks:
            network.requires_grad_(False).eval()
        self.scheduler = scheduler
        self._schedule = NoiseSchedule(scheduler)
        self._module_names = {tap.id: tap.module for tap in tap_modules(denoiser.module)}
        self._depth = {name: position for position, name in enumerate(self._module_names)}
        self._taps: dict[tuple[int, int], tuple[Tap, ...]] = {}
        self._device, self._dtype = torch.device("cpu"), torch.float32
        self._widest = widest
        self.parameters = sum(weight.numel() for network in self._networks for weight in network.parameters())
        self.image_size = image_size
        # Maps that are both narrow and small do not fill a matrix unit: bf16 makes 16 x 16 maps of 32 channels 20 %
        # faster at most, and 32 x 32 maps twice as fast.
        self.prefers_bf16 = widest * min(image_size) >= 1024

    @abstractmethod
    def _clean_input(self, images: Tensor) -> Tensor:
        """Returns the network's input without noise, float32 ``(B, C, H, W)``, for uint8 images."""

    def levels(self) -> tuple[Level, ...]:
        """Returns the levels that are read when the user names none."""
        return tuple(self._schedule.level(t) for t in DEFAULT_LEVELS)

    def level(self, text: str) -> Level:
        """Returns a level; ``10`` and ``t=10`` both mean step 10 of the training schedule, 0 being the least noisy."""
        return self._schedule.level(self._schedule.parse(text))

    def move_to(self, device: str, precision: Precision) -> None:
        """Moves the networks to a device and a precision; in bf16 their memory layout is channels last."""
        self._device = torch.device(device)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        layout = torch.channels_last if precision == "bf16" else torch.contiguous_format
        for network in self._networks:
            # torch's own `to`: that of diffusers warns about modules to keep in fp32, of which there are none here.
            nn.Module.to(network, device=self._device, dtype=self._dtype)
            nn.Module.to(network, memory_format=layout)
        if self._device.type == "cpu":
            map_bytes = self._widest * math.prod(self.image_size) * self._dtype.itemsize
            self.batch_size = min(type(self).batch_size, max(1, _BATCH_BYTES // map_bytes))

    def prepare(self, images: Tensor) -> Tensor:
        """Scales 0..255 to -1..1."""
        return to_input(images)

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """Extracts features by one forward pass per level and noise sample, up to the deepest tap of the level."""
        clean = self._clean_input(batch.images)
        features: dict[Point, Tensor] = {}
        for level in dict.fromkeys(point.level for point in points):
            of_level = [point for point in points if point.level == level]
            t = self._schedule.parse(level)
            passes = [self._forward(noised, t, of_level) for noised in self._noised_inputs(batch, clean, t, seed)]
            for point in of_level:
                vectors = [one[point] for one in passes]
                features[point] = torch.stack(vectors).mean(0) if vectors[1:] else vectors[0]
        return features

    def _to_device(self, inputs: Tensor) -> Tensor:
        layout = torch.channels_last if self._dtype == torch.bfloat16 else torch.contiguous_format
        return inputs.to(self._device).to(self._dtype, memory_format=layout)

    def _noised_inputs(self, batch: Batch, clean: Tensor, t: int, seed: int) -> Iterator[Tensor]:
        """Yields the network's inputs, one for each forward pass."""
        steps = torch.full((len(clean),), t)
        for noise in noise_samples(self._options, batch, tuple(clean.shape[1:]), seed=seed):
            yield clean if noise is None else self._schedule.add_noise(clean, noise.to(clean.device), steps)

    def _forward(self, noised: Tensor, t: int, points: Sequence[Point]) -> dict[Point, Tensor]:
        """Returns the pooled features of one forward pass."""
        inputs, network = self._to_device(noised), self._denoiser.module
        features: dict[Point, Tensor] = {}
        deepest = max((point.tap for point in points), key=self._depth.__getitem__)
        with ExitStack() as hooks, suppress(_DeepestTapReachedError), torch.inference_mode():
            for tap in {point.tap for point in points}:
                hooks.enter_context(self._add_pooling_hook(tap, points, features))
            hooks.enter_context(network.get_submodule(self._module_names[deepest]).register_forward_hook(_stop))
            self._denoiser(inputs, t)
        return features

    def _add_pooling_hook(self, tap: str, points: Sequence[Point], features: dict[Point, Tensor]) -> Any:  # noqa: ANN401 - a handle
        """Registers a hook that pools the tap's output at once, so that no full map is kept after its block."""
        of_tap = [point for point in points if point.tap == tap]

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            for point in of_tap:
                features[point] = pool_map(self._denoiser.feature_map(output), "spatial", point.pool)

        return self._denoiser.module.get_submodule(self._module_names[tap]).register_forward_hook(hook)


def _stop(*_: Any) -> None:  # noqa: ANN401 - a forward hook
    raise _DeepestTapReachedError


def check_halvings(image_size: tuple[int, int], times: int, backbone: str) -> None:
    """Refuses images that a network cannot halve as often as it has to.

    Args:
        image_size: Height and width of the images.
        times: Number of downsamplers.
        backbone: Name of the backbone, for the error.

    Raises:
        UsageError: Height or width is not a multiple of ``2 ** times``.
    """
    if image_size[0] % 2**times or image_size[1] % 2**times:
        raise UsageError(
            f"images of {image_size[0]}x{image_size[1]} cannot be halved {times} times",
            where=backbone,
            hint=f"a dataset whose height and width are multiples of {2**times}",
        )
