"""Trains a U-Net: `probebench train ddpm`, from the images to the last checkpoint."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

from probebench.api import TrainingError, TrainingJob, UsageError
from probebench_ddpm.loading.layout import whole_epochs
from probebench_ddpm.training import memory
from probebench_ddpm.training.curves import Curves
from probebench_ddpm.training.images import image_side, load_images
from probebench_ddpm.training.loop import TrainingLoop, network_config
from probebench_ddpm.training.losses_by_level import MAX_IMAGES
from probebench_ddpm.training.process_group import process_group
from probebench_ddpm.training.run_folder import RunFolder
from probebench_ddpm.training.tensorboard import EventFile, check_installed

if TYPE_CHECKING:
    from pathlib import Path

    from probebench_ddpm.options import DDPMOptions, DDPMRecipe
    from probebench_ddpm.training.process_group import ProcessGroup


def train(job: TrainingJob) -> Path:
    """Trains a new U-Net to predict noise (Ho et al. 2020, algorithm 1), or resumes an interrupted run.

    Args:
        job: Options, recipe, images and folder. Labels are not read.

    Returns:
        Folder of the last checkpoint; if the job requested a stop, the checkpoint of that step.

    Raises:
        UsageError: The options do not describe a new network, the images do not fit it, there is not enough memory, the
            folder contains another run or more epochs, or tensorboard is requested and not installed.
        TrainingError: The loss or the gradient is not finite, or the run's state cannot be read or was deleted.
        FeatureError: The network's input is out of its range.
    """
    _check_options(cast("DDPMOptions", job.options))
    if cast("DDPMRecipe", job.recipe).tensorboard:
        check_installed()
    with process_group(job) as group:
        return _train(job, group)


def _train(job: TrainingJob, group: ProcessGroup) -> Path:
    memory_line = _check_memory(job, group)
    loop = TrainingLoop(job, load_images(job, MAX_IMAGES), group)
    with group.main_process_first():  # it writes run.json, or refuses the folder
        folder, curves = RunFolder(job, loop.network_config), Curves(job.out)
        state = folder.last_state()
    if group.is_main:
        job.report(memory_line)
    if state:
        loop.restore(state)
    finished = loop.epoch if state else max(whole_epochs(job.out), default=0)
    _check_epochs(job, finished)
    if finished and not state:
        return _last_checkpoint_without_state(job, folder, finished)
    if group.is_main:
        curves.rewind(loop.epoch, loop.step)
        if state and not loop.mid_epoch and not folder.checkpoint(loop.epoch).is_dir():  # killed between the two
            folder.save(state, loop.unet, loop.averaged_network(), loop.scheduler)
        folder.remove_older_states()  # of a run that was killed after its last checkpoint
    write_events = group.is_main and cast("DDPMRecipe", job.recipe).tensorboard
    with EventFile(job.out) if write_events else nullcontext() as events:
        if events:
            curves.copy_to(events)
        return _train_epochs(job, group, loop, folder, curves)


def _train_epochs(job: TrainingJob, group: ProcessGroup, loop: TrainingLoop, folder: RunFolder, curves: Curves) -> Path:
    recipe, last = cast("DDPMRecipe", job.recipe), folder.checkpoint(loop.epoch)
    while loop.epoch < job.epochs and not loop.stopped:
        row = loop.run_epoch()
        planned = bool(row) and (recipe.saves(loop.epoch) or loop.epoch == job.epochs)
        if loop.stopped or planned:
            last = folder.checkpoint(loop.epoch, None if row else loop.step)
        if row and group.is_main:
            curves.add_epoch(row)
        if group.is_main and (loop.stopped or planned):
            averaged = loop.averaged_network()
            if planned:  # not at a stop, so that a resumed run has the same curves as one that was not stopped
                curves.add_bands(loop.measure(averaged))
            folder.save(loop.state(), loop.unet, averaged, loop.scheduler, mid_epoch=not row)
    return last


def _last_checkpoint_without_state(job: TrainingJob, folder: RunFolder, finished: int) -> Path:
    """Returns the last checkpoint of a run whose state was deleted.

    A state is as large as four networks and is not needed once a run is finished.
    """
    if finished < job.epochs:
        raise TrainingError(
            f"the run has {finished} epochs and no training state to resume from",
            where=str(job.out),
            hint=f"--out {job.out}-2 to train again; the checkpoints in this folder can be used",
        )
    return folder.checkpoint(finished)


def _check_epochs(job: TrainingJob, finished: int) -> None:
    if finished > job.epochs:
        raise UsageError(
            f"the run has {finished} epochs already, more than {job.epochs}",
            where=str(job.out),
            hint=f"--epochs {finished} or more, or --out {job.out}-2 for a new run",
        )


def _check_memory(job: TrainingJob, group: ProcessGroup) -> str:
    """Compares the memory that the training needs with the free memory, and returns a line for the user."""
    recipe, side = cast("DDPMRecipe", job.recipe), image_side(job)
    needed = memory.estimate(
        network_config(job, side), precision=job.precision, device=job.device, data=len(job.images) * 3 * side**2
    )
    line = memory.check_memory(
        needed,
        images=-(-min(recipe.batch_size, len(job.images)) // group.world_size),
        accumulate=recipe.accumulate,
        processes=group.world_size if job.device == "cpu" else 1,
        device=job.device,
    )
    return f"memory:     {line}"


def _check_options(options: DDPMOptions) -> None:
    default = type(options)()
    if options.checkpoint not in ("none", default.checkpoint):
        raise UsageError(
            f"training starts from random weights, not from checkpoint={options.checkpoint}",
            where="option checkpoint of ddpm",
            hint="remove checkpoint=...; to resume a run, use its --out",
        )
    reading = ("weights", "init_seed", "noise", "draws")
    if changed := [name for name in reading if getattr(options, name) != getattr(default, name)]:
        raise UsageError(
            f"{' and '.join(changed)} cannot be used in training",
            where="options of ddpm",
            hint=f"remove {' and '.join(changed)}; --seed sets the seed of the training",
        )
