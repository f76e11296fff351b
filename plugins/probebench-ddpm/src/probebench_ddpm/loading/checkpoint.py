"""Finds and loads checkpoints: bundled ones, those of training runs, and those that diffusers saved (see `layout`)."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from probebench.api import ProbebenchWarning, UsageError
from probebench_ddpm.loading import hub
from probebench_ddpm.loading.layout import BUNDLED, locate, newest_epoch
from probebench_ddpm.loading.model_config import build, check_conditions, model_config, read_json
from probebench_ddpm.loading.scheduler_config import load_scheduler
from probebench_ddpm.loading.weights import load_weights
from probebench_ddpm.networks.attention import check_attention
from probebench_ddpm.networks.random_weights import random_network

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, ModelMixin

    from probebench_ddpm.options import DDPMOptions, LatentOptions


class Family(NamedTuple):
    """The networks that one of the backbones reads.

    Attributes:
        backbone: Name of the backbone.
        subfolder: Name of the network's folder in a pipeline.
        models: Classes of the networks in diffusers.
    """

    backbone: str
    subfolder: str
    models: tuple[type[ModelMixin], ...]


class Checkpoint(NamedTuple):
    """A loaded network, the schedule it was trained on, and its manifest, which is empty if there is none."""

    network: ModelMixin
    scheduler: DDPMScheduler
    manifest: dict[str, Any]


def bundled_names() -> list[str]:
    """Returns the names of the bundled checkpoints, without their attention suffix."""
    return sorted({folder.name.removesuffix("-no-attention") for folder in BUNDLED.glob("*") if folder.is_dir()})


def bundled_of_size(image_size: tuple[int, int]) -> str:
    """Returns a value of the option `checkpoint` for images of this size, with a note in parentheses.

    It names a bundled checkpoint that was trained on this size; if there is none, ``none``.
    """
    for name in bundled_names():
        side = read_json(BUNDLED / name / "unet" / "config.json")["sample_size"]
        if image_size == (side, side):
            return f"{name} ({side}x{side})"
    return "none (random weights)"


def find(name: str, *, attention: bool) -> Path:
    """Returns the folder or file that the option `checkpoint` of `ddpm` names.

    For a training run it is the newest checkpoint, for ``hub:...`` a folder of the cache. Both may change later, so a
    warning, which is stored in the record, names the checkpoint that is read.

    Args:
        name: The option `checkpoint`.
        attention: Whether the bundled network with attention is meant.

    Raises:
        UsageError: There is no such checkpoint.
    """
    if name in bundled_names():
        return BUNDLED / (name if attention else f"{name}-no-attention")
    path = Path(name).expanduser()
    if (path / "run.json").is_file() and not (path / "unet").is_dir():
        newest = newest_epoch(path)
        if newest is None:
            raise UsageError(
                "the training run has no checkpoint yet",
                where=str(path),
                hint=f"wait until {path}/epoch-NNNN exists (probebench train --recipe save_every=1 saves every epoch)",
            )
        warnings.warn(f"{name}: its newest checkpoint, {newest.name}, is read", ProbebenchWarning, stacklevel=2)
        return newest
    names = ", ".join(bundled_names())
    return find_saved(name, "ddpm", f"a folder that contains unet/, none for random weights, or a bundled one: {names}")


def find_saved(name: str, backbone: str, hint: str) -> Path:
    """Returns the folder or file that a path or ``hub:...`` names.

    Args:
        name: The option `checkpoint`.
        backbone: Name of the backbone.
        hint: Possible values of the option, for the error.

    Raises:
        UsageError: There is no such checkpoint.
    """
    if not name:
        raise UsageError(f"{backbone} needs a checkpoint", where=backbone, hint=f"{backbone}:checkpoint=FOLDER, {hint}")
    if name.startswith(hub.PREFIX):
        return hub.cached(hub.parse(name))
    path = Path(name).expanduser()
    if path.exists():
        return path
    raise UsageError(f"no checkpoint {name!r}", where=f"option checkpoint of {backbone}", hint=hint)


def load(path: Path, options: DDPMOptions | LatentOptions, family: Family) -> Checkpoint:
    """Loads a network and its schedule; missing weights and unknown ones are errors.

    Args:
        path: A folder or file that `find` or `find_saved` returned.
        options: Its fields `weights` (see `layout.locate`) and `init_seed` are read.
        family: The networks that are accepted.

    Raises:
        UsageError: A file is missing or cannot be read, the weights do not fit their config, or the backbone does not
            read networks of this kind.
    """
    files = locate(path, options.weights, family.subfolder)
    model, config = model_config(files.config, family.models)
    check_conditions(config, files.config)
    network = build(files.config, config, partial(random_network, model=model, seed=options.init_seed))
    if files.weights is not None:
        load_weights(network, files.weights)
    check_attention(network, where=str(path))
    scheduler = load_scheduler(files.scheduler)
    steps = network.config.get("num_train_timesteps")
    if network.config.get("time_embedding_type") == "learned" and steps != len(scheduler.betas):
        raise UsageError(
            f"the network has a time embedding for {steps} steps, its schedule has {len(scheduler.betas)} steps",
            where=str(files.scheduler),
            hint=f"set num_train_timesteps to {steps} in scheduler_config.json, if the network was trained so",
        )
    return Checkpoint(network, scheduler, read_json(files.manifest) if files.manifest.is_file() else {})
