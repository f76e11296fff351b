"""The plan of a run: which cells, read at which points, and which of them are done."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, cast

from probebench.api import BackboneSpec, Point, Tap, UsageError, pool_for
from probebench.config import suggest
from probebench.registry import Component, Registry, installed, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from probebench.api import Backbone, Level

ALL = "all"


@dataclass(frozen=True)
class Request:
    """What the user asked for; the product of the four first fields is run.

    Attributes:
        backbones: Specs.
        datasets: Specs.
        probes: Specs.
        seeds: Of the carved validation part and of the probe.
        taps: Names or aliases; ``all`` for every tap; empty for each backbone's default ones.
        levels: As the backbone writes them; empty for its default ones. Backbones without noise have ``clean`` alone.
        pool: How feature maps become vectors.
        limit: Images per split, for a smoke run.
        noise_seed: Of the noise that is added to images.
        precision: ``auto``, ``fp32`` or ``bf16``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        baselines: Whether raw pixels and each network with random weights are run as well.
        results: Folder of the records.
        store: Folder of the feature store.
    """

    backbones: tuple[str, ...]
    datasets: tuple[str, ...]
    probes: tuple[str, ...]
    results: Path
    store: Path
    seeds: tuple[int, ...] = (0,)
    taps: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    pool: str = "gap"
    limit: int | None = None
    noise_seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    baselines: bool = True


@dataclass(frozen=True)
class Job:
    """All cells that share the features of one backbone on one dataset.

    Attributes:
        backbone: What is read.
        dataset: What it is read on.
        cells: Probes with seeds, in the order they are run.
    """

    backbone: Component
    dataset: Component
    cells: tuple[tuple[Component, int], ...]


def jobs(request: Request, registry: Registry | None = None) -> tuple[Job, ...]:
    """Resolves all names, and orders the cells so that features are shared.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is there and cannot be used.
    """
    registry = registry or installed()
    _check(request)
    backbones = _unique(resolve("backbone", text, registry) for text in request.backbones)
    if request.baselines:
        backbones = _unique((*backbones, *_baselines(backbones, registry)))
    datasets = _unique(resolve("dataset", text, registry) for text in request.datasets)
    probes = _unique(resolve("probe", text, registry) for text in request.probes)
    cells = tuple(product(probes, request.seeds))
    return tuple(Job(backbone, dataset, cells) for dataset, backbone in product(datasets, backbones))


def _check(request: Request) -> None:
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"--limit {request.limit} leaves nothing to measure", hint="1 or more images per split")
    if any(seed < 0 for seed in request.seeds):
        raise UsageError(f"negative seed in {','.join(map(str, request.seeds))}", where="--seeds", hint="0,1,2")


def _unique(components: Iterable[Component]) -> tuple[Component, ...]:
    return tuple({component.title: component for component in components}.values())


def is_baseline(backbone: Component) -> bool:
    """Whether a backbone is a floor for others: raw pixels, or a network with random weights."""
    spec = cast("BackboneSpec", backbone.entry.spec)
    values = backbone.options.model_dump(mode="json")
    return spec.floor or any(str(values[name]) == value for name, value in map(_setting, spec.untrained))


def _setting(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _baselines(backbones: Sequence[Component], registry: Registry) -> list[Component]:
    """What the contenders are to be seen against: the floors, and each network with random weights."""
    found = []
    for backbone in backbones:
        spec = cast("BackboneSpec", backbone.entry.spec)
        if spec.untrained and not is_baseline(backbone):
            name, value = _setting(spec.untrained[0])
            given = {key: getattr(backbone.options, key) for key in backbone.options.model_fields_set}
            found.append(Component(backbone.entry, spec.options(**{**given, name: value})))
    floors = [
        entry.label
        for entry in registry.entries("backbone")
        if cast("BackboneSpec", entry.spec).floor and registry.problem(entry) is None
    ]
    return [*found, *(resolve("backbone", name, registry) for name in floors)]


@dataclass(frozen=True)
class Reading:
    """What is read from a backbone.

    Attributes:
        taps: By id.
        levels: By id.
        points: Every tap at every level, shallow taps first, then by level.
    """

    taps: dict[str, Tap]
    levels: dict[str, Level]
    points: tuple[Point, ...]


def reading(backbone: Backbone, image_size: tuple[int, int], request: Request) -> Reading:
    """Resolves taps, levels and pool of a request for one backbone.

    Raises:
        UsageError: There is no such tap or level, the pool does not fit, or the backbone cannot take the images.
    """
    taps = _taps(backbone.taps(image_size), request.taps)
    fixed = {level.id: level for level in backbone.levels()}
    if list(fixed) != ["clean"] and request.levels:
        fixed = {level.id: level for level in map(backbone.level, request.levels)}
    points = [Point(tap.id, level, pool_for(tap, request.pool)) for tap in taps for level in fixed]
    return Reading({tap.id: tap for tap in taps}, fixed, tuple(points))


def _taps(known: Sequence[Tap], wanted: Sequence[str]) -> list[Tap]:
    if not wanted or len(known) == 1:
        return [tap for tap in known if tap.default or len(known) == 1]
    if tuple(wanted) == (ALL,):
        return list(known)
    names = {name.casefold(): tap for tap in known for name in (tap.id, *tap.aliases)}
    if missing := [name for name in wanted if name.casefold() not in names]:
        raise UsageError(
            f"no tap {missing[0]!r}", where="--taps", hint=suggest(missing[0], [tap.id for tap in known if tap.default])
        )
    chosen = {names[name.casefold()].id for name in wanted}
    return [tap for tap in known if tap.id in chosen]
