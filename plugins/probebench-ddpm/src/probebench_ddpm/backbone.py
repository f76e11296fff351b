"""The `ddpm` backbone: features of a diffusion U-Net at any block and noise level."""

from __future__ import annotations

import math
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from probebench.api import Backbone, Batch, Level, Point, Precision, Tap, UsageError, normal, pool_map
from probebench_ddpm import checkpoint
from probebench_ddpm.schedule import NoiseSchedule, linear_schedule
from probebench_ddpm.taps import describe, feature_map, sites
from probebench_ddpm.trained import trained
from probebench_ddpm.tuning import TunableUNet
from probebench_ddpm.unet import INPUT_RANGE, WIDTHS, fingerprint, random_unet, to_input, unet_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diffusers import DDPMScheduler, UNet2DModel
    from torch import Tensor

    from probebench.api import Trained
    from probebench_ddpm.options import DDPMOptions

LEVELS = (10,)
"""Read when the user names none: the level that DDAE (arXiv 2303.09769) reads CIFAR-10 at, its t = 11."""

_BATCH_BYTES = 4 << 20
"""Of the largest feature map of a batch on a CPU: a larger one leaves the caches, and its memory is claimed from the
system and given back layer by layer. Measured on networks of 2 to 36 million weights: docs/performance.md."""


class _ReachedDeepestTapError(Exception):
    """Raised by the deepest hook: nothing after it is needed."""


