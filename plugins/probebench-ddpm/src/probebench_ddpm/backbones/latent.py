"""The backbones `ldm` and `dit`: networks that see latents, read as `ddpm` is.

An image is brought to the size that the network was trained at and encoded once; noise is drawn for the latents, by the
same rules and from the same seeds as for pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel, UNet2DModel
from torch.nn.functional import interpolate

from probebench.api import Tap, UsageError
from probebench_ddpm.backbones.base import Diffusion, check_halving
from probebench_ddpm.diffusion.denoiser import Denoiser, classless
from probebench_ddpm.latent import autoencoder
from probebench_ddpm.latent.text_encoder import text_condition
from probebench_ddpm.loading import checkpoint
from probebench_ddpm.loading.checkpoint import Family
from probebench_ddpm.networks.fingerprint import fingerprint
from probebench_ddpm.networks.taps import describe

if TYPE_CHECKING:
    from torch import Tensor

    from probebench_ddpm.latent.text_encoder import Prompt
    from probebench_ddpm.options import DiTOptions, LatentOptions, LDMOptions

LDM_FAMILY = Family("ldm", "unet", (UNet2DModel, UNet2DConditionModel))
DIT_FAMILY = Family("dit", "transformer", (DiTTransformer2DModel,))


class Latent(Diffusion):
    """A network of latents with the autoencoder that makes them.

    Args:
        options: Which checkpoint, and how an image is noised.
        family: What it may be.
        prompt: What a network of text and image is told.
    """

    batch_size = 16  # an encoder's first maps have the size of the image, and a hundred channels or more

    def __init__(self, options: LatentOptions, family: Family, prompt: Prompt = "zeros") -> None:
        name = family.backbone
        place = checkpoint.find_saved(options.checkpoint, name, f"with {family.stem}/, vae/ and scheduler/ in it")
        loaded = checkpoint.load(place, options, family)
        network = loaded.network
        self._encoder = autoencoder.load(place, name)
        if network.config.in_channels != self._encoder.channels:
            raise UsageError(
                f"the network takes {network.config.in_channels} channels, its autoencoder gives "
                f"{self._encoder.channels}",
                where=str(place),
                hint="the autoencoder that the network was trained with; networks of more than an image are not read",
            )
        told = classless(network)
        if isinstance(network, UNet2DConditionModel):
            told |= {"encoder_hidden_states": text_condition(place, network, prompt)}
        stride, size = self._encoder.stride, network.config.sample_size
        size = (size, size) if isinstance(size, int) else size and tuple(size)
        self._trained_size: tuple[int, int] | None = size and (size[0] * stride, size[1] * stride)
        super().__init__(
            options,
            Denoiser(network, told),
            loaded.scheduler,
            image_size=self._trained_size or (256, 256),
            widest=self._encoder.module.config.block_out_channels[0],
            parts=(self._encoder.module,),
        )
        self._name = name
        self._fingerprint = fingerprint(
            network,
            {
                "betas": loaded.scheduler.betas.tolist(),
                "autoencoder": fingerprint(self._encoder.module, {}),
                "told": {name: row.tolist() for name, row in told.items()},
            },
        )

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """The network's blocks, and the fine taps inside those of a U-Net. Their costs include the encoder's.

        Raises:
            UsageError: Nothing tells the size that the network was trained at, and it cannot halve this one often
                enough.
        """
        size = self._trained_size or image_size
        stride = self._encoder.stride
        blocks = getattr(self._denoiser.module, "down_blocks", ())
        check_halving(
            size, len(self._encoder.module.config.block_out_channels) - 1 + max(len(blocks) - 1, 0), self._name
        )
        if size not in self._taps:
            shape = (self._encoder.channels, size[0] // stride, size[1] // stride)
            self._taps[size] = describe(self._denoiser, shape, before=self._encoder.flops(size))
        return self._taps[size]

    def prepare(self, images: Tensor) -> Tensor:
        """Resizes to the size that the network was trained at, antialiased, and scales 0..255 to -1..1."""
        size = self._trained_size or tuple(images.shape[2:])
        if tuple(images.shape[2:]) == size:
            return super().prepare(images)
        # Bicubic interpolation overshoots at edges, to values that no image has.
        return super().prepare(interpolate(images.float(), size, mode="bicubic", antialias=True).clamp_(0, 255))

    def fingerprint(self) -> str:
        """Sum over architecture, schedule, fp32 weights, the encoder, and what the network is told."""
        return self._fingerprint

    def _clean(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._encoder.encode(self._placed(self.prepare(images.to(self._device))))


class LDM(Latent):
    """A U-Net of latents, as those of Rombach et al. 2022 and Stable Diffusion 1 and 2."""

    def __init__(self, options: LDMOptions) -> None:
        super().__init__(options, LDM_FAMILY, options.prompt)


class DiT(Latent):
    """A diffusion transformer of Peebles and Xie 2022; its tokens are read as the map that they stand for."""

    def __init__(self, options: DiTOptions) -> None:
        super().__init__(options, DIT_FAMILY)
