"""Tiny networks, a synthetic dataset, and hooks that record the inputs of a network.

Nothing here reads private attributes of the backbone: the test builds and saves the U-Net itself, or observes it by
torch's global forward hooks.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    LDMPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch.nn.modules.module import register_module_forward_pre_hook

from probebench.api import Batch, Point, Split, TrainingJob
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.options import DDPMOptions, DDPMRecipe

if TYPE_CHECKING:
    from pathlib import Path

TINY = (8, 8, 8, 8)
BLOCKS = {
    "down.0": "down_blocks.0",
    "down.1": "down_blocks.1",
    "down.2": "down_blocks.2",
    "down.3": "down_blocks.3",
    "mid": "mid_block",
    "up.0": "up_blocks.0",
    "up.1": "up_blocks.1",
    "up.2": "up_blocks.2",
    "up.3": "up_blocks.3",
}
"""The nine default taps and the modules whose outputs they are."""

ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
"""Tolerance for features of order 1 that two networks with the same weights compute in fp32.

The kernels that torch selects, and with them the order of additions, depend on the machine, the number of threads, the
layout of a batch and the alignment of weights in memory. Features then differ by about 1e-6, and by some 1e-6 more
where diffusers adds the noise, with factors in fp32. Another step (t = 11 for 10), padding or embedding of t changes
them by 1e-2 or more, and another `norm_eps` by up to 1e-4.
"""


class Images(Split):
    """Random images with a vertical gradient and a bright left half. Reading the labels is an error."""

    def __init__(self, count: int = 24, size: int = 8, *, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        colour = torch.randint(40, 200, (count, 3, 1, 1), generator=generator)
        ramp = torch.linspace(-40, 0, size).view(1, 1, size, 1).int()
        left = torch.cat([torch.full((size // 2,), 50), torch.zeros(size - size // 2)]).view(1, 1, 1, size).int()
        self.pixels = (colour + ramp + left).clamp(0, 255).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> torch.Tensor:
        return self.pixels[index].clone()

    def labels(self) -> torch.Tensor:
        raise AssertionError("training read the labels")

    def fingerprint(self) -> str:
        return hashlib.sha256(self.pixels.numpy().tobytes()).hexdigest()


def make_job(out: Path, *, epochs: int = 3, recipe: dict[str, Any] | None = None, **changed: Any) -> TrainingJob:
    """Makes a training job that takes about a second: three steps per epoch, and a checkpoint after each epoch."""
    standard = {"lr": 1e-3, "batch_size": 8, "warmup": 4, "save_every": 1}
    options = changed.pop("options", {})
    fields: dict[str, Any] = {
        "options": DDPMOptions(**{"widths": TINY, **options}),
        "recipe": DDPMRecipe(**{**standard, **(recipe or {})}),
        "images": Images(),
        "dataset": "stand-in",
        "flips": False,
        "out": out,
        "epochs": epochs,
        "seed": 0,
        "device": "cpu",
        "precision": "fp32",
        **changed,
    }
    out.mkdir(parents=True, exist_ok=True)
    return TrainingJob(**fields)


@pytest.fixture(scope="session")
def job_in():
    """Makes a training job in a given folder, for fixtures of a wider scope than a test."""
    return make_job


@pytest.fixture
def job(tmp_path):
    """Makes a training job in a subfolder of the test's temporary folder."""

    def make(name: str = "run", **changed: Any) -> TrainingJob:
        return make_job(tmp_path / name, **changed)

    return make


@lru_cache(maxsize=8)
def _built(options: DDPMOptions) -> DDPM:
    return DDPM(options)


@pytest.fixture
def build():
    """Makes a tiny untrained backbone; equal options return the same object, which tests must not change."""

    def make(**options: Any) -> DDPM:
        return _built(DDPMOptions(**{"checkpoint": "none", "widths": TINY, **options}))

    return make


