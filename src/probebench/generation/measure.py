"""One cell of generation: images drawn from a backbone, read by an extractor, and held against real ones.

The images lie in the store, in a folder of everything that made them: they are drawn once for all measures, a killed
run goes on at the batch it was in, and a larger number adds to a smaller one.
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
from probebench.generation.sample import draw, drawn_from, notes
from probebench.generation.split import ChosenImages, DrawnSplit
from probebench.plugins import option_text
from probebench.store import generated
from probebench.util.hashing import digest
from probebench.util.progress import bar
from probebench.util.spec_text import split_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api import Options, Split
    from probebench.extraction.context import SampleContext
    from probebench.planning.protocol import RuledProbe
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
    """What came out of a cell.

    Attributes:
        measured: By name, with number of images, reference and extractor; the first is the primary one.
        floors: Values of as many real images, by the same names; empty where there are not as many.
        used: Real images, as ``reference`` and ``floor``.
        count: Images that were measured.
        made: How many of them were drawn for this cell.
        sampling: Options of the sampler.
        fingerprint: Of the drawn images.
        draw_s: Seconds of drawing and of reading features.
        measure_s: Seconds of the measure itself.
    """

    measured: Mapping[str, Measured]
    floors: Mapping[str, float]
    used: Mapping[str, Used]
    count: int
    made: int
    sampling: Options
    fingerprint: str
    draw_s: float
    measure_s: float


def measure(context: SampleContext, ruled: RuledProbe, store: Store, *, seed: int) -> GenerationOutcome:
    """Draws what is missing, and measures it.

    Args:
        context: The backbone, the dataset and the extractor.
        ruled: The measure.
        store: Where images and features are kept.
        seed: Of the drawn images.

    Raises:
        UsageError: Numbers of images, sizes or options do not fit.
        FeatureError: The backbone or the extractor gets its input in another range than it says, or a feature is not
            finite.
        PluginError: A component fails or breaks its contract.
    """
    started = time.perf_counter()
    probe, options = cast("SampleProbe", ruled.probe.build()), cast("SampleOptions", ruled.probe.options)
    smoke = context.request.limit
    count = options.count if smoke is None else min(options.count, smoke)
    used = {"reference": _reference(context, options.reference), **_floor(context, options.reference, count)}
    _check_ranges(context)
    images, made, sampling = _draw(context, options.sampling, count, store, seed)
    if images.image_size != tuple(context.dataset.image_size):
        raise UsageError(
            f"{context.job.backbone.title} draws images of {_size(images.image_size)}, "
            f"and those of {context.job.dataset.title} are {_size(context.dataset.image_size)}",
            hint="the dataset that it was trained on, at that size",
        )
    drawn = _read(context, images, torch.arange(count), "drawn", store)
    real = {
        name: _read(context, context.splits[one.split], one.positions, context.source(one.split), store)
        for name, one in used.items()
    }
    between = time.perf_counter()
    suffix = _suffix(context, count, used["reference"])
    measured = _measured(probe, drawn, real["reference"], suffix)
    floors = _measured(probe, real["floor"], real["reference"], suffix) if "floor" in real else {}
    return GenerationOutcome(
        measured=measured,
        floors={name: one.value for name, one in floors.items()},
        used=used,
        count=count,
        made=made,
        sampling=sampling,
        fingerprint=images.fingerprint(),
        draw_s=round(between - started, 3),
        measure_s=round(time.perf_counter() - between, 3),
    )


def _reference(context: SampleContext, split: str) -> Used:
    labels, smoke = context.labels[split], context.request.limit
    return Used(split, torch.arange(len(labels)) if smoke is None else limit(labels, smoke))


def _floor(context: SampleContext, reference: str, count: int) -> dict[str, Used]:
    """As many real images as are drawn, of the other split; none, with a warning, where it has fewer."""
    other = "train" if reference == "test" else "test"
    labels = context.labels[other]
    if len(labels) < count:
        warnings.warn(
            f"no floor: {other} of {context.job.dataset.title} has {len(labels):,} images, and {count:,} are drawn",
            ProbebenchWarning,
            stacklevel=2,
        )
        return {}
    return {"floor": Used(other, limit(labels, count))}


def _check_ranges(context: SampleContext) -> None:
    """Tries a black and a white image on both networks, before hours of drawing.

    A generator that learnt another range than it says draws washed-out images, and an extractor that is fed another
    one sees them so. Images in which nothing is quite black or white would not show it.
    """
    height, width = context.dataset.image_size
    extremes = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, height, width).contiguous()
    for backbone in (context.backbone, context.extractor):
        check_input_range(backbone, extremes)


def _draw(
    context: SampleContext, sampling: str, count: int, store: Store, seed: int
) -> tuple[DrawnSplit, int, Options]:
    backbone = context.job.backbone
    options = _sampler_options(backbone, sampling)
    run = drawn_from(backbone, context.backbone, options, seed=seed, precision=context.precision)
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
    draw(job, backbone, folder)
    return DrawnSplit(folder, count), len(missing), options


def _sampler_options(backbone: Component, text: str) -> Options:
    """What the probe's option ``sampling`` means to a backbone's sampler.

    Raises:
        UsageError: The sampler has no such option, or a value is wrong.
    """
    pairs = [item.partition("=") for item in split_list(text)] if text else []
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise UsageError(f"{wrong[0]!r} is not of the form option=value", where="option sampling", hint="[steps=50]")
    spec, label = cast("BackboneSpec", backbone.entry.spec), backbone.entry.label
    return option_text.validate(spec.sampling, {name: value for name, _, value in pairs}, label)


def _read(context: SampleContext, split: Split, positions: Tensor, source: str, store: Store) -> ImageSet:
    component = context.wanted.component
    with bar(f"read {component.title} on {source}", total=len(positions)) as shown:
        extraction = extract(
            context.extractor,
            split,
            identity=component.identity(),
            source=source,
            index=positions,
            points=[context.point],
            seed=context.request.noise_seed,
            device=context.device,
            precision="fp32",  # always: a number that everybody compares is not to depend on a device's taste
            store=store,
            progress=lambda done, _total: shown.set_completed(done),
        )
    return ImageSet(ChosenImages(split, positions), extraction.features[context.point].read())


def _suffix(context: SampleContext, count: int, reference: Used) -> str:
    """What makes two numbers comparable: as many images, the same reference, the same features."""
    wanted = context.wanted
    extractor = wanted.component.title + (f"@{wanted.point}" if wanted.point else "")
    return f"@{_short(count)}/{reference.split}{_short(len(reference.positions))}[{extractor}]"


def _measured(probe: SampleProbe, drawn: ImageSet, real: ImageSet, suffix: str) -> dict[str, Measured]:
    found = probe.measure(drawn, real)
    where = type(probe).__name__
    if not found:
        raise PluginError("the probe measured nothing", where=where, hint="measure() gives one number or more")
    for name, one in found.items():
        if not math.isfinite(one.value) or not math.isfinite(one.sd or 0.0):
            raise PluginError(f"{name} is {one.value} with sd {one.sd}", where=where, hint="finite numbers only")
    return {name + suffix: one for name, one in found.items()}


def _short(number: int) -> str:
    """Thousands as ``2k``, other numbers in full."""
    return f"{number // 1000}k" if number % 1000 == 0 else str(number)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
