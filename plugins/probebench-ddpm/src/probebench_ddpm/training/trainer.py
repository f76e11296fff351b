"""`probebench train ddpm`: a run from its images to its last checkpoint."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

from probebench.api import TrainingError, TrainingJob, UsageError
from probebench_ddpm.loading.layout import whole_epochs
from probebench_ddpm.training import memory
from probebench_ddpm.training.curves import Curves
from probebench_ddpm.training.images import load, side
from probebench_ddpm.training.loop import Loop, new_network
from probebench_ddpm.training.losses_by_level import COUNT
from probebench_ddpm.training.process_group import joined
from probebench_ddpm.training.run_folder import RunFolder
from probebench_ddpm.training.tensorboard import EventFile, check_installed

if TYPE_CHECKING:
    from pathlib import Path

    from probebench_ddpm.options import DDPMOptions, DDPMRecipe
    from probebench_ddpm.training.process_group import Team


def train(job: TrainingJob) -> Path:
    """Trains a new U-Net to predict noise (Ho et al. 2020, algorithm 1), or goes on with a run that was interrupted.

    Args:
        job: Options, recipe, images and folder. Labels are never read.

    Returns:
        Folder of the last checkpoint; when the job said stop, that of the step at which it did.

    Raises:
        UsageError: The options do not describe a new network, the images do not fit it, memory will not do, or the
            folder holds another run or more epochs; tensorboard is asked for and not installed.
        TrainingError: The loss or the gradient is not finite, or the run's state cannot be read or is gone.
        FeatureError: The network's input is out of its range.
    """
    _check_options(cast("DDPMOptions", job.options))
    if cast("DDPMRecipe", job.recipe).tensorboard:
        check_installed()
    with joined(job) as team:
        return _train(job, team)


def _train(job: TrainingJob, team: Team) -> Path:
    needs = _checked_memory(job, team)
    loop = Loop(job, load(job, COUNT), team)
    with team.main_first():  # it claims the folder, or says why not
        folder, curves = RunFolder(job, loop.network_config), Curves(job.out)
        state = folder.last_state()
    if team.main:
        job.tell(needs)
    if state:
        loop.restore(state)
    there = loop.epoch if state else max(whole_epochs(job.out), default=0)
    _check_epochs(job, there)
    if there and not state:
        return _without_state(job, folder, there)
    if team.main:
        curves.rewind(loop.epoch, loop.step)
        if state and not loop.inside and not folder.checkpoint(loop.epoch).is_dir():  # killed in between
            folder.save(state, loop.unet, loop.averaged(), loop.scheduler)
    shown = team.main and cast("DDPMRecipe", job.recipe).tensorboard
    with EventFile(job.out) if shown else nullcontext() as events:
        if events:
            curves.show(events)
        return _go_on(job, team, loop, folder, curves)


def _go_on(job: TrainingJob, team: Team, loop: Loop, folder: RunFolder, curves: Curves) -> Path:
    recipe, last = cast("DDPMRecipe", job.recipe), folder.checkpoint(loop.epoch)
    while loop.epoch < job.epochs and not loop.stopped:
        row = loop.run_epoch()
        planned = bool(row) and (recipe.saves(loop.epoch) or loop.epoch == job.epochs)
        if loop.stopped or planned:
            last = folder.checkpoint(loop.epoch, None if row else loop.step)
        if row and team.main:
            curves.add_epoch(row)
        if team.main and (loop.stopped or planned):
            averaged = loop.averaged()
            if planned:  # a run that was stopped and gone on with has the curves of one that was not
                curves.add_bands(loop.measure(averaged))
            folder.save(loop.state(), loop.unet, averaged, loop.scheduler, inside=not row)
    return last


def _without_state(job: TrainingJob, folder: RunFolder, there: int) -> Path:
    """A state is as large as four networks, and of no use once a run is finished: somebody may have made room."""
    if there < job.epochs:
        raise TrainingError(
            f"the run has {there} epochs and no training state to go on from",
            where=str(job.out),
            hint="a new --out; its checkpoints are intact",
        )
    return folder.checkpoint(there)


def _check_epochs(job: TrainingJob, there: int) -> None:
    if there > job.epochs:
        raise UsageError(
            f"the run has {there} epochs already, more than {job.epochs}",
            where=str(job.out),
            hint=f"--epochs {there} or more, or a new --out",
        )


def _checked_memory(job: TrainingJob, team: Team) -> str:
    """Compares what the training needs with what there is, before it has taken any; gives a line for the user."""
    recipe, size = cast("DDPMRecipe", job.recipe), side(job)
    wanted = memory.need(
        new_network(job, size), precision=job.precision, device=job.device, data=len(job.images) * 3 * size**2
    )
    line = memory.check(
        wanted,
        images=-(-min(recipe.batch_size, len(job.images)) // team.count),
        accumulate=recipe.accumulate,
        sharing=team.count if job.device == "cpu" else 1,
        device=job.device,
    )
    return f"needs:      {line}"


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
