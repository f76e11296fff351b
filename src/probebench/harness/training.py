"""Training: finds the trainer of a backbone, and gives it the job."""

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
    on_signal: Callable[[int], None] = lambda _: None,
    report: Callable[[str], None] = lambda _: None,
) -> TrainingResult:
    """Trains a backbone on images of a dataset; labels are never read.

    A folder that holds a part of the same run is resumed. When the time is up, or at the first Ctrl-C or SIGTERM, the
    trainer finishes its step, saves and returns.

    Args:
        backbone: What to train, with its options.
        dataset: The images.
        split: ``train``, or a split without labels. Test images are never trained on.
        recipe: Options of the training, as texts.
        epochs: Total number of epochs, with those of an interrupted run.
        out: Folder of the run.
        seed: Seed of everything random in it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        max_seconds: Time limit, counted from the call; at least one step is made. None for no limit.
        on_signal: Called with the number of the signal that stops the training.
        report: Called with the lines that the trainer reports before it starts.

    Raises:
        UsageError: The backbone cannot be trained, or an argument is wrong.
        PluginError: Dataset or trainer fails.
        TrainingError: The run cannot start or resume.
    """
    rank = launch.process_rank()
    options, spec = check_job(backbone, recipe, epochs, rank.count), cast("BackboneSpec", backbone.entry.spec)
    stop = StopCondition(max_seconds)
    device = pick_device(device)
    if rank.count > 1 and device.startswith("cuda"):
        device = pick_device(f"cuda:{rank.local}")
    arithmetic = pick_precision(precision, device, prefers_bf16=True)
    images = cast("Dataset", dataset.build())
    if split not in (allowed := ("train", *images.unlabeled)):
        raise UsageError(
            f"{dataset.title} has no split {split!r} to train on", where="--split", hint=" or ".join(allowed)
        )
    with plugin_errors(f"dataset {dataset.title} cannot be read"):
        trained_on = images.split(split)
        val = images.split("val") if "val" in images.splits else None
    make_writable(out, "--out")
    with bar(f"train {backbone.title}", total=epochs) if rank.main else nullcontext(SILENT) as shown:
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
            should_stop=lambda: stop() or launch.orphaned(),
            val=val,
            report=report,
            process=rank.index,
            processes=rank.count,
        )
        trainer = load_target(spec.trainer, where=backbone.entry.origin)
        with plugin_errors(f"training of {backbone.title} fails"), stop.on_signals(on_signal):
            checkpoint = cast("Path", trainer(job))
    return TrainingResult(checkpoint, at, stop.signal if at else None)


def check_job(backbone: Component, recipe: Mapping[str, str], epochs: int, count: int = 1) -> Options:
    """Checks the arguments of a training, and returns the recipe's options.

    Args:
        backbone: What to train.
        recipe: Options of the training, as texts.
        epochs: Total number.
        count: Number of processes that share it.

    Raises:
        UsageError: The backbone cannot be trained, or not by several processes, or an argument is wrong.
    """
    spec = cast("BackboneSpec", backbone.entry.spec)
    if not spec.trainer:
        raise UsageError(
            f"{backbone.entry.label} cannot be trained",
            where="SPEC",
            hint=one_of("backbone", attrgetter("trainer")) or "install a plugin with a backbone that can be trained",
        )
    if count > 1 and not spec.parallel:
        raise UsageError(
            f"{backbone.entry.label} is trained by one process, not by {count}",
            where="--num-processes",
            hint="leave out --num-processes",
        )
    if epochs < 1:
        raise UsageError(f"--epochs {epochs} trains nothing", hint="--epochs 1 or more")
    return option_text.validate(spec.recipe, recipe, f"the recipe of {backbone.entry.label}")
