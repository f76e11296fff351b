"""`probebench train ddpm`: a run from its images to its last checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from probebench.api import TrainingJob, UsageError
from probebench_ddpm.loop import Loop
from probebench_ddpm.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from probebench_ddpm.options import DDPMOptions, DDPMRecipe


def train(job: TrainingJob) -> Path:
    """Trains a new U-Net to predict noise (Ho et al. 2020, algorithm 1), or goes on with a run that was interrupted.

    Args:
        job: Options, recipe, images and folder. Labels are never read.

    Returns:
        Folder of the last checkpoint; when the job said stop, that of the step at which it did.

    Raises:
        UsageError: The options do not describe a new network, the images do not fit it, or the folder holds another
            run or more epochs.
        TrainingError: The loss or the gradient is not finite, or the run's state cannot be read.
        FeatureError: The network's input is out of its range.
    """
    _check_options(cast("DDPMOptions", job.options))
    loop = Loop(job, _load_images(job))
    folder = RunFolder(job, loop.network_config)
    if state := folder.last_state():
        loop.restore(state)
    if loop.epoch > job.epochs:
        raise UsageError(
            f"the run has {loop.epoch} epochs already, more than {job.epochs}",
            where=str(job.out),
            hint=f"--epochs {loop.epoch} or more, or a new --out",
        )
    recipe, last = cast("DDPMRecipe", job.recipe), folder.checkpoint(loop.epoch)
    while loop.epoch < job.epochs and not loop.stopped:
        row = loop.run_epoch()
        if row:
            folder.log(row)
        if loop.stopped or recipe.saves(loop.epoch) or loop.epoch == job.epochs:
            last = folder.save(loop.state(), loop.unet, loop.averaged(), loop.scheduler, inside=not row)
    return last


def _check_options(options: DDPMOptions) -> None:
    standard = type(options)()
    if options.checkpoint not in ("none", standard.checkpoint):
        raise UsageError("training starts from random weights", where="option checkpoint of ddpm", hint="leave it out")
    reading = ("weights", "init_seed", "noise", "draws")
    if given := [name for name in reading if getattr(options, name) != getattr(standard, name)]:
        raise UsageError(
            f"{' and '.join(given)} mean nothing in training",
            where="options of ddpm",
            hint="leave them out; see --seed",
        )


def _load_images(job: TrainingJob) -> Tensor:
    """All images: uint8 ``(N, 3, H, W)``."""
    first = job.images.image(0)
    images = torch.empty((len(job.images), *first.shape), dtype=torch.uint8)
    for index in range(len(images)):
        images[index] = job.images.image(index)  # one by one: a list of them would need the memory twice
    if images.shape[-1] != images.shape[-2] or images.shape[-1] % 8:
        raise UsageError(
            f"images of {images.shape[-2]}x{images.shape[-1]} do not fit a U-Net of four levels",
            where=job.dataset,
            hint="square images whose side is a multiple of 8",
        )
    return images
