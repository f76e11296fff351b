"""Training of backbones that can be trained: finds the trainer, and hands it the job."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from probebench import option_values
from probebench.api import BackboneSpec, Dataset, TrainingJob, UsageError
from probebench.folders import make_writable
from probebench.hardware import pick_device, pick_precision
from probebench.inputs import plugin_errors
from probebench.progress import bar
from probebench.registry import Component, installed, load_target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
) -> Path:
    """Trains a backbone on images of a dataset; labels are never read.

    A folder that holds a part of the same run is gone on with.

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

    Returns:
        Folder of the last checkpoint.

    Raises:
        UsageError: The backbone cannot be trained, or an argument is wrong.
        PluginError: Dataset or trainer fails.
        TrainingError: The run cannot start or go on.
    """
    spec = cast("BackboneSpec", backbone.entry.spec)
    if not spec.trainer:
        raise UsageError(f"{backbone.entry.label} cannot be trained", hint=_trainable())
    if epochs < 1:
        raise UsageError(f"--epochs {epochs} trains nothing", hint="1 or more")
    options = option_values.validate(spec.recipe, recipe, f"the recipe of {backbone.entry.label}")
    device = pick_device(device)
    arithmetic = pick_precision(precision, device, bf16_pays=True)
    images = cast("Dataset", dataset.build())
    if split not in (allowed := ("train", *images.unlabeled)):
        raise UsageError(
            f"{dataset.title} has no split {split!r} to train on", where="--split", hint=" or ".join(allowed)
        )
    with plugin_errors(f"dataset {dataset.title} cannot be read"):
        trained_on = images.split(split)
    make_writable(out, "--out")
    with bar(f"train {backbone.title}", total=epochs) as shown:
        before = 0.0

        def progress(epoch: int, step: int, steps: int, loss: float) -> None:
            nonlocal before
            done = epoch - 1 + step / steps
            shown.advance(done - before, note=f"epoch {epoch} loss {loss:.4f}")
            before = done

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
        )
        trainer = load_target(spec.trainer, where=backbone.entry.origin)
        with plugin_errors(f"training of {backbone.title} fails"):
            return cast("Path", trainer(job))


def _trainable() -> str:
    entries = installed().entries("backbone")
    names = [entry.label for entry in entries if cast("BackboneSpec", entry.spec).trainer]
    return "one of " + ", ".join(names) if names else "no installed backbone can be"
