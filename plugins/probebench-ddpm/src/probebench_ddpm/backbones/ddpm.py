"""The backbone `ddpm`: a pixel-space diffusion U-Net, read at any block and any noise level."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DModel

from probebench.api import ProbebenchWarning, Tap, UsageError
from probebench_ddpm.backbones.base import DiffusionBackbone, check_halvings
from probebench_ddpm.backbones.finetuning import TrainableUNet
from probebench_ddpm.diffusion.denoiser import Denoiser, class_condition
from probebench_ddpm.diffusion.noise_schedule import linear_schedule
from probebench_ddpm.loading import checkpoint
from probebench_ddpm.loading.checkpoint import Checkpoint, Family
from probebench_ddpm.loading.layout import locate
from probebench_ddpm.loading.model_config import check_pixel_space
from probebench_ddpm.loading.provenance import training_provenance
from probebench_ddpm.networks.attention import has_attention
from probebench_ddpm.networks.fingerprint import fingerprint
from probebench_ddpm.networks.scaling import input_range, to_input
from probebench_ddpm.networks.taps import describe_taps
from probebench_ddpm.networks.unet import WIDTHS, random_unet, unet_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from probebench.api import Batch, Point
    from probebench_ddpm.options import DDPMOptions

FAMILY = Family("ddpm", "unet", (UNet2DModel,))


class DDPM(DiffusionBackbone):
    """A U-Net that takes pixels."""

    def __init__(self, options: DDPMOptions) -> None:
        loaded = _load(options)
        self._unet = loaded.network
        size = self._unet.config.sample_size  # diffusers stores a side, a height and a width, or None
        size = (size, size) if isinstance(size, int) else size and tuple(size)
        self._trained_size: tuple[int, int] | None = size if options.checkpoint != "none" else None
        super().__init__(
            options,
            Denoiser(self._unet, class_condition(self._unet)),
            loaded.scheduler,
            image_size=self._trained_size or (32, 32),
            widest=self._unet.config.block_out_channels[0],
        )
        self.training_stage = training_provenance(loaded.manifest) if options.weights != "random" else None
        self.input_range = input_range(options.scale)
        self._scale = options.scale
        _check_scale(loaded.manifest, options)
        self._checkpoint = options.checkpoint
        self._fingerprint = fingerprint(self._unet, {"betas": loaded.scheduler.betas.tolist()})

    def prepare(self, images: Tensor) -> Tensor:
        """Scales 0..255 to -1..1, or to the range that the option `scale` sets."""
        return to_input(images, self._scale)

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """Returns the blocks, nine in a network of four levels, and the layers inside them.

        Raises:
            UsageError: The network was trained on another size, or cannot halve this one often enough.
        """
        if self._trained_size is not None and image_size != self._trained_size:
            raise UsageError(
                f"the checkpoint was trained on {self._trained_size[0]}x{self._trained_size[1]} images, "
                f"these are {image_size[0]}x{image_size[1]}",
                where=f"checkpoint {self._checkpoint}",
                hint=f"image_size={self._trained_size[0]} on the dataset, or ddpm:checkpoint="
                + checkpoint.bundled_of_size(image_size),
            )
        check_halvings(image_size, len(self._unet.down_blocks) - 1, "ddpm")
        if image_size not in self._taps:
            self._taps[image_size] = describe_taps(self._denoiser, (3, *image_size))
        return self._taps[image_size]

    def fingerprint(self) -> str:
        """Returns a hash of architecture, schedule and fp32 weights."""
        return self._fingerprint

    def trainable(self, point: Point) -> nn.Module:
        """Returns a copy of the U-Net up to the tap (see `TrainableUNet`); later layers are not trained.

        Raises:
            UsageError: Features are averaged over several noise samples.
        """
        if self._options.noise == "mean" and self._options.draws > 1:
            raise UsageError(
                f"a network is fine-tuned on one noise sample per image, not on the mean of {self._options.draws}",
                where="option noise=mean of ddpm",
                hint="ddpm:noise=per-sample",
            )
        t = self._schedule.parse(point.level)
        return TrainableUNet(self._denoiser, self._module_names[point.tap], t, point.pool)

    def inputs(self, batch: Batch, level: str, *, seed: int) -> Tensor:
        """Returns the prepared images with noise of the level."""
        return next(self._noised_inputs(batch, self.prepare(batch.images), self._schedule.parse(level), seed))

    def predict(self, noised: Tensor, t: int) -> Tensor:
        """Returns the output of the whole network for images with noise of level t.

        Args:
            noised: float32 ``(B, 3, H, W)``.
            t: Step of the training schedule.

        Returns:
            float32, on the network's device.
        """
        with torch.inference_mode():
            return self._denoiser(self._to_device(noised), t).float()

    def _clean_input(self, images: Tensor) -> Tensor:
        return self.prepare(images)


def _check_scale(manifest: Mapping[str, Any], options: DDPMOptions) -> None:
    """Warns where the input range differs from that of the training; the warning is stored in the record."""
    trained_range = tuple(manifest.get("input_range", input_range()))
    untrained = options.checkpoint == "none" or options.weights == "random"
    if not untrained and trained_range != input_range(options.scale):
        warnings.warn(
            f"{options.checkpoint} was trained on inputs from {trained_range[0]:g} to {trained_range[1]:g}, and is "
            f"read with inputs from {-options.scale:g} to {options.scale:g}",
            ProbebenchWarning,
            stacklevel=2,
        )


def _load(options: DDPMOptions) -> Checkpoint:
    if options.checkpoint == "none":
        config = unet_config(widths=options.widths or WIDTHS, attention=options.attention, size=32)
        return Checkpoint(random_unet(config, seed=options.init_seed), linear_schedule(), {})
    path = checkpoint.find(options.checkpoint, attention=options.attention)
    check_pixel_space(locate(path, options.weights).model_index)
    loaded = checkpoint.load(path, options, FAMILY)
    _check_network(loaded.network, path, options)
    return loaded


def _check_network(unet: UNet2DModel, path: Path, options: DDPMOptions) -> None:
    """Refuses networks that do not take images of three channels, and those that the options do not describe."""
    if unet.config.in_channels != 3:
        raise UsageError(
            f"the checkpoint takes {unet.config.in_channels} channels, images have 3",
            where=str(path),
            hint=f"ldm:checkpoint={path}, if the folder also holds the autoencoder (vae/ or vqvae/)",
        )
    attention = has_attention(unet)
    if attention != options.attention:
        raise UsageError(
            f"the checkpoint has {'attention' if attention else 'no attention'}",
            where=str(path),
            hint=f"attention={'true' if attention else 'false'}",
        )
    widths = tuple(unet.config.block_out_channels)
    if options.widths and widths != options.widths:
        raise UsageError(
            f"the checkpoint has widths {'+'.join(map(str, widths))}, not {'+'.join(map(str, options.widths))}",
            where=str(path),
            hint=f"widths={'+'.join(map(str, widths))}, or no option widths",
        )