class DDPM(Backbone):
    """A U-Net that predicts noise, read at its blocks while it looks at an image with noise of level t."""

    input_range = INPUT_RANGE
    batch_size = 128

    def __init__(self, options: DDPMOptions) -> None:
        self._options = options
        self._unet, scheduler, self._trained_size, self.trained = self._load(options)
        self._taps: dict[tuple[int, int], tuple[Tap, ...]] = {}
        self._unet.requires_grad_(False).eval()
        self.scheduler = scheduler
        self._schedule = NoiseSchedule(scheduler)
        self._modules = {site.id: site.module for site in sites(self._unet)}
        self._order = {name: position for position, name in enumerate(self._modules)}
        self._fingerprint = fingerprint(self._unet, {"betas": scheduler.betas.tolist()})
        self._device, self._dtype = torch.device("cpu"), torch.float32
        self.parameters = sum(weight.numel() for weight in self._unet.parameters())
        self.image_size = self._trained_size or (32, 32)
        # Maps that are narrow and small at once do not fill a matrix unit: 16 x 16 of 32 channels gain a fifth at most,
        # 32 x 32 take half the time.
        self.bf16_pays = self._unet.config.block_out_channels[0] * min(self.image_size) >= 1024

    @staticmethod
    def _load(options: DDPMOptions) -> tuple[UNet2DModel, DDPMScheduler, tuple[int, int] | None, Trained | None]:
        if options.checkpoint == "none":
            config = unet_config(widths=options.widths or WIDTHS, attention=options.attention, size=32)
            return random_unet(config, seed=options.init_seed), linear_schedule(), None, None
        folder = checkpoint.find(options.checkpoint, attention=options.attention)
        loaded = checkpoint.load(folder, options)
        size = loaded.unet.config.sample_size  # diffusers has a side here, a height and a width, or None
        size = (size, size) if isinstance(size, int) else size and tuple(size)
        place = trained(loaded.manifest) if options.weights != "random" else None
        return loaded.unet, loaded.scheduler, size, place

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """The nine blocks and the fine taps inside them.

        Raises:
            UsageError: The network was trained on another size, or cannot halve this one often enough.
        """
        if self._trained_size is not None and image_size != self._trained_size:
            raise UsageError(
                f"the checkpoint was trained on {self._trained_size[0]}x{self._trained_size[1]} images, "
                f"these are {image_size[0]}x{image_size[1]}",
                where=f"checkpoint {self._options.checkpoint}",
                hint="ddpm:checkpoint=none, or a network of your own: probebench train ddpm --dataset ...",
            )
        step = 2 ** (len(self._unet.down_blocks) - 1)
        if image_size[0] % step or image_size[1] % step:
            raise UsageError(
                f"images of {image_size[0]}x{image_size[1]} cannot be halved {len(self._unet.down_blocks) - 1} times",
                where="ddpm",
                hint=f"height and width that are multiples of {step}",
            )
        if image_size not in self._taps:
            self._taps[image_size] = describe(self._unet, image_size)
        return self._taps[image_size]

    def levels(self) -> tuple[Level, ...]:
        """T = 0, 10 and 50."""
        return tuple(self._schedule.level(t) for t in LEVELS)

    def level(self, text: str) -> Level:
        """``10`` and ``t=10`` both mean step 10 of the training schedule, 0 being the least noisy."""
        return self._schedule.level(self._schedule.parse(text))

    def place(self, device: str, precision: Precision) -> None:
        """Moves the U-Net; in bf16 its weights are bf16 and laid out channels last, as matrix units like them."""
        self._device = torch.device(device)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        layout = torch.channels_last if precision == "bf16" else torch.contiguous_format
        # torch's own `to`: that of diffusers warns of a list of modules to keep in fp32, which is empty here.
        nn.Module.to(self._unet, device=self._device, dtype=self._dtype)
        nn.Module.to(self._unet, memory_format=layout)
        if self._device.type == "cpu":
            one = self._unet.config.block_out_channels[0] * math.prod(self.image_size) * self._dtype.itemsize
            self.batch_size = min(DDPM.batch_size, max(1, _BATCH_BYTES // one))

    def prepare(self, images: Tensor) -> Tensor:
        """Scales 0..255 to -1..1."""
        return to_input(images)

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """One forward pass for each level and draw; it stops after the deepest tap that the level needs."""
        clean = self.prepare(batch.images)
        features: dict[Point, Tensor] = {}
        for level in dict.fromkeys(point.level for point in points):
            wanted = [point for point in points if point.level == level]
            t = self._schedule.parse(level)
            draws = [self._read(noised, t, wanted) for noised in self._noised(batch, clean, t, seed)]
            for point in wanted:
                features[point] = torch.stack([draw[point] for draw in draws]).mean(0) if draws[1:] else draws[0][point]
        return features

    def fingerprint(self) -> str:
        """Sum over architecture, schedule and fp32 weights."""
        return self._fingerprint

    def trainable(self, point: Point) -> nn.Module:
        """A copy of the U-Net up to the tap; what comes after it stays untrained. See `TunableUNet`.

        Raises:
            UsageError: Features are the mean of several draws.
        """
        if self._options.noise == "mean" and self._options.draws > 1:
            raise UsageError(
                "a network is trained on one draw of noise at a time, and these features are the mean of "
                f"{self._options.draws}",
                where="option noise=mean of ddpm",
                hint="noise=per-sample",
            )
        return TunableUNet(self._unet, self._modules[point.tap], self._schedule.parse(point.level), point.pool)

    def inputs(self, batch: Batch, level: str, *, seed: int) -> Tensor:
        """With noise of the level."""
        return next(self._noised(batch, self.prepare(batch.images), self._schedule.parse(level), seed))

    def predict(self, noised: Tensor, t: int) -> Tensor:
        """The whole network's output for images with noise of level t: what it was trained to predict.

        Args:
            noised: float32 ``(B, 3, H, W)``.
            t: Step of the training schedule.

        Returns:
            float32, on the network's device.
        """
        with torch.inference_mode():
            predicted: Tensor = self._unet(self._placed(noised), t).sample
        return predicted.float()

    def _placed(self, noised: Tensor) -> Tensor:
        layout = torch.channels_last if self._dtype == torch.bfloat16 else torch.contiguous_format
        return noised.to(self._device).to(self._dtype, memory_format=layout)

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
        inputs = self._placed(noised)
        found: dict[Point, Tensor] = {}
        deepest = max((point.tap for point in points), key=self._order.__getitem__)
        with ExitStack() as hooks, suppress(_ReachedDeepestTapError), torch.inference_mode():
            for tap in {point.tap for point in points}:
                hooks.enter_context(self._hook(tap, points, found))
            hooks.enter_context(self._unet.get_submodule(self._modules[deepest]).register_forward_hook(_stop))
            self._unet(inputs, t)
        return found

    def _hook(self, tap: str, points: Sequence[Point], found: dict[Point, Tensor]) -> Any:  # noqa: ANN401 - a handle
        """Pools the tap's output as soon as it is there, so that no full map outlives its block."""
        pools = [point for point in points if point.tap == tap]

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            for point in pools:
                found[point] = pool_map(feature_map(output), "spatial", point.pool)

        return self._unet.get_submodule(self._modules[tap]).register_forward_hook(hook)


def _stop(*_: Any) -> None:  # noqa: ANN401 - a forward hook
    raise _ReachedDeepestTapError
