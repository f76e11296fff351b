"""Checkpoints: bundled ones, those of training runs, and what diffusers saves. The files of each: see `layout`."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from probebench.api import ProbebenchWarning, UsageError
from probebench_ddpm import hub
from probebench_ddpm.configs import build, check_pipeline, network_config, read_json, schedule
from probebench_ddpm.layout import locate, newest_epoch
from probebench_ddpm.unet import check_attention, has_attention, random_unet
from probebench_ddpm.weights import fill

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, UNet2DModel

    from probebench_ddpm.options import DDPMOptions

BUNDLED = Path(__file__).parent / "checkpoints"


class Checkpoint(NamedTuple):
    """A loaded network with the schedule it was trained on."""

    unet: UNet2DModel
    scheduler: DDPMScheduler
    manifest: dict[str, Any]


def bundled_names() -> list[str]:
    """Names of the bundled checkpoints, without their attention suffix."""
    return sorted({folder.name.removesuffix("-no-attention") for folder in BUNDLED.glob("*") if folder.is_dir()})


def find(name: str, *, attention: bool) -> Path:
    """The folder or file that the option `checkpoint` means.

    For a training run it is the newest checkpoint, for ``hub:...`` a folder of the cache. Either may be another one
    tomorrow, so a warning says which it is, and stands in the record.

    Raises:
        UsageError: There is none.
    """
    if name.startswith(hub.PREFIX):
        return hub.cached(hub.parse(name))
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
    if place.exists():
        return place
    raise UsageError(
        f"no checkpoint {name!r}",
        where="option checkpoint of ddpm",
        hint=f"a folder with unet/ in it, none for random weights, or a bundled one: {', '.join(bundled_names())}",
    )


def load(place: Path, options: DDPMOptions) -> Checkpoint:
    """Loads a U-Net and its schedule, strictly: every weight must be there, and none besides.

    Args:
        place: A folder or file that `find` gives.
        options: Which weights, as `layout.locate` explains, and what the user says about the network.

    Raises:
        UsageError: A file is missing or cannot be read, the weights do not fit their config, or the network is not what
            the user says, or not one of those that this backbone reads.
    """
    parts = locate(place, options.weights)
    check_pipeline(parts.model_index)
    config = network_config(parts.config)
    unet = build(parts.config, config, partial(random_unet, seed=options.init_seed))
    if parts.weights is not None:
        fill(unet, parts.weights)
    _check_network(unet, place, attention=options.attention, widths=options.widths)
    scheduler = schedule(parts.scheduler)
    known = unet.config.num_train_timesteps
    if unet.config.time_embedding_type == "learned" and known != len(scheduler.betas):
        raise UsageError(
            f"the network knows {known} steps, its schedule has {len(scheduler.betas)}",
            where=str(parts.scheduler),
            hint="num_train_timesteps that is the same in config.json and scheduler_config.json",
        )
    return Checkpoint(unet, scheduler, read_json(parts.manifest) if parts.manifest.is_file() else {})


def _check_network(unet: UNet2DModel, place: Path, *, attention: bool, widths: tuple[int, ...]) -> None:
    check_attention(unet, where=str(place))
    found = has_attention(unet)
    if found != attention:
        raise UsageError(
            f"the checkpoint has {'attention' if found else 'no attention'}",
            where=str(place),
            hint=f"attention={'true' if found else 'false'}",
        )
    channels = tuple(unet.config.block_out_channels)
    if widths and channels != widths:
        raise UsageError(
            f"the checkpoint has widths {'+'.join(map(str, channels))}, not {'+'.join(map(str, widths))}",
            where=str(place),
            hint="leave widths out",
        )
