"""`probebench similarity`: how alike the taps of two backbones are, read as in a run and kept in the same store."""

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
from probebench.stats.cka import MIN_IMAGES, NeighbourSets, align, hsic, neighbours, normalised
from probebench.stats.tap_matrix import CKNNA_K, BackbonePoints, TapMatrix
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

    Each backbone goes over the split once, for the points that the store lacks; both sides of one backbone together.

    Args:
        a: The first backbone and the dataset, with taps, levels and pool. Without levels, the least noisy one is read.
        b: The second, which differs from `a` in these alone.
        split: Of the dataset.
        minibatch: Images of a minibatch of CKA; None takes all at once, which is more precise.
        registry: Where components are looked up; by default what is installed.

    Raises:
        UsageError: A name, option or value is wrong, or there are too few images.
        ProbebenchError: A component, the dataset or the store cannot be used.
    """
    check_reading(a)
    check_reading(b)
    if minibatch is not None and minibatch < MIN_IMAGES:
        raise UsageError(f"--minibatch {minibatch} has no unbiased CKA", hint=f"{MIN_IMAGES} or more images")
    with collect_warnings() as heard:
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
        BackbonePoints(reader.backbone.title, reader.context.fingerprints["backbone"], reader.points)
        for reader in readers
    )
    said = (text for reader in readers for text in reader.context.warnings)
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
        warnings=tuple(dict.fromkeys([*said, *heard])),
    )


@dataclass(frozen=True)
class _Reader:
    """One side: what is read from which backbone. Both sides of one backbone have the same context."""

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
    # No job here draws images, so all contexts are read.
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
    """Every tap: at the levels that were named, else where there is the least noise."""
    least = next(iter(read.levels))  # they ascend
    return tuple(point for point in read.points if request.levels or point.level == least)


def _count(context: Context, split: str) -> int:
    """How many images are compared."""
    if split not in context.labels:
        raise UsageError(f"no split {split!r}", where="--split", hint=suggest(split, context.labels))
    labels, count = context.labels[split], context.request.limit
    images = len(labels) if count is None else len(limit(labels, count))
    if images <= CKNNA_K:
        raise UsageError(
            f"{images} images of {split} are too few to compare each with its {CKNNA_K} nearest neighbours",
            where="--limit" if count else context.job.dataset.title,
            hint=f"{CKNNA_K + 1} or more",
        )
    return images


_Key = tuple["Component", "Point"]


def _matrices(
    rows: Mapping[_Key, StoredFeatures], columns: Mapping[_Key, StoredFeatures], minibatch: int | None, device: str
) -> tuple[Matrix, Matrix]:
    """CKA and CKNNA of all pairs. Two feature matrices are held at a time, and each point's neighbours."""
    alone: dict[_Key, tuple[float, NeighbourSets, float]] = {}
    pairs: dict[tuple[_Key, _Key], tuple[float, float]] = {}

    def by_itself(key: _Key, vectors: Tensor) -> tuple[float, NeighbourSets, float]:
        if key not in alone:
            near = neighbours(vectors, CKNNA_K)
            alone[key] = hsic(vectors, vectors, batch=minibatch), near, align(near, near)
        return alone[key]

    with bar("compare taps", total=len(rows) * len(columns)) as shown:
        for row, stored in rows.items():
            x = stored.read().to(device)
            for column, other in columns.items():
                if (column, row) in pairs:
                    pairs[row, column] = pairs[column, row]
                else:
                    y = x if column == row else other.read().to(device)
                    (spread_x, near_x, align_x), (spread_y, near_y, align_y) = by_itself(row, x), by_itself(column, y)
                    pairs[row, column] = (
                        normalised(hsic(x, y, batch=minibatch), spread_x, spread_y),
                        normalised(align(near_x, near_y), align_x, align_y),
                    )
                shown.advance()
    cka, cknna = (tuple(tuple(pairs[row, column][which] for column in columns) for row in rows) for which in (0, 1))
    return cka, cknna
