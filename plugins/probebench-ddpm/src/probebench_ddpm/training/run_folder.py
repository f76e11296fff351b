"""The folder of a training run: its checkpoints, and the state to resume from. Its curves are in `curves`.

::

    run.json               the settings of the run; a run with other settings cannot be resumed in the folder
    loss.csv               a line per epoch
    bands.csv              losses by band of t, for each checkpoint of a whole epoch
    tensorboard/           both of them as event files, if the recipe has tensorboard=true
    epoch-0010/            a checkpoint that `ddpm:checkpoint=...` and diffusers load
        unet/  unet_raw/  scheduler/  model_index.json  manifest.json
    epoch-0010-step-4017/  a checkpoint of a run that was stopped after 10 epochs and some steps, 4017 in total
    state-0010/            optimiser and averages of the newest checkpoint
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from diffusers import DDPMPipeline
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from probebench.api import TrainingError, UsageError
from probebench_ddpm.diffusion.noise_schedule import schedule_summary
from probebench_ddpm.networks.scaling import input_range
from probebench_ddpm.training.run_settings import changed_settings

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import DDPMScheduler, UNet2DModel
    from torch import Tensor

    from probebench.api import TrainingJob
    from probebench_ddpm.options import DDPMOptions, DDPMRecipe

_PACKAGES = ("probebench", "probebench-ddpm", "torch", "diffusers")


@dataclass(frozen=True)
class TrainingState:
    """Everything that the next optimiser step and the next line of the loss curve depend on.

    Attributes:
        epoch: Finished epochs.
        step: Optimiser steps in total.
        ema_step: Steps that the average includes.
        tensors: Weights, averages and moments.
        loss_sum: Sum of the losses of the unfinished epoch.
        seconds: Time spent on the unfinished epoch.
    """

    epoch: int
    step: int
    ema_step: int
    tensors: dict[str, Tensor]
    loss_sum: float = 0.0
    seconds: float = 0.0


class RunFolder:
    """Reads and writes the folder of a run. Every file appears complete or not at all.

    Args:
        job: The training.
        network: Config of its network.

    Raises:
        UsageError: The folder contains another run, or other files.
        TrainingError: ``run.json`` cannot be read.
    """

    def __init__(self, job: TrainingJob, network: dict[str, Any]) -> None:
        self._job, self._root = job, job.out
        self._settings = {
            "backbone": "ddpm",
            "network": json.loads(json.dumps(network)),
            "recipe": cast("DDPMRecipe", job.recipe).identity(),
            "dataset": {"name": job.dataset, "train": job.images.fingerprint(), "images": len(job.images)},
            "flips": job.flips,
            "seed": job.seed,
            "precision": job.precision,
            **_unusual_input_range(job),
        }
        self._write_or_check_settings()

    def _write_or_check_settings(self) -> None:
        path = self._root / "run.json"
        if not path.is_file():
            # A run that was killed at its very start leaves only a hidden temporary file.
            if any(not path.name.startswith(".") for path in self._root.iterdir()):
                raise UsageError(
                    "the folder is not empty and contains no training run",
                    where=str(self._root),
                    hint=f"--out {self._root}-2",
                )
            _write_json(path, self._settings)
            return
        try:
            started_with = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"{path.name} cannot be read: {error}", where=str(self._root), hint=f"--out {self._root}-2"
            ) from error
        if changed := changed_settings(started_with, self._settings):
            raise UsageError(
                f"the run in this folder was started with {changed}",
                where=str(path),
                hint=f"use the same settings, or --out {self._root}-2 for a new run",
            )

    def checkpoint(self, epoch: int, step: int | None = None) -> Path:
        """Returns the folder of a checkpoint.

        Args:
            epoch: Finished epochs.
            step: Optimiser steps in total; None for the end of an epoch.
        """
        return self._root / f"epoch-{_suffix(epoch, step)}"

    def last_state(self) -> TrainingState | None:
        """Reads the state to resume from; None if there is none.

        Raises:
            TrainingError: The state cannot be read.
        """
        folders = self._state_folders()
        if not folders:
            return None
        folder = folders[-1]
        try:
            counters = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            return TrainingState(tensors=load_file(folder / "state.safetensors"), **counters)
        except (OSError, TypeError, ValueError, SafetensorError) as error:
            raise TrainingError(
                f"the training state cannot be read: {error}",
                where=str(folder),
                hint=f"--out {self._root}-2 to train again; the checkpoints in this folder can be used",
            ) from error

    def save(
        self,
        state: TrainingState,
        raw: UNet2DModel,
        averaged: UNet2DModel,
        scheduler: DDPMScheduler,
        *,
        mid_epoch: bool = False,
    ) -> Path:
        """Writes the state to resume from, and then the checkpoint.

        In this order every checkpoint has its state, unless it was deleted; and a state without its checkpoint, which a
        killed run may leave, is enough to write that checkpoint.

        Args:
            state: The state to resume from.
            raw: The network with its last weights.
            averaged: The network with its averaged weights.
            scheduler: The forward process.
            mid_epoch: Whether the epoch is unfinished.

        Returns:
            The checkpoint's folder.
        """
        step = state.step if mid_epoch else None
        checkpoint = self.checkpoint(state.epoch, step)
        state_folder = self._root / f"state-{_suffix(state.epoch, step)}"
        folder = _temporary_folder(state_folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        save_file(tensors, folder / "state.safetensors")
        counters = {field.name: getattr(state, field.name) for field in fields(state) if field.name != "tensors"}
        _write_json(folder / "state.json", counters)
        _move_into_place(folder, state_folder)
        folder = _temporary_folder(checkpoint)
        DDPMPipeline(averaged, scheduler).save_pretrained(folder)
        raw.save_pretrained(folder / "unet_raw")
        _write_json(folder / "manifest.json", self._manifest(state, scheduler))
        _move_into_place(folder, checkpoint)
        self.remove_older_states()
        return checkpoint

    def remove_older_states(self) -> None:
        """Removes all states but the newest."""
        for older in self._state_folders()[:-1]:
            shutil.rmtree(older)

    def _state_folders(self) -> list[Path]:
        """Returns the folders of the states, from the oldest to the newest."""
        # Sorted by number: as text, 10000 precedes 9999. A state inside an epoch follows that of the epoch before it.
        return sorted(self._root.glob("state-*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])

    def _manifest(self, state: TrainingState, scheduler: DDPMScheduler) -> dict[str, Any]:
        return {
            **self._settings,
            "epoch": state.epoch,
            "step": state.step,
            "weights": {"unet": "ema", "unet_raw": "raw"},
            "input_range": list(input_range(cast("DDPMOptions", self._job.options).scale)),
            "schedule": schedule_summary(scheduler),
            "versions": {package: version(package) for package in _PACKAGES},
        }


def _unusual_input_range(job: TrainingJob) -> dict[str, Any]:
    """Returns the network's input range as a setting of the run, unless it is -1..1."""
    scale = cast("DDPMOptions", job.options).scale
    return {} if scale == 1 else {"input_range": list(input_range(scale))}


def _suffix(epoch: int, step: int | None) -> str:
    return f"{epoch:04d}" if step is None else f"{epoch:04d}-step-{step}"


def _write_json(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _temporary_folder(final: Path) -> Path:
    folder = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _move_into_place(folder: Path, final: Path) -> None:
    """Renames a finished folder to its final name. An existing one was written by a killed run and is the same."""
    if final.exists():
        shutil.rmtree(final)
    folder.rename(final)
