"""The autoencoder of a latent diffusion model: encodes images to the latents that its network was trained on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, VQModel
from torch.utils.flop_counter import FlopCounterMode

from probebench.api import UsageError
from probebench_ddpm.loading.layout import AUTOENCODER_FOLDERS, pipeline_component, weights_file
from probebench_ddpm.loading.model_config import build, model_config
from probebench_ddpm.loading.weights import load_weights
from probebench_ddpm.networks.random_weights import random_network

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_UNSUPPORTED_FIELDS = ("shift_factor", "latents_mean", "latents_std")


class Autoencoder:
    """An autoencoder of diffusers without its decoder.

    Args:
        module: The autoencoder. Its decoder is removed in place.

    Attributes:
        module: The encoder.
        channels: Channels of the latents.
        stride: Pixels of an image per position of the latents, in height and in width.
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
        """Encodes images to latents on the scale that the network was trained on.

        Latents of an `AutoencoderKL` are the mean of its posterior, not a sample from it, so that only the noise of a
        level is random. Latents of a `VQModel` are not quantised, because quantisation is part of its decoder (Rombach
        et al. 2022, section 3.1).

        Args:
            images: ``(B, 3, H, W)`` in -1..1, in the encoder's dtype and on its device.

        Returns:
            float32 ``(B, channels, H / stride, W / stride)``.
        """
        encoded = self.module.encode(images)
        latents: Tensor = encoded.latents if isinstance(self.module, VQModel) else encoded.latent_dist.mode()
        scaled: Tensor = latents.float() * self.module.config.scaling_factor
        return scaled

    def flops(self, image_size: tuple[int, int]) -> int:
        """Returns the FLOPs of encoding one image.

        Args:
            image_size: Height and width of the image.
        """
        with torch.device("meta"):
            on_meta = Autoencoder(type(self.module).from_config(self.module.config).eval())
            counter = FlopCounterMode(display=False)
            with torch.no_grad(), counter:
                on_meta.encode(torch.empty((1, 3, *image_size)))
        return counter.get_total_flops()


def load_autoencoder(path: Path, backbone: str) -> Autoencoder:
    """Loads the autoencoder of a pipeline.

    Args:
        path: The checkpoint of the pipeline's network.
        backbone: Name of the backbone, for the error.

    Raises:
        UsageError: There is no autoencoder, a file is missing or cannot be read, its weights do not fit its config, it
            does not take images of three channels, or its latents are shifted.
    """
    folder = pipeline_component(path, *AUTOENCODER_FOLDERS)
    if folder is None:
        raise UsageError(
            f"the checkpoint has no autoencoder: neither {' nor '.join(f'{name}/' for name in AUTOENCODER_FOLDERS)}",
            where=str(path),
            hint=f"{backbone}:checkpoint=FOLDER, the folder of a whole pipeline that save_pretrained has written",
        )
    config_path = folder / "config.json"
    model, config = model_config(config_path, (AutoencoderKL, VQModel))
    if shifted := [name for name in _UNSUPPORTED_FIELDS if config.get(name) is not None]:
        raise UsageError(
            f"latents that are shifted are not supported: config.json of the autoencoder has {', '.join(shifted)}",
            where=str(folder),
            hint="use a model such as Stable Diffusion 1 or 2, or DiT",
        )
    module = build(config_path, config, partial(random_network, model=model, seed=0))
    load_weights(module, weights_file(folder))
    if module.config.in_channels != 3:
        raise UsageError(
            f"the autoencoder takes {module.config.in_channels} channels, images have 3",
            where=str(folder),
            hint="use the autoencoder of an image model, with in_channels 3",
        )
    return Autoencoder(module)
