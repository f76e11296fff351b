"""Training of backbones that can be trained: finds the trainer, and hands it the job."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from probebench.api import BackboneSpec, Dataset, TrainingJob, UsageError
from probebench.planning.device import pick_device, pick_precision
from probebench.plugins import option_text
from probebench.plugins.isolation import plugin_errors
from probebench.plugins.registry import Component, load_target, one_of
from probebench.util import launch
from probebench.util.files import make_writable
from probebench.util.interrupts import StopCondition
from probebench.util.progress import SILENT, bar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from probebench.api import Options


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        checkpoint: Folder of the last checkpoint.
        stopped_at: Where it stopped early, such as ``epoch 3 of 40, step 117 of 390``; None when it is finished.
        signal: Number of the signal that stopped it; None when it is finished or the time was up.
    """

    checkpoint: Path
    stopped_at: str | None = None
    signal: int | None = None


def train(
    backbone: Component,
    dataset: Component,
    *,
    split: str = "train",
    recipe: Mapping[str, str],
    epochs: int,
    out: Path,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    max_seconds: float | None = None,
    heard: Callable[[int], None] = lambda _: None,
    told: Callable[[str], None] = lambda _: None,
) -> TrainingResult:
    """Trains a backbone on images of a dataset; labels are never read.

    A folder that holds a part of the same run is gone on with. When the time is up, or at the first Ctrl-C or SIGTERM,
    the trainer finishes its step, saves and returns.

    Args:
        backbone: What to train, with its options.
        dataset: Where the images come from.
        split: ``train``, or a split without labels. The images that probes are measured on are not to be trained on.
        recipe: Options of the training, as texts.
        epochs: Epochs in all, those of an interrupted run included.
        out: Folder of the run.
        seed: Seed of everything random in it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        max_seconds: Time limit, counted from the call; one step at least is made. None for none.
        heard: Called with the number of the signal that asks to stop.
        told: Called with what the trainer says before it starts.

    Raises:
        UsageError: The backbone cannot be trained, or an argument is wrong.
        PluginError: Dataset or trainer fails.
        TrainingError: The run cannot start or go on.
    """
    place = launch.process_rank()
    options, spec = check_job(backbone, recipe, epochs, place.count), cast("BackboneSpec", backbone.entry.spec)
    stop = StopCondition(max_seconds)
    device = pick_device(device)
    if place.count > 1 and device.startswith("cuda"):
        device = pick_device(f"cuda:{place.local}")
    arithmetic = pick_precision(precision, device, bf16_pays=True)
    images = cast("Dataset", dataset.build())
    if split not in (allowed := ("train", *images.unlabeled)):
        raise UsageError(
            f"{dataset.title} has no split {split!r} to train on", where="--split", hint=" or ".join(allowed)
        )
    with plugin_errors(f"dataset {dataset.title} cannot be read"):
        trained_on = images.split(split)
        val = images.split("val") if "val" in images.splits else None
    make_writable(out, "--out")
    with bar(f"train {backbone.title}", total=epochs) if place.main else nullcontext(SILENT) as shown:
        at = None

        def progress(epoch: int, step: int, steps: int, loss: float) -> None:
            nonlocal at
            shown.set_completed(epoch - 1 + step / steps, note=f"epoch {epoch} loss {loss:.4f}")
            at = None if (epoch, step) == (epochs, steps) else f"epoch {epoch} of {epochs}, step {step} of {steps}"

        job = TrainingJob(
            options=backbone.options,
            recipe=options,
            images=trained_on,
            dataset=dataset.title if split == "train" else f"{dataset.title}/{split}",
            flips=images.flips,
            out=out,
            epochs=epochs,
            seed=seed,
            device=device,
            precision=arithmetic,
            progress=progress,
            stop=lambda: stop() or launch.orphaned(),
            val=val,
            tell=told,
            process=place.index,
            processes=place.count,
        )
        trainer = load_target(spec.trainer, where=backbone.entry.origin)
        with plugin_errors(f"training of {backbone.title} fails"), stop.on_signals(heard):
            checkpoint = cast("Path", trainer(job))
    return TrainingResult(checkpoint, at, stop.signal if at else None)


def check_job(backbone: Component, recipe: Mapping[str, str], epochs: int, count: int = 1) -> Options:
    """Checks what is asked of a training, and gives the recipe's options.

    Args:
        backbone: What to train.
        recipe: Options of the training, as texts.
        epochs: In all.
        count: Of the processes that share it.

    Raises:
        UsageError: The backbone cannot be trained, or not by several processes, or an argument is wrong.
    """
    spec = cast("BackboneSpec", backbone.entry.spec)
    if not spec.trainer:
        raise UsageError(
            f"{backbone.entry.label} cannot be trained",
            hint=one_of("backbone", attrgetter("trainer")) or "no installed backbone can be",
        )
    if count > 1 and not spec.parallel:
        raise UsageError(
            f"{backbone.entry.label} is trained by one process, not by {count}",
            where="--num-processes",
            hint="leave it out",
        )
    if epochs < 1:
        raise UsageError(f"--epochs {epochs} trains nothing", hint="1 or more")
    return option_text.validate(spec.recipe, recipe, f"the recipe of {backbone.entry.label}")
