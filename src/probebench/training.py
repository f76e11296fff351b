"""Training of backbones that can be trained: finds the trainer, and hands it the job."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from probebench import option_values
from probebench.api import BackboneSpec, Dataset, TrainingJob, UsageError
from probebench.hardware import pick_device, pick_precision
from probebench.progress import bar
from probebench.registry import Component, load_target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def train(
    backbone: Component,
    dataset: Component,
    *,
    recipe: Mapping[str, str],
    epochs: int,
    out: Path,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
) -> Path:
    """Trains a backbone on the images of a dataset's train split; labels are never read.

    A folder that holds a part of the same run is gone on with.

    Args:
        backbone: What to train, with its options.
        dataset: Where the images come from.
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
        TrainingError: The run cannot start or go on.
    """
    spec = cast("BackboneSpec", backbone.entry.spec)
    if not spec.trainer:
        raise UsageError(f"{backbone.entry.label} cannot be trained", hint="probebench train ddpm --dataset ...")
    if epochs < 1:
        raise UsageError(f"--epochs {epochs} is less than 1")
    options = option_values.validate(spec.recipe, recipe, f"the recipe of {backbone.entry.label}")
    device = pick_device(device)
    images = cast("Dataset", dataset.build())
    _make_folder(out)
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
            images=images.split("train"),
            dataset=dataset.title,
            flips=images.flips,
            out=out,
            epochs=epochs,
            seed=seed,
            device=device,
            precision=pick_precision(precision, device, bf16_pays=True),
            progress=progress,
        )
        return cast("Path", load_target(spec.trainer, where=backbone.entry.origin)(job))


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write there: {error.strerror}", where=str(out), hint="another --out") from error
