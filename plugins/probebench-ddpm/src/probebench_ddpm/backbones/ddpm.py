"""The `ddpm` backbone: features of a diffusion U-Net at any block and noise level."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DModel

from probebench.api import ProbebenchWarning, Tap, UsageError
from probebench_ddpm.backbones.base import Diffusion, check_halving
from probebench_ddpm.backbones.finetuning import TunableUNet
from probebench_ddpm.diffusion.denoiser import Denoiser, classless
from probebench_ddpm.diffusion.noise_schedule import linear_schedule
from probebench_ddpm.loading import checkpoint
from probebench_ddpm.loading.checkpoint import Checkpoint, Family
from probebench_ddpm.loading.layout import locate
from probebench_ddpm.loading.model_config import check_pixels
from probebench_ddpm.loading.provenance import trained
from probebench_ddpm.networks.attention import has_attention
from probebench_ddpm.networks.fingerprint import fingerprint
from probebench_ddpm.networks.scaling import input_range, to_input
from probebench_ddpm.networks.taps import describe
from probebench_ddpm.networks.unet import WIDTHS, random_unet, unet_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from probebench.api import Batch, Point
    from probebench_ddpm.options import DDPMOptions

FAMILY = Family("ddpm", "unet", (UNet2DModel,))


class DDPM(Diffusion):
    """A U-Net that sees pixels."""

    def __init__(self, options: DDPMOptions) -> None:
        loaded = _load(options)
        self._unet = loaded.network
        size = self._unet.config.sample_size  # diffusers has a side here, a height and a width, or None
        size = (size, size) if isinstance(size, int) else size and tuple(size)
        self._trained_size: tuple[int, int] | None = size if options.checkpoint != "none" else None
        super().__init__(
            options,
            Denoiser(self._unet, classless(self._unet)),
            loaded.scheduler,
            image_size=self._trained_size or (32, 32),
            widest=self._unet.config.block_out_channels[0],
        )
        self.trained = trained(loaded.manifest) if options.weights != "random" else None
        self.input_range = input_range(options.scale)
        self._scale = options.scale
        _check_scale(loaded.manifest, options)
        self._checkpoint = options.checkpoint
        self._fingerprint = fingerprint(self._unet, {"betas": loaded.scheduler.betas.tolist()})

    def prepare(self, images: Tensor) -> Tensor:
        """Scales 0..255 to -1..1, or to what the option says."""
        return to_input(images, self._scale)

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """The blocks, nine in a network of four levels, and the fine taps inside them.

        Raises:
            UsageError: The network was trained on another size, or cannot halve this one often enough.
        """
        if self._trained_size is not None and image_size != self._trained_size:
            raise UsageError(
                f"the checkpoint was trained on {self._trained_size[0]}x{self._trained_size[1]} images, "
                f"these are {image_size[0]}x{image_size[1]}",
                where=f"checkpoint {self._checkpoint}",
                hint="ddpm:checkpoint=none, or a network of your own: probebench train ddpm --dataset ...",
            )
        check_halving(image_size, len(self._unet.down_blocks) - 1, "ddpm")
        if image_size not in self._taps:
            self._taps[image_size] = describe(self._denoiser, (3, *image_size))
        return self._taps[image_size]

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
        return TunableUNet(self._denoiser, self._modules[point.tap], self._schedule.parse(point.level), point.pool)

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
            return self._denoiser(self._placed(noised), t).float()

    def _clean(self, images: Tensor) -> Tensor:
        return self.prepare(images)


def _check_scale(manifest: Mapping[str, Any], options: DDPMOptions) -> None:
    """Warns of a network that is to see other values than it was trained on: the record says so, too."""
    learnt = tuple(manifest.get("input_range", input_range()))
    untrained = options.checkpoint == "none" or options.weights == "random"
    if not untrained and learnt != input_range(options.scale):
        warnings.warn(
            f"{options.checkpoint} was trained on images of {learnt[0]:g} to {learnt[1]:g}, and is read with "
            f"{-options.scale:g} to {options.scale:g}",
            ProbebenchWarning,
            stacklevel=2,
        )


def _load(options: DDPMOptions) -> Checkpoint:
    if options.checkpoint == "none":
        config = unet_config(widths=options.widths or WIDTHS, attention=options.attention, size=32)
        return Checkpoint(random_unet(config, seed=options.init_seed), linear_schedule(), {})
    place = checkpoint.find(options.checkpoint, attention=options.attention)
    check_pixels(locate(place, options.weights).model_index)
    loaded = checkpoint.load(place, options, FAMILY)
    _check_network(loaded.network, place, options)
    return loaded


def _check_network(unet: UNet2DModel, place: Path, options: DDPMOptions) -> None:
    """Refuses what cannot see images, and what is not what the user says."""
    if unet.config.in_channels != 3:
        raise UsageError(
            f"the checkpoint takes {unet.config.in_channels} channels, images have 3",
            where=str(place),
            hint="ldm:checkpoint=..., with the autoencoder that the network was trained on",
        )
    found = has_attention(unet)
    if found != options.attention:
        raise UsageError(
            f"the checkpoint has {'attention' if found else 'no attention'}",
            where=str(place),
            hint=f"attention={'true' if found else 'false'}",
        )
    channels = tuple(unet.config.block_out_channels)
    if options.widths and channels != options.widths:
        raise UsageError(
            f"the checkpoint has widths {'+'.join(map(str, channels))}, not {'+'.join(map(str, options.widths))}",
            where=str(place),
            hint="leave widths out",
        )
