"""The encoder before a latent network: from images to latents, the way its training made them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, VQModel
from torch.utils.flop_counter import FlopCounterMode

from probebench.api import UsageError
from probebench_ddpm.loading.layout import part_of_pipeline, weights_file
from probebench_ddpm.loading.model_config import build, model_config
from probebench_ddpm.loading.weights import fill
from probebench_ddpm.networks.random_weights import random_network

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

FOLDERS = ("vae", "vqvae")
_MOVED = ("shift_factor", "latents_mean", "latents_std")


class Autoencoder:
    """An autoencoder of diffusers, without its decoder.

    Args:
        module: Either kind; its decoder is thrown away.

    Attributes:
        module: What is left of it.
        channels: Of the latents.
        stride: How many pixels of an image one position of the latents stands for, in height as in width.
    """

    def __init__(self, module: AutoencoderKL | VQModel) -> None:
        for name in ("decoder", "post_quant_conv", "quantize"):
            if hasattr(module, name):
                delattr(module, name)
        self.module = module
        config = module.config
        quantised = isinstance(module, VQModel) and config.vq_embed_dim is not None
        self.channels: int = config.vq_embed_dim if quantised else config.latent_channels
        self.stride: int = 2 ** (len(config.block_out_channels) - 1)

    def encode(self, images: Tensor) -> Tensor:
        """Latents on the scale that the network was trained on.

        Those of an `AutoencoderKL` are the mean of its posterior, not a draw: what is random is the noise of a level
        alone. Those of a `VQModel` are not quantised; that is part of its decoder (Rombach et al. 2022, section 3.1).

        Args:
            images: ``(B, 3, H, W)`` in -1..1, of the encoder's type and on its device.

        Returns:
            float32 ``(B, channels, H / stride, W / stride)``.
        """
        encoded = self.module.encode(images)
        latents: Tensor = encoded.latents if isinstance(self.module, VQModel) else encoded.latent_dist.mode()
        scaled: Tensor = latents.float() * self.module.config.scaling_factor
        return scaled

    def flops(self, image_size: tuple[int, int]) -> int:
        """What encoding one image costs."""
        with torch.device("meta"):
            double = Autoencoder(type(self.module).from_config(self.module.config).eval())
            counter = FlopCounterMode(display=False)
            with torch.no_grad(), counter:
                double.encode(torch.empty((1, 3, *image_size)))
        return counter.get_total_flops()


def load(place: Path, backbone: str) -> Autoencoder:
    """The autoencoder beside a network.

    Args:
        place: The network's checkpoint.
        backbone: Who asks.

    Raises:
        UsageError: There is none, a file is missing or cannot be read, its weights do not fit its config, or it is not
            one that takes images of three channels and gives latents that are only scaled.
    """
    folder = part_of_pipeline(place, *FOLDERS)
    if folder is None:
        raise UsageError(
            f"there is no autoencoder: neither {' nor '.join(f'{name}/' for name in FOLDERS)}",
            where=str(place),
            hint=f"{backbone}:checkpoint=FOLDER of a whole pipeline as save_pretrained writes it",
        )
    path = folder / "config.json"
    model, config = model_config(path, (AutoencoderKL, VQModel))
    if moved := [name for name in _MOVED if config.get(name) is not None]:
        raise UsageError(
            f"the autoencoder's latents are not only scaled: config.json says {', '.join(moved)}",
            where=str(folder),
            hint="the autoencoder of a latent diffusion model such as Stable Diffusion 1 or 2, or DiT",
        )
    module = build(path, config, partial(random_network, model=model, seed=0))
    fill(module, weights_file(folder))
    if module.config.in_channels != 3:
        raise UsageError(
            f"the autoencoder takes {module.config.in_channels} channels, images have 3", where=str(folder)
        )
    return Autoencoder(module)
