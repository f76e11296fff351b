"""The backbones `ldm` and `dit`: latent diffusion models, read in the same way as `ddpm`.

An image is resized to the size that the network was trained at and encoded once. Noise is sampled for the latents, by
the same rules and from the same seeds as for pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel, UNet2DModel
from torch.nn.functional import interpolate

from probebench.api import Tap, UsageError
from probebench_ddpm.backbones.base import DiffusionBackbone, check_halvings
from probebench_ddpm.diffusion.denoiser import Denoiser, class_condition
from probebench_ddpm.latent.autoencoder import load_autoencoder
from probebench_ddpm.latent.text_encoder import text_condition
from probebench_ddpm.loading import checkpoint
from probebench_ddpm.loading.checkpoint import Family
from probebench_ddpm.networks.fingerprint import fingerprint
from probebench_ddpm.networks.taps import describe_taps

if TYPE_CHECKING:
    from torch import Tensor

    from probebench_ddpm.latent.text_encoder import Prompt
    from probebench_ddpm.options import DiTOptions, LatentOptions, LDMOptions

LDM_FAMILY = Family("ldm", "unet", (UNet2DModel, UNet2DConditionModel))
DIT_FAMILY = Family("dit", "transformer", (DiTTransformer2DModel,))


class LatentBackbone(DiffusionBackbone):
    """A latent diffusion model: an encoder and a denoising network.

    Args:
        options: Options of the backbone.
        family: The networks that are accepted.
        prompt: Text condition of a text-to-image network.
    """

    batch_size = 16  # the first maps of an encoder have the size of the image, and a hundred channels or more

    def __init__(self, options: LatentOptions, family: Family, prompt: Prompt = "zeros") -> None:
        name = family.backbone
        hint = f"a folder that contains {family.subfolder}/, vae/ and scheduler/"
        path = checkpoint.find_saved(options.checkpoint, name, hint)
        loaded = checkpoint.load(path, options, family)
        network = loaded.network
        self._encoder = load_autoencoder(path, name)
        if network.config.in_channels != self._encoder.channels:
            raise UsageError(
                f"the network takes {network.config.in_channels} channels, the latents of its autoencoder have "
                f"{self._encoder.channels}",
                where=str(path),
                hint="use the network's own autoencoder; networks with further inputs (inpainting) are not supported",
            )
        conditions = class_condition(network)
        if isinstance(network, UNet2DConditionModel):
            conditions |= {"encoder_hidden_states": text_condition(path, network, prompt)}
        stride, size = self._encoder.stride, network.config.sample_size
        size = (size, size) if isinstance(size, int) else size and tuple(size)
        self._trained_size: tuple[int, int] | None = size and (size[0] * stride, size[1] * stride)
        super().__init__(
            options,
            Denoiser(network, conditions),
            loaded.scheduler,
            image_size=self._trained_size or (256, 256),
            widest=self._encoder.module.config.block_out_channels[0],
            encoders=(self._encoder.module,),
        )
        self._name = name
        self._fingerprint = fingerprint(
            network,
            {
                "betas": loaded.scheduler.betas.tolist(),
                "autoencoder": fingerprint(self._encoder.module, {}),
                "told": {name: row.tolist() for name, row in conditions.items()},  # the key is part of the hash
            },
        )

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """Returns the network's blocks, and the layers inside those of a U-Net. Their costs include the encoder's.

        Raises:
            UsageError: The size that the network was trained at is unknown, and it cannot halve this one often enough.
        """
        size = self._trained_size or image_size
        stride = self._encoder.stride
        blocks = getattr(self._denoiser.module, "down_blocks", ())
        encoder_halvings = len(self._encoder.module.config.block_out_channels) - 1
        check_halvings(size, encoder_halvings + max(len(blocks) - 1, 0), self._name)
        if size not in self._taps:
            shape = (self._encoder.channels, size[0] // stride, size[1] // stride)
            self._taps[size] = describe_taps(self._denoiser, shape, encoder_flops=self._encoder.flops(size))
        return self._taps[size]

    def prepare(self, images: Tensor) -> Tensor:
        """Resizes to the size that the network was trained at, antialiased, and scales 0..255 to -1..1."""
        size = self._trained_size or tuple(images.shape[2:])
        if tuple(images.shape[2:]) == size:
            return super().prepare(images)
        # Bicubic interpolation overshoots at edges, to values outside the range of images.
        return super().prepare(interpolate(images.float(), size, mode="bicubic", antialias=True).clamp_(0, 255))

    def fingerprint(self) -> str:
        """Returns a hash of architecture, schedule, fp32 weights, encoder and conditions."""
        return self._fingerprint

    def _clean_input(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._encoder.encode(self._to_device(self.prepare(images.to(self._device))))


class LDM(LatentBackbone):
    """A latent U-Net, such as those of Rombach et al. 2022 and Stable Diffusion 1 and 2."""

    def __init__(self, options: LDMOptions) -> None:
        super().__init__(options, LDM_FAMILY, options.prompt)


class DiT(LatentBackbone):
    """A diffusion transformer of Peebles and Xie 2022; its tokens are read as a feature map."""

    def __init__(self, options: DiTOptions) -> None:
        super().__init__(options, DIT_FAMILY)