@pytest.fixture
def batch():
    """Makes a batch of random images."""

    def make(count: int = 5, size: int = 16, *, seed: int = 0, source: str = "toy/train", start: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
        return Batch(images, torch.arange(start, start + count), source)

    return make


def diffusers_unet(*, attention: bool = True, seed: int = 3, **config: Any) -> UNet2DModel:
    """Builds a U-Net with diffusers only."""
    down = ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D")
    up = ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D")
    standard = {
        "sample_size": 16,
        "block_out_channels": (8, 16, 16, 16),
        "layers_per_block": 2,
        "down_block_types": down if attention else ("DownBlock2D",) * 4,
        "up_block_types": up if attention else ("UpBlock2D",) * 4,
        "add_attention": attention,
        "norm_num_groups": 4,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(**{**standard, **config}).eval()


@pytest.fixture
def unet():
    """Builds a U-Net with diffusers only."""
    return diffusers_unet


@pytest.fixture
def eager():
    """Sets a network's attention to diffusers' eager implementation."""

    def change(network: UNet2DModel) -> UNet2DModel:
        for layer in network.modules():
            if isinstance(layer, Attention):
                layer.set_processor(AttnProcessor())
        return network

    return change


@pytest.fixture
def saved(tmp_path):
    """Saves a U-Net and a schedule with diffusers, and returns the folder."""

    def save(network: UNet2DModel, name: str = "checkpoint", **schedule: Any) -> Path:
        folder = tmp_path / name
        DDPMPipeline(network, DDPMScheduler(**schedule)).save_pretrained(folder)
        return folder

    return save


def diffusers_unet_of_text(*, seed: int = 3, **config: Any) -> UNet2DConditionModel:
    """Builds a text-to-image U-Net of the kind that Stable Diffusion has."""
    standard = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 2,
        "cross_attention_dim": 8,
        "norm_num_groups": 4,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(**{**standard, **config}).eval()


def diffusers_dit(*, seed: int = 3, **config: Any) -> DiTTransformer2DModel:
    """Builds a DiT with three layers and ten classes."""
    standard = {
        "sample_size": 8,
        "num_layers": 3,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "out_channels": 8,
        "num_embeds_ada_norm": 10,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DiTTransformer2DModel(**{**standard, **config}).eval()


def diffusers_autoencoder(kind: type = AutoencoderKL, *, seed: int = 4, **config: Any) -> AutoencoderKL | VQModel:
    """Builds an autoencoder that halves images once."""
    standard = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": 4,
        "scaling_factor": 0.7,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(**{**standard, **config}).eval()


LATENT_CONFIG = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
}
"""Config of a latent U-Net without text."""


def save_latent(folder: Path, kind: str, **config: Any) -> dict[str, Any]:
    """Saves a latent pipeline with diffusers, and returns its components."""
    vae = diffusers_autoencoder(VQModel if kind == "vq" else AutoencoderKL)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    if kind == "dit":
        network = diffusers_dit(**config)
        DiTPipeline(network, vae, scheduler).save_pretrained(folder)
    elif kind == "vq":
        network = diffusers_unet(**{**LATENT_CONFIG, **config})
        LDMPipeline(vae, network, scheduler).save_pretrained(folder)
    else:
        network = diffusers_unet_of_text(**config) if kind == "text" else diffusers_unet(**{**LATENT_CONFIG, **config})
        network.save_pretrained(folder / "unet")
        vae.save_pretrained(folder / "vae")
        scheduler.save_pretrained(folder / "scheduler")
    return {"network": network, "vae": vae, "scheduler": scheduler}


@pytest.fixture(scope="session")
def latent_in():
    """Saves a latent pipeline in a given folder, for fixtures of a wider scope than a test."""
    return save_latent


@pytest.fixture
def latent(tmp_path):
    """Saves a latent pipeline of a kind (dit, vq, text or kl), and returns its folder and its components."""

    def save(kind: str, name: str = "latent", **config: Any) -> tuple[Path, dict[str, Any]]:
        return tmp_path / name, save_latent(tmp_path / name, kind, **config)

    return save


@pytest.fixture
def full_forward():
    """Returns feature maps of one whole forward pass of a network, by hooks that are registered here."""

    def run(
        network: torch.nn.Module,
        inputs: torch.Tensor,
        t: int | torch.Tensor,
        modules: dict[str, str],
        **conditions: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        maps: dict[str, torch.Tensor] = {}

        def keep(name: str):
            def hook(_module, _inputs, output):
                maps[name] = output[0] if isinstance(output, tuple) else output

            return hook

        # With weights that require gradients torch selects other kernels, which round differently.
        network.requires_grad_(False)
        hooks = [network.get_submodule(path).register_forward_hook(keep(name)) for name, path in modules.items()]
        try:
            with torch.inference_mode():
                network(inputs, t, **conditions)
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    return run


@pytest.fixture
def blocks() -> dict[str, str]:
    """Returns tap and module of the nine blocks."""
    return BLOCKS


@pytest.fixture
def assert_features():
    """Asserts that features are those of a reference network, up to rounding in fp32."""

    def check(features: torch.Tensor, expected: torch.Tensor, message: str = "") -> None:
        torch.testing.assert_close(features, expected, **ROUNDING, msg=lambda text: f"{message}: {text}")

    return check


@pytest.fixture
def tolerance() -> dict[str, float]:
    """Returns the tolerance of `assert_features`."""
    return ROUNDING


@pytest.fixture
def unet_inputs():
    """Records every ``(sample, t)`` that any U-Net gets while the test runs."""
    calls: list[tuple[torch.Tensor, int]] = []

    def note(module, inputs):
        if isinstance(module, UNet2DModel):
            sample, t = inputs
            calls.append((sample.detach().clone(), t))

    handle = register_module_forward_pre_hook(note)
    yield calls
    handle.remove()


@pytest.fixture
def at():
    """Returns the points of these taps at these levels."""

    def points(taps, levels=("t=10",), pool: str = "gap") -> list[Point]:
        return [Point(tap, level, pool) for level in levels for tap in taps]

    return points
