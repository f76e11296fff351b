"""Similarity of the taps of two backbones, from features that are extracted and stored as in a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from probebench.api import UsageError
from probebench.extraction.context import collect_warnings
from probebench.extraction.split_pass import read_split
from probebench.extraction.subsets import limit
from probebench.extraction.workbench import Workbench
from probebench.planning.points import ResolvedPoints
from probebench.stats.cka import MIN_IMAGES, NeighbourSets, align, hsic, neighbours, normalised
from probebench.stats.tap_matrix import CKNNA_K, BackbonePoints, TapMatrix
from probebench.store.features import Store
from probebench.util.errors import suggest
from probebench.util.progress import bar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from probebench.api import Point
    from probebench.extraction.context import Context
    from probebench.extraction.passes import Extraction, StoredFeatures
    from probebench.planning.jobs import Job
    from probebench.plugins.registry import Component
    from probebench.stats.tap_matrix import Matrix


def compare_taps(a: Job, b: Job, *, store: Path, split: str = "test", minibatch: int | None = None) -> TapMatrix:
    """Compares the points of two backbones, on the images of one split.

    Each backbone goes over the split once, for the points without stored features; both sides of one backbone together.

    Args:
        a: The first backbone, the dataset and the points. Without levels, the least noisy level is read.
        b: The second, which may differ from `a` in backbone, taps and levels.
        store: Folder of the feature store.
        split: Of the dataset.
        minibatch: Images of a minibatch of CKA; None takes all at once, which is more precise.

    Raises:
        UsageError: A name, option or value is wrong, or there are too few images.
        ProbebenchError: A component, the dataset or the store cannot be used.
    """
    if minibatch is not None and minibatch < MIN_IMAGES:
        raise UsageError(
            f"unbiased CKA needs minibatches of {MIN_IMAGES} images, not {minibatch}",
            hint=f"--minibatch {MIN_IMAGES} or more",
        )
    with collect_warnings() as collected:
        readers = _readers(a, b, Workbench(store))
        images = _count(readers[0].context, split)
        passes: dict[Component, Extraction] = {}
        for reader in readers:
            if reader.backbone not in passes:
                passes[reader.backbone] = read_split(reader.context, split, Store(store))[1]
        rows, columns = (
            {(reader.backbone, point): passes[reader.backbone].features[point] for point in reader.points}
            for reader in readers
        )
        cka, cknna = _matrices(rows, columns, minibatch, readers[0].context.device)
    first, second = (
        BackbonePoints(reader.backbone.title, reader.context.description.backbone.fingerprint, reader.points)
        for reader in readers
    )
    warnings = (text for reader in readers for text in reader.context.description.warnings)
    return TapMatrix(
        dataset=a.dataset.title,
        split=split,
        images=images,
        a=first,
        b=second,
        minibatch=minibatch,
        cka=cka,
        cknna=cknna,
        forwarded=sum(extraction.forwarded for extraction in passes.values()),
        warnings=tuple(dict.fromkeys([*warnings, *collected])),
    )


@dataclass(frozen=True)
class _Reader:
    """One side: a backbone and its points. Two sides of one backbone have the same context."""

    context: Context
    points: tuple[Point, ...]

    @property
    def backbone(self) -> Component:
        return self.context.job.backbone


def _readers(a: Job, b: Job, bench: Workbench) -> tuple[_Reader, _Reader]:
    first = bench.open(a)
    of_a, of_b = (_least_noise(bench.describe(job).backbone.points, job) for job in (a, b))
    if a.backbone != b.backbone:
        second = bench.open(b)
        return _Reader(first.with_points(of_a), of_a.points), _Reader(second.with_points(of_b), of_b.points)
    both = ResolvedPoints(
        of_a.taps | of_b.taps, of_a.levels | of_b.levels, tuple(dict.fromkeys((*of_a.points, *of_b.points)))
    )
    context = first.with_points(both)
    return _Reader(context, of_a.points), _Reader(context, of_b.points)


def _least_noise(resolved: ResolvedPoints | None, job: Job) -> ResolvedPoints:
    """Returns every tap, at the levels that were named, else at the least noisy one."""
    assert resolved is not None  # noqa: S101 - no job here generates images
    least = next(iter(resolved.levels))  # they ascend
    kept = tuple(point for point in resolved.points if job.points.levels or point.level == least)
    return replace(resolved, points=kept)


def _count(context: Context, split: str) -> int:
    """Returns how many images are compared."""
    if split not in context.labels:
        raise UsageError(f"the dataset has no split {split!r}", where="--split", hint=suggest(split, context.labels))
    labels, count = context.labels[split], context.job.settings.limit
    images = len(labels) if count is None else len(limit(labels, count))
    if images <= CKNNA_K:
        raise UsageError(
            f"{images} images of {split} are too few to compare each with its {CKNNA_K} nearest neighbours",
            where="--limit" if count else context.job.dataset.title,
            hint=f"use {CKNNA_K + 1} images or more",
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
            near = neighbours(vectors, CKNNA_K)
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
