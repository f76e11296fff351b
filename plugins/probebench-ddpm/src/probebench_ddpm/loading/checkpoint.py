"""Checkpoints: bundled ones, those of training runs, and what diffusers saves. The files of each: see `layout`."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from probebench.api import ProbebenchWarning, UsageError
from probebench_ddpm.loading import hub
from probebench_ddpm.loading.layout import locate, newest_epoch
from probebench_ddpm.loading.model_config import build, check_conditions, model_config, read_json
from probebench_ddpm.loading.scheduler_config import schedule
from probebench_ddpm.loading.weights import fill
from probebench_ddpm.networks.attention import check_attention
from probebench_ddpm.networks.random_weights import random_network

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, ModelMixin

    from probebench_ddpm.options import DDPMOptions, LatentOptions

BUNDLED = Path(__file__).parents[1] / "checkpoints"


class Family(NamedTuple):
    """The networks that one of the backbones reads.

    Attributes:
        backbone: Its name.
        stem: What the network's folder is called in a pipeline.
        models: Their classes in diffusers.
    """

    backbone: str
    stem: str
    models: tuple[type[ModelMixin], ...]


class Checkpoint(NamedTuple):
    """A loaded network with the schedule it was trained on."""

    network: ModelMixin
    scheduler: DDPMScheduler
    manifest: dict[str, Any]


def bundled_names() -> list[str]:
    """Names of the bundled checkpoints, without their attention suffix."""
    return sorted({folder.name.removesuffix("-no-attention") for folder in BUNDLED.glob("*") if folder.is_dir()})


def find(name: str, *, attention: bool) -> Path:
    """The folder or file that the option `checkpoint` of `ddpm` means.

    For a training run it is the newest checkpoint, for ``hub:...`` a folder of the cache. Either may be another one
    tomorrow, so a warning says which it is, and stands in the record.

    Raises:
        UsageError: There is none.
    """
    if name in bundled_names():
        return BUNDLED / (name if attention else f"{name}-no-attention")
    place = Path(name).expanduser()
    if (place / "run.json").is_file() and not (place / "unet").is_dir():
        newest = newest_epoch(place)
        if newest is None:
            raise UsageError(
                "the training run has no checkpoint", where=str(place), hint="wait for its first epoch-NNNN/"
            )
        warnings.warn(f"{name} is read at its newest checkpoint, {newest.name}", ProbebenchWarning, stacklevel=2)
        return newest
    names = ", ".join(bundled_names())
    return find_saved(name, "ddpm", f"a folder with unet/ in it, none for random weights, or a bundled one: {names}")


def find_saved(name: str, backbone: str, hint: str) -> Path:
    """The folder or file that a path or ``hub:...`` means.

    Args:
        name: The option `checkpoint`.
        backbone: Whose.
        hint: What to give instead where there is nothing.

    Raises:
        UsageError: There is none.
    """
    if not name:
        raise UsageError(f"{backbone} needs a checkpoint", where=backbone, hint=f"{backbone}:checkpoint=FOLDER, {hint}")
    if name.startswith(hub.PREFIX):
        return hub.cached(hub.parse(name))
    place = Path(name).expanduser()
    if place.exists():
        return place
    raise UsageError(f"no checkpoint {name!r}", where=f"option checkpoint of {backbone}", hint=hint)


def load(place: Path, options: DDPMOptions | LatentOptions, family: Family) -> Checkpoint:
    """Loads a network and its schedule, strictly: every weight must be there, and none besides.

    Args:
        place: A folder or file that `find` or `find_saved` gives.
        options: Which weights, as `layout.locate` explains.
        family: What it may be.

    Raises:
        UsageError: A file is missing or cannot be read, the weights do not fit their config, or the network is not one
            of those that the backbone reads.
    """
    parts = locate(place, options.weights, family.stem)
    model, config = model_config(parts.config, family.models)
    check_conditions(config, parts.config)
    network = build(parts.config, config, partial(random_network, model=model, seed=options.init_seed))
    if parts.weights is not None:
        fill(network, parts.weights)
    check_attention(network, where=str(place))
    scheduler = schedule(parts.scheduler)
    known = network.config.get("num_train_timesteps")
    if network.config.get("time_embedding_type") == "learned" and known != len(scheduler.betas):
        raise UsageError(
            f"the network knows {known} steps, its schedule has {len(scheduler.betas)}",
            where=str(parts.scheduler),
            hint="num_train_timesteps that is the same in config.json and scheduler_config.json",
        )
    return Checkpoint(network, scheduler, read_json(parts.manifest) if parts.manifest.is_file() else {})
