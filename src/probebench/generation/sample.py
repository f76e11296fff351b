"""Generating images: finds the sampler of a backbone, gives it the job, and writes what it yields."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import torch

from probebench.api import Backbone, BackboneSpec, PluginError, SamplingJob, UsageError
from probebench.generation.folder import SampleFolder
from probebench.planning.device import device_name, pick_device, pick_precision
from probebench.plugins import option_text
from probebench.plugins.isolation import plugin_errors
from probebench.plugins.registry import Component, load_target, one_of
from probebench.records import provenance
from probebench.util.progress import bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from probebench.api import Options, Precision


@dataclass(frozen=True)
class GeneratedImages:
    """A folder with all images that were requested.

    Attributes:
        folder: The folder.
        made: How many were generated now; the others existed.
    """

    folder: SampleFolder
    made: int


def sample(
    backbone: Component,
    *,
    sampling: Mapping[str, str],
    count: int,
    out: Path,
    seed: int = 0,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
) -> GeneratedImages:
    """Generates the images 0 to ``count - 1`` in a folder, except those that exist.

    Args:
        backbone: The backbone, with its options.
        sampling: Options of the sampler, as texts.
        count: Total number of images, with those of an interrupted or shorter run.
        out: Folder of the images.
        seed: Seed of all noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        batch_size: Images that go through the network together; by default the batch size of the backbone.

    Raises:
        UsageError: The backbone generates no images, an argument is wrong, or the folder holds something else.
        DataError: The folder's manifest cannot be read.
        PluginError: The sampler fails or breaks its contract.
    """
    entry, spec = backbone.entry, cast("BackboneSpec", backbone.entry.spec)
    if not spec.sampler:
        raise UsageError(
            f"{entry.label} generates no images",
            where="--backbone",
            hint=one_of("backbone", attrgetter("sampler")) or "install a plugin with a backbone that generates images",
        )
    for option, value in (("--count", count), ("--batch-size", 1 if batch_size is None else batch_size)):
        if value < 1:
            raise UsageError(f"{option} {value} generates nothing", hint=f"{option} 1 or more")
    options = option_text.validate(spec.sampling, sampling, entry.label)
    device = pick_device(device)
    built = cast("Backbone", backbone.build())
    arithmetic = pick_precision(precision, device, prefers_bf16=built.prefers_bf16)
    run = sampling_run(backbone, built, options, seed=seed, precision=arithmetic)
    folder = SampleFolder(out, run, notes(backbone, device))
    missing = _missing(folder, count)
    job = SamplingJob(
        backbone=built,
        options=options,
        index=missing,
        seed=seed,
        device=device,
        precision=arithmetic,
        batch_size=built.batch_size if batch_size is None else batch_size,
    )
    generate_into(job, backbone, folder)
    return GeneratedImages(folder, len(missing))


def sampling_run(
    backbone: Component, built: Backbone, options: Options, *, seed: int, precision: Precision
) -> dict[str, Any]:
    """Returns everything that generated images depend on, as the manifest of their folder holds it; JSON values only.

    Raises:
        PluginError: The backbone has no fingerprint.
    """
    with plugin_errors(f"backbone {backbone.title} has no fingerprint"):
        return {
            "backbone": backbone.identity(),
            "fingerprint": built.fingerprint(),
            "sampling": options.model_dump(mode="json"),
            "seed": seed,
            "precision": precision,
        }


def generate_into(job: SamplingJob, backbone: Component, folder: SampleFolder) -> None:
    """Generates the images of a job into a folder, with a progress bar.

    Args:
        job: Its `progress` is replaced.
        backbone: The backbone, which the job holds built.
        folder: Each image is written as soon as it is generated.

    Raises:
        PluginError: The sampler fails or breaks its contract.
    """
    if not job.index:
        return
    target = cast("BackboneSpec", backbone.entry.spec).sampler
    with bar(f"sample {backbone.title}", total=len(job.index)) as shown:
        _generate(replace(job, progress=shown.advance), target, backbone, folder)


def _generate(job: SamplingJob, target: str, backbone: Component, folder: SampleFolder) -> None:
    sampler = load_target(target, where=backbone.entry.origin)
    left = set(job.index)
    with plugin_errors(f"sampling from {backbone.title} fails"):
        for index, images in sampler(job):
            _check(index, images, left, backbone)
            left -= set(index)
            for number, image in zip(index, images.cpu(), strict=True):
                folder.write(number, image)
    if left:
        raise _broken(backbone, f"it did not yield {len(left)} of {len(job.index)} images, such as image {min(left)}")


def _check(index: Sequence[int], images: Any, left: set[int], backbone: Component) -> None:  # noqa: ANN401 - unknown yet
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise _broken(backbone, f"images are {found}, not uint8 (B, 3, H, W)")
    if len(index) != len(images) or len(set(index)) != len(index):
        raise _broken(backbone, f"{len(images)} images come with {len(set(index))} numbers")
    if wrong := set(index) - left:
        raise _broken(backbone, f"image {min(wrong)} was not requested, or was yielded twice")


def _broken(backbone: Component, fault: str) -> PluginError:
    return PluginError(f"the sampler of {backbone.title} breaks its contract: {fault}", where=backbone.entry.origin)


def _missing(folder: SampleFolder, count: int) -> list[int]:
    present = folder.present()
    # A tool that measures the folder measures every image in it.
    if present and max(present) >= count:
        raise UsageError(
            f"the folder holds images up to number {max(present)}, more than --count {count}",
            where=str(folder.images),
            hint=f"--count {max(present) + 1}, or give --out a new folder",
        )
    return [number for number in range(count) if number not in present]


def notes(backbone: Component, device: str) -> dict[str, Any]:
    """Returns the part of the manifest for readers, which does not identify the run."""
    came_from = provenance.current_provenance(
        plugins={backbone.entry.distribution: backbone.entry.version},
        argv=sys.argv,
        device_name=device_name(device),
    )
    return {"title": backbone.title, "provenance": came_from.model_dump(mode="json")}
