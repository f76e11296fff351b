"""Drawing images from backbones that generate: finds the sampler, hands it the job, keeps what it yields."""

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
class Drawn:
    """A folder with all images that were asked for.

    Attributes:
        folder: Where they are.
        made: How many were drawn now; the others were there.
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
) -> Drawn:
    """Draws the images 0 to ``count - 1`` into a folder, those that are there already excepted.

    Args:
        backbone: What to draw from, with its options.
        sampling: Options of the sampler, as texts.
        count: Images in all, those of an interrupted or shorter run included.
        out: Folder of the images.
        seed: Seed of all noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        batch_size: Images that go through the network together; by default as many as the backbone likes.

    Raises:
        UsageError: The backbone draws no images, an argument is wrong, or the folder holds something else.
        DataError: The folder's manifest cannot be read.
        PluginError: The sampler fails or breaks its contract.
    """
    entry, spec = backbone.entry, cast("BackboneSpec", backbone.entry.spec)
    if not spec.sampler:
        raise UsageError(
            f"{entry.label} draws no images",
            hint=one_of("backbone", attrgetter("sampler")) or "no installed backbone does",
        )
    for option, value in (("--count", count), ("--batch-size", 1 if batch_size is None else batch_size)):
        if value < 1:
            raise UsageError(f"{option} {value} draws nothing", hint="1 or more")
    options = option_text.validate(spec.sampling, sampling, entry.label)
    device = pick_device(device)
    built = cast("Backbone", backbone.build())
    arithmetic = pick_precision(precision, device, bf16_pays=built.prefers_bf16)
    run = drawn_from(backbone, built, options, seed=seed, precision=arithmetic)
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
    draw(job, backbone, folder)
    return Drawn(folder, len(missing))


def drawn_from(
    backbone: Component, built: Backbone, options: Options, *, seed: int, precision: Precision
) -> dict[str, Any]:
    """All that drawn images depend on, as the manifest of their folder states it; JSON values only.

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


def draw(job: SamplingJob, backbone: Component, folder: SampleFolder) -> None:
    """Draws the job's images into a folder, with a bar.

    Args:
        job: Its `progress` is not looked at.
        backbone: What to draw from, of which the job has the built one.
        folder: Each image is in it as soon as it is drawn.

    Raises:
        PluginError: The sampler fails or breaks its contract.
    """
    if not job.index:
        return
    target = cast("BackboneSpec", backbone.entry.spec).sampler
    with bar(f"sample {backbone.title}", total=len(job.index)) as shown:
        _draw(replace(job, progress=shown.advance), target, backbone, folder)


def _draw(job: SamplingJob, target: str, backbone: Component, folder: SampleFolder) -> None:
    sampler = load_target(target, where=backbone.entry.origin)
    left = set(job.index)
    with plugin_errors(f"sampling from {backbone.title} fails"):
        for index, images in sampler(job):
            _check(index, images, left, backbone)
            left -= set(index)
            for number, image in zip(index, images.cpu(), strict=True):
                folder.write(number, image)
    if left:
        raise _broken(backbone, f"{len(left)} of {len(job.index)} images never came, such as image {min(left)}")


def _check(index: Sequence[int], images: Any, left: set[int], backbone: Component) -> None:  # noqa: ANN401 - unknown yet
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise _broken(backbone, f"images are {found}, not uint8 (B, 3, H, W)")
    if len(index) != len(images) or len(set(index)) != len(index):
        raise _broken(backbone, f"{len(images)} images come with {len(set(index))} numbers")
    if wrong := set(index) - left:
        raise _broken(backbone, f"image {min(wrong)} was not asked for, or came before")


def _broken(backbone: Component, fault: str) -> PluginError:
    return PluginError(f"the sampler of {backbone.title} breaks its contract: {fault}", where=backbone.entry.origin)


def _missing(folder: SampleFolder, count: int) -> list[int]:
    present = folder.present()
    # A tool that measures the folder measures all that is in it.
    if present and max(present) >= count:
        raise UsageError(
            f"the folder holds images up to number {max(present)}, more than --count {count}",
            where=str(folder.images),
            hint=f"--count {max(present) + 1} or more, or a new --out",
        )
    return [number for number in range(count) if number not in present]


def notes(backbone: Component, device: str) -> dict[str, Any]:
    """What the manifest says for people: it has no part in whether two runs are one."""
    came_from = provenance.current_provenance(
        plugins={backbone.entry.distribution: backbone.entry.version},
        argv=sys.argv,
        device_name=device_name(device),
    )
    return {"title": backbone.title, "provenance": came_from.model_dump(mode="json")}
