"""Checkpoints: bundled ones, and any folder in diffusers' layout with safetensors.

A checkpoint folder holds ``unet/`` (averaged weights), ``scheduler/`` and, when probebench wrote it, ``unet_raw/`` (the
last weights) and ``manifest.json``. diffusers loads the same folder as a `DDPMPipeline`.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file

from probebench.api import UsageError
from probebench_ddpm.unet import has_attention, random_unet

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from probebench_ddpm.options import DDPMOptions

T = TypeVar("T")

BUNDLED = Path(__file__).parent / "checkpoints"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


class Checkpoint(NamedTuple):
    """A loaded network with the schedule it was trained on."""

    unet: UNet2DModel
    scheduler: DDPMScheduler
    manifest: dict[str, Any]


def bundled_names() -> list[str]:
    """Names of the bundled checkpoints, without their attention suffix."""
    return sorted({folder.name.removesuffix("-no-attention") for folder in BUNDLED.glob("*") if folder.is_dir()})


def find(name: str, *, attention: bool) -> Path:
    """The folder of a bundled name, or the folder itself.

    Raises:
        UsageError: There is neither, or the folder is a whole training run.
    """
    if name in bundled_names():
        return BUNDLED / (name if attention else f"{name}-no-attention")
    folder = Path(name).expanduser()
    if (folder / "run.json").is_file() and not (folder / "unet").is_dir():
        raise UsageError(
            "the folder is a training run, not one checkpoint of it",
            where=str(folder),
            hint=", ".join(path.name for path in sorted(folder.glob("epoch-*"))[-3:])
            or "wait for its first checkpoint",
        )
    if folder.is_dir():
        return folder
    raise UsageError(
        f"no checkpoint {name!r}",
        where="option checkpoint of ddpm",
        hint=f"a folder with unet/ in it, none for random weights, or a bundled one: {', '.join(bundled_names())}",
    )


def load(folder: Path, options: DDPMOptions) -> Checkpoint:
    """Loads a U-Net and its schedule, strictly: every weight must be there, and none besides.

    Args:
        folder: A pipeline folder.
        options: Which weights (``ema`` reads ``unet/``, ``raw`` reads ``unet_raw/``, ``random`` the config alone), and
            what the user says about the network.

    Raises:
        UsageError: A file is missing or cannot be read, the weights do not fit their config, or the network is not what
            the user says.
    """
    source = folder / ("unet_raw" if options.weights == "raw" else "unet")
    unet = _build(source / "config.json", partial(random_unet, seed=options.init_seed))
    _check_network(unet, folder, attention=options.attention, widths=options.widths)
    if options.weights != "random":
        _load_weights(unet, source / WEIGHTS_FILE)
    scheduler = _build(folder / "scheduler" / "scheduler_config.json", DDPMScheduler.from_config)
    manifest = folder / "manifest.json"
    return Checkpoint(unet, scheduler, _read_json(manifest) if manifest.is_file() else {})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{path.name} is missing", where=str(path.parent), hint="a folder as diffusers' save_pretrained writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}", where=str(path.parent)) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path.name} is not a JSON object", where=str(path.parent))
    return document


def _build(path: Path, make: Callable[[dict[str, Any]], T]) -> T:
    config = _read_json(path)
    try:
        return make(config)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"diffusers cannot build what {path.name} describes: {reason}",
            where=str(path.parent),
            hint="a UNet2DModel with a DDPMScheduler, as DDPMPipeline.save_pretrained writes them",
        ) from error


def _load_weights(unet: UNet2DModel, path: Path) -> None:
    if not path.is_file():
        raise UsageError(
            f"{path.name} is missing",
            where=str(path.parent),
            hint="convert other formats with diffusers' save_pretrained(safe_serialization=True)",
        )
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}", where=str(path.parent)) from error
    expected = unet.state_dict()
    if wrong := _misfits(state, expected):
        shown = "; ".join(wrong[:2]) + (f"; and {len(wrong) - 2} more" if len(wrong) > 2 else "")
        raise UsageError(
            f"weights do not fit config.json: {shown}", where=str(path), hint="the config they were saved with"
        )
    unet.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})


def _misfits(state: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    missing = [f"{name} is missing" for name in expected if name not in state]
    unknown = [f"{name} is unknown" for name in state if name not in expected]
    shapes = [
        f"{name} is {tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    return missing + unknown + shapes


def _check_network(unet: UNet2DModel, folder: Path, *, attention: bool, widths: tuple[int, ...]) -> None:
    found = has_attention(unet)
    if found != attention:
        raise UsageError(
            f"the checkpoint has {'attention' if found else 'no attention'}",
            where=str(folder),
            hint=f"attention={'true' if found else 'false'}",
        )
    channels = tuple(unet.config.block_out_channels)
    if widths and channels != widths:
        raise UsageError(
            f"the checkpoint has widths {'+'.join(map(str, channels))}, not {'+'.join(map(str, widths))}",
            where=str(folder),
            hint="leave widths out",
        )
    if unet.config.class_embed_type is not None or unet.config.num_class_embeds is not None:
        raise UsageError("the checkpoint is class-conditional", where=str(folder), hint="an unconditional U-Net")
    if unet.config.in_channels != 3:
        raise UsageError(
            f"the checkpoint takes {unet.config.in_channels} channels, images have 3",
            where=str(folder),
            hint="a U-Net of RGB images; latent diffusion is another backbone",
        )
