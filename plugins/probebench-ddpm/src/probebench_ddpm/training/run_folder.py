"""The folder of a training run: checkpoints, what they are, and how to go on. Of its curves see `curves`.

::

    run.json               what is trained: a folder goes on with this run or with none
    loss.csv               a line an epoch
    bands.csv              losses by band of noise, for each checkpoint of a whole epoch
    tensorboard/           both of them as event files, where the recipe asks for them
    epoch-0010/            a checkpoint, loadable as `ddpm:checkpoint=...` and by diffusers
        unet/  unet_raw/  scheduler/  model_index.json  manifest.json
    epoch-0010-step-4017/  one of a run that was stopped after 10 epochs and some steps, 4017 in all
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

from probebench.api import TrainingError, UsageError, differing_fields
from probebench_ddpm.diffusion.noise_schedule import stated
from probebench_ddpm.networks.scaling import input_range

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import DDPMScheduler, UNet2DModel
    from torch import Tensor

    from probebench.api import TrainingJob
    from probebench_ddpm.options import DDPMOptions, DDPMRecipe

_PACKAGES = ("probebench", "probebench-ddpm", "torch", "diffusers")


@dataclass(frozen=True)
class TrainingState:
    """Everything that the next optimiser step depends on, and the loss curve's next line.

    Attributes:
        epoch: Epochs that are finished.
        step: Optimiser steps in all.
        ema_step: Steps that the average has taken in.
        tensors: Weights, averages and moments.
        loss_sum: Of the steps of the epoch that is not finished.
        seconds: Spent in them.
    """

    epoch: int
    step: int
    ema_step: int
    tensors: dict[str, Tensor]
    loss_sum: float = 0.0
    seconds: float = 0.0


class RunFolder:
    """Reads and writes one run's folder. Every file appears whole or not at all."""

    def __init__(self, job: TrainingJob, network: dict[str, Any]) -> None:
        self._job, self._root = job, job.out
        self._identity = {
            "backbone": "ddpm",
            "network": json.loads(json.dumps(network)),
            "recipe": cast("DDPMRecipe", job.recipe).identity(),
            "dataset": {"name": job.dataset, "train": job.images.fingerprint(), "images": len(job.images)},
            "flips": job.flips,
            "seed": job.seed,
            "precision": job.precision,
            **_other_range(job),
        }
        self._claim()

    def _claim(self) -> None:
        path = self._root / "run.json"
        if not path.is_file():
            # A run that was killed in its first moment leaves nothing but a hidden temporary file.
            if any(not path.name.startswith(".") for path in self._root.iterdir()):
                raise UsageError(
                    "the folder is not empty and holds no training run", where=str(self._root), hint="a new --out"
                )
            _write_json(path, self._identity)
            return
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"{path.name} cannot be read: {error}", where=str(self._root), hint="a new --out"
            ) from error
        if changed := differing_fields(held, self._identity):
            raise UsageError(
                f"the folder holds a run with another {changed}",
                where=str(path),
                hint="the options it was started with, or a new --out",
            )

    def checkpoint(self, epoch: int, step: int | None = None) -> Path:
        """Folder of a checkpoint.

        Args:
            epoch: Epochs finished.
            step: Steps in all, where an epoch is not finished.
        """
        return self._root / f"epoch-{_place(epoch, step)}"

    def last_state(self) -> TrainingState | None:
        """The state to go on from; None where there is none.

        Raises:
            TrainingError: The state cannot be read.
        """
        # By number: as text, 10000 comes before 9999. A state in an epoch comes after that of the epoch before.
        folders = sorted(self._root.glob("state-*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
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
                hint="a new --out; its checkpoints are intact",
            ) from error

    def save(
        self,
        state: TrainingState,
        raw: UNet2DModel,
        averaged: UNet2DModel,
        scheduler: DDPMScheduler,
        *,
        inside: bool = False,
    ) -> Path:
        """Writes the state to go on from, and then the checkpoint.

        In this order no checkpoint is without its state, unless somebody removed it; and from a state that a killed run
        left without its checkpoint that can be made.

        Args:
            state: To go on from.
            raw: The network with its last weights.
            averaged: The network with its averaged weights.
            scheduler: The forward process.
            inside: Whether an epoch is not finished.

        Returns:
            The checkpoint's folder.
        """
        step = state.step if inside else None
        final, kept = self.checkpoint(state.epoch, step), self._root / f"state-{_place(state.epoch, step)}"
        folder = _scratch(kept)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        save_file(tensors, folder / "state.safetensors")
        counters = {field.name: getattr(state, field.name) for field in fields(state) if field.name != "tensors"}
        _write_json(folder / "state.json", counters)
        _replace(folder, kept)
        folder = _scratch(final)
        DDPMPipeline(averaged, scheduler).save_pretrained(folder)
        raw.save_pretrained(folder / "unet_raw")
        _write_json(folder / "manifest.json", self._manifest(state, scheduler))
        _replace(folder, final)
        for older in self._root.glob("state-*"):
            if older != kept:
                shutil.rmtree(older)
        return final

    def _manifest(self, state: TrainingState, scheduler: DDPMScheduler) -> dict[str, Any]:
        return {
            **self._identity,
            "epoch": state.epoch,
            "step": state.step,
            "weights": {"unet": "ema", "unet_raw": "raw"},
            "input_range": list(input_range(cast("DDPMOptions", self._job.options).scale)),
            "schedule": stated(scheduler),
            "versions": {package: version(package) for package in _PACKAGES},
        }


def _other_range(job: TrainingJob) -> dict[str, Any]:
    """The network's input range, where it is not the usual one: another one is another run."""
    scale = cast("DDPMOptions", job.options).scale
    return {} if scale == 1 else {"input_range": list(input_range(scale))}


def _place(epoch: int, step: int | None) -> str:
    return f"{epoch:04d}" if step is None else f"{epoch:04d}-step-{step}"


def _write_json(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _scratch(final: Path) -> Path:
    folder = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _replace(folder: Path, final: Path) -> None:
    """Puts a finished folder in its place. What is there was written by a run that was killed, and is the same."""
    if final.exists():
        shutil.rmtree(final)
    folder.rename(final)
