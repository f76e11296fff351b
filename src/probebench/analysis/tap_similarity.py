"""Similarity of the taps of two backbones, from features that are extracted and stored as in a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from probebench.api import UsageError
from probebench.extraction.context import Workbench, collect_warnings
from probebench.extraction.split_pass import read_split
from probebench.extraction.subsets import limit
from probebench.planning.jobs import Job
from probebench.planning.points import Reading, reading
from probebench.planning.request import check_reading
from probebench.plugins.registry import installed, resolve
from probebench.stats.cka import LEAST, NeighbourSets, align, hsic, neighbours, normalised
from probebench.stats.tap_matrix import NEIGHBOURS, Side, TapMatrix
from probebench.store.features import Store
from probebench.util.errors import suggest
from probebench.util.progress import bar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api import Point
    from probebench.extraction.context import Context
    from probebench.extraction.passes import Extraction, StoredFeatures
    from probebench.planning.request import Request
    from probebench.plugins.registry import Component, Registry
    from probebench.stats.tap_matrix import Matrix


def compare_taps(
    a: Request, b: Request, *, split: str = "test", minibatch: int | None = None, registry: Registry | None = None
) -> TapMatrix:
    """Compares the points of two backbones, on the images of one split.

    Each backbone processes the split once, for the points that are not stored. Two sides of one backbone share a pass.

    Args:
        a: The first backbone and the dataset, with taps, levels and pool. Without levels, the least noisy one is used.
        b: The second backbone, with its taps, levels and pool; everything else is as in `a`.
        split: Name of the split.
        minibatch: Images of a minibatch of CKA; None uses all images at once, which is more precise.
        registry: Installed components; by default those of this environment.

    Raises:
        UsageError: A name, option or value is wrong, or there are too few images.
        ProbebenchError: A component, the dataset or the store cannot be used.
    """
    check_reading(a)
    check_reading(b)
    if minibatch is not None and minibatch < LEAST:
        raise UsageError(f"--minibatch {minibatch} is too small for unbiased CKA", hint=f"--minibatch {LEAST}, or more")
    with collect_warnings() as collected:
        readers = _readers(a, b, registry or installed())
        images = _count(readers[0].context, split)
        passes: dict[Component, Extraction] = {}
        for reader in readers:
            if reader.backbone not in passes:
                passes[reader.backbone] = read_split(reader.context, split, Store(a.store))[1]
        rows, columns = (
            {(reader.backbone, point): passes[reader.backbone].features[point] for point in reader.points}
            for reader in readers
        )
        cka, cknna = _matrices(rows, columns, minibatch, readers[0].context.device)
    first, second = (
        Side(reader.backbone.title, reader.context.fingerprints["backbone"], reader.points) for reader in readers
    )
    warnings = [*(text for reader in readers for text in reader.context.warnings), *collected]
    return TapMatrix(
        dataset=readers[0].context.job.dataset.title,
        split=split,
        images=images,
        a=first,
        b=second,
        minibatch=minibatch,
        cka=cka,
        cknna=cknna,
        forwarded=sum(extraction.forwarded for extraction in passes.values()),
        warnings=tuple(dict.fromkeys(warnings)),
    )


@dataclass(frozen=True)
class _Reader:
    """One side: a backbone and its points. Two sides of one backbone have the same context."""

    context: Context
    points: tuple[Point, ...]

    @property
    def backbone(self) -> Component:
        return self.context.job.backbone


def _readers(a: Request, b: Request, registry: Registry) -> tuple[_Reader, _Reader]:
    bench, dataset = Workbench(a), resolve("dataset", a.datasets[0], registry)
    backbones = [resolve("backbone", request.backbones[0], registry) for request in (a, b)]
    same = backbones[0] == backbones[1]
    jobs = [
        Job(backbone, dataset, request, (), alone=same) for backbone, request in zip(backbones, (a, b), strict=True)
    ]
    # No job here generates images, so each context is one of features.
    first = cast("Context", bench.context(jobs[0]))
    if not same:
        return _reader(first), _reader(cast("Context", bench.context(jobs[1])))
    other = reading(first.backbone, first.dataset.image_size, jobs[1])
    points = _points(first.reading, a), _points(other, b)
    both = Reading(
        first.reading.taps | other.taps,
        first.reading.levels | other.levels,
        tuple(dict.fromkeys((*points[0], *points[1]))),
    )
    context = replace(first, reading=both)
    return _Reader(context, points[0]), _Reader(context, points[1])


def _reader(context: Context) -> _Reader:
    points = _points(context.reading, context.request)
    return _Reader(replace(context, reading=replace(context.reading, points=points)), points)


def _points(read: Reading, request: Request) -> tuple[Point, ...]:
    """Returns every tap at the requested levels, or else at the least noisy level."""
    least = next(iter(read.levels))  # levels ascend
    return tuple(point for point in read.points if request.levels or point.level == least)


def _count(context: Context, split: str) -> int:
    """Returns how many images are compared."""
    if split not in context.labels:
        raise UsageError(f"the dataset has no split {split!r}", where="--split", hint=suggest(split, context.labels))
    labels, count = context.labels[split], context.request.limit
    images = len(labels) if count is None else len(limit(labels, count))
    if images <= NEIGHBOURS:
        raise UsageError(
            f"{images} images of {split} are too few to compare each with its {NEIGHBOURS} nearest neighbours",
            where="--limit" if count else context.job.dataset.title,
            hint=f"use {NEIGHBOURS + 1} images or more",
        )
    return images


_Key = tuple["Component", "Point"]


def _matrices(
    rows: Mapping[_Key, StoredFeatures], columns: Mapping[_Key, StoredFeatures], minibatch: int | None, device: str
) -> tuple[Matrix, Matrix]:
    """Computes CKA and CKNNA of all pairs, with two feature matrices and all neighbours in memory."""
    single: dict[_Key, tuple[float, NeighbourSets, float]] = {}
    pairs: dict[tuple[_Key, _Key], tuple[float, float]] = {}

    def with_itself(key: _Key, vectors: Tensor) -> tuple[float, NeighbourSets, float]:
        if key not in single:
            near = neighbours(vectors, NEIGHBOURS)
            single[key] = hsic(vectors, vectors, batch=minibatch), near, align(near, near)
        return single[key]

    with bar("compare taps", total=len(rows) * len(columns)) as shown:
        for row, stored in rows.items():
            x = stored.read().to(device)
            for column, other in columns.items():
                if (column, row) in pairs:
                    pairs[row, column] = pairs[column, row]
                else:
                    y = x if column == row else other.read().to(device)
                    hsic_x, near_x, align_x = with_itself(row, x)
                    hsic_y, near_y, align_y = with_itself(column, y)
                    pairs[row, column] = (
                        normalised(hsic(x, y, batch=minibatch), hsic_x, hsic_y),
                        normalised(align(near_x, near_y), align_x, align_y),
                    )
                shown.advance()
    cka, cknna = (tuple(tuple(pairs[row, column][which] for column in columns) for row in rows) for which in (0, 1))
    return cka, cknna
