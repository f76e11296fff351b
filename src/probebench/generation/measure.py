"""Measures of generated images, which an extractor reads and a probe compares with real ones.

The images are kept in the store, in a folder named by everything that they depend on. So they are generated once for
all measures, a killed run resumes at the batch it was in, and a larger number adds to a smaller one.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from probebench.api import (
    BackboneSpec,
    ImageSet,
    Measured,
    PluginError,
    ProbebenchWarning,
    SampleOptions,
    SampleProbe,
    SamplingJob,
    UsageError,
)
from probebench.extraction.images import check_input_range
from probebench.extraction.passes import extract
from probebench.extraction.subsets import limit
from probebench.generation.folder import SampleFolder
from probebench.generation.sample import generate_into, notes, sampling_run
from probebench.generation.split import ChosenImages, GeneratedSplit
from probebench.plugins import option_text
from probebench.store import generated
from probebench.util.hashing import digest
from probebench.util.progress import bar
from probebench.util.spec_text import split_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api import Backbone, Options, Point, Split
    from probebench.extraction.context import Context
    from probebench.planning.protocol import Extractor, RuledProbe
    from probebench.plugins.registry import Component
    from probebench.store.features import Store


@dataclass(frozen=True)
class Used:
    """Real images that served one purpose.

    Attributes:
        split: Name of their split.
        positions: int64 ``(N,)``, in it.
    """

    split: str
    positions: Tensor


@dataclass(frozen=True)
class GenerationOutcome:
    """The result of a cell.

    Attributes:
        measured: By name, with number of images, reference and extractor; the first is the primary measure.
        baselines: Values for as many real images, by the same names; empty where the dataset has fewer.
        used: Real images, as ``reference`` and ``floor`` (the baseline).
        count: Number of images that were measured.
        generated: How many of them were generated for this cell.
        sampling: Options of the sampler.
        fingerprint: Of the generated images.
        generate_s: Seconds of generating images and reading features.
        measure_s: Seconds of the measure.
    """

    measured: Mapping[str, Measured]
    baselines: Mapping[str, float]
    used: Mapping[str, Used]
    count: int
    generated: int
    sampling: Options
    fingerprint: str
    generate_s: float
    measure_s: float


def measure_generation(context: Context, ruled: RuledProbe, store: Store, *, seed: int) -> GenerationOutcome:
    """Generates missing images, and measures all.

    Args:
        context: The components of the job.
        ruled: The measure.
        store: Where images and features are kept.
        seed: Of the generated images.

    Raises:
        UsageError: Numbers of images, sizes or options do not fit.
        FeatureError: The input of the backbone or the extractor is outside its range, or a feature is not finite.
        PluginError: A component fails or breaks its contract.
    """
    started = time.perf_counter()
    probe, options = cast("SampleProbe", ruled.probe.build()), cast("SampleOptions", ruled.probe.options)
    smoke = context.job.settings.limit
    count = options.count if smoke is None else min(options.count, smoke)
    used = {"reference": _reference(context, options.reference), **_baseline(context, options.reference, count)}
    _check_ranges(context)
    images, fresh, sampling = _generate(context, options.sampling, count, store, seed)
    if images.image_size != tuple(context.dataset.image_size):
        raise UsageError(
            f"{context.job.backbone.title} generates images of {_size(images.image_size)}, "
            f"and those of {context.job.dataset.title} are {_size(context.dataset.image_size)}",
            where="--dataset",
            hint="name the dataset that the backbone was trained on, at its image size",
        )
    generated = _read(context, images, torch.arange(count), "drawn", store)  # "drawn" is part of stored keys
    real = {
        name: _read(context, context.splits[one.split], one.positions, context.source(one.split), store)
        for name, one in used.items()
    }
    between = time.perf_counter()
    suffix = _suffix(context, count, used["reference"])
    measured = _measured(probe, generated, real["reference"], suffix)
    baselines = _measured(probe, real["floor"], real["reference"], suffix) if "floor" in real else {}
    return GenerationOutcome(
        measured=measured,
        baselines={name: one.value for name, one in baselines.items()},
        used=used,
        count=count,
        generated=fresh,
        sampling=sampling,
        fingerprint=images.fingerprint(),
        generate_s=round(between - started, 3),
        measure_s=round(time.perf_counter() - between, 3),
    )


def _reference(context: Context, split: str) -> Used:
    labels, smoke = context.labels[split], context.job.settings.limit
    return Used(split, torch.arange(len(labels)) if smoke is None else limit(labels, smoke))


def _baseline(context: Context, reference: str, count: int) -> dict[str, Used]:
    """Returns as many real images of the other split as are generated; none, with a warning, where it has fewer."""
    other = "train" if reference == "test" else "test"
    labels = context.labels[other]
    if len(labels) < count:
        warnings.warn(
            f"no value for real images: split {other} of {context.job.dataset.title} has {len(labels):,} images, "
            f"and {count:,} are generated",
            ProbebenchWarning,
            stacklevel=2,
        )
        return {}
    return {"floor": Used(other, limit(labels, count))}


def _check_ranges(context: Context) -> None:
    """Checks the input range of both networks on a black and a white image, before hours of generating.

    A wrong range gives washed-out images. Images without black and white pixels would not show it.
    """
    height, width = context.dataset.image_size
    extremes = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, height, width).contiguous()
    for backbone in (context.backbone, _built_extractor(context)):
        check_input_range(backbone, extremes)


def _generate(
    context: Context, sampling: str, count: int, store: Store, seed: int
) -> tuple[GeneratedSplit, int, Options]:
    backbone = context.job.backbone
    options = _sampler_options(backbone, sampling)
    run = sampling_run(backbone, context.backbone, options, seed=seed, precision=context.precision)
    root = store.root / generated.FOLDER / digest(run)[:32]
    folder = SampleFolder(root, run, notes(backbone, context.device), "--store")
    present = folder.present()
    missing = [number for number in range(count) if number not in present]
    job = SamplingJob(
        backbone=context.backbone,
        options=options,
        index=missing,
        seed=seed,
        device=context.device,
        precision=context.precision,
        batch_size=context.backbone.batch_size,
    )
    generate_into(job, backbone, folder)
    return GeneratedSplit(folder, count), len(missing), options


def _sampler_options(backbone: Component, text: str) -> Options:
    """Validates the probe's option ``sampling`` against a backbone's sampler.

    Raises:
        UsageError: The sampler has no such option, or a value is wrong.
    """
    pairs = [item.partition("=") for item in split_list(text)] if text else []
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise UsageError(
            f"{wrong[0]!r} is not of the form option=value", where="option sampling", hint="sampling=[steps=50]"
        )
    spec, label = cast("BackboneSpec", backbone.entry.spec), backbone.entry.label
    return option_text.validate(spec.sampling, {name: value for name, _, value in pairs}, label)


def _read(context: Context, split: Split, positions: Tensor, source: str, store: Store) -> ImageSet:
    extractor, point = _extractor(context)
    with bar(f"read {extractor.component.title} on {source}", total=len(positions)) as shown:
        extraction = extract(
            _built_extractor(context),
            split,
            identity=extractor.component.identity(),
            source=source,
            index=positions,
            points=[point],
            seed=context.job.settings.noise_seed,
            device=context.device,
            precision="fp32",  # always: numbers that are compared across machines do not depend on the device
            store=store,
            progress=lambda done, _total: shown.set_completed(done),
        )
    return ImageSet(ChosenImages(split, positions), extraction.features[point].read())


def _extractor(context: Context) -> tuple[Extractor, Point]:
    """Returns the extractor and where it is read."""
    described = context.description.extractor
    assert context.job.extractor is not None  # noqa: S101 - every job of generation has one
    assert described is not None  # noqa: S101
    assert described.extractor_point is not None  # noqa: S101
    return context.job.extractor, described.extractor_point


def _built_extractor(context: Context) -> Backbone:
    assert context.extractor  # noqa: S101 - as every job of generation
    return context.extractor


def _suffix(context: Context, count: int, reference: Used) -> str:
    """Returns what two comparable numbers share: the number of images, the reference and the extractor."""
    extractor, _ = _extractor(context)
    name = extractor.component.title + (f"@{extractor.point}" if extractor.point else "")
    return f"@{_short(count)}/{reference.split}{_short(len(reference.positions))}[{name}]"


def _measured(probe: SampleProbe, generated: ImageSet, real: ImageSet, suffix: str) -> dict[str, Measured]:
    found = probe.measure(generated, real)
    where = type(probe).__name__
    if not found:
        raise PluginError("measure() returns no number", where=where, hint="return at least one number")
    for name, one in found.items():
        if not math.isfinite(one.value) or not math.isfinite(one.sd or 0.0):
            raise PluginError(f"{name} is {one.value} with sd {one.sd}", where=where, hint="return finite numbers")
    return {name + suffix: one for name, one in found.items()}


def _short(number: int) -> str:
    """Formats thousands as ``2k``, and other numbers in full."""
    return f"{number // 1000}k" if number % 1000 == 0 else str(number)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
