"""The plan of a run: which cells, read at which points, and which of them are done."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import TYPE_CHECKING, cast, get_args

from probebench import series
from probebench.api import (
    CLEAN,
    BackboneSpec,
    PluginError,
    Point,
    Tap,
    TapKind,
    UsageError,
    check_pool,
    pool_for,
    pooled_shape,
)
from probebench.config import suggest, write_value
from probebench.hardware import check_precision
from probebench.inputs import plugin_errors
from probebench.protocol import Extractor, RuledProbe, find, plain
from probebench.registry import Component, Registry, installed, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from probebench.api import Backbone, Level, ProbeSpec

ALL = "all"


@dataclass(frozen=True)
class Request:
    """What the user asked for; the product of backbones, datasets, probes and seeds is run.

    Attributes:
        backbones: Specs.
        datasets: Specs.
        probes: Specs.
        seeds: Of the carved validation part and of the probe.
        taps: Names or aliases; ``all`` for every tap; empty for each backbone's default ones. Beside another backbone,
            one with a single tap is read there.
        levels: As the backbone writes them; empty for its default ones. Beside another backbone, one without noise is
            read ``clean``.
        pool: How feature maps become vectors; empty for each probe's own way, mostly ``gap``.
        protocols: Names of protocols, whose probes are run beside `probes`.
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
    pool: str = ""
    protocols: tuple[str, ...] = ()
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
        request: The run, with taps, levels and pool as they hold here: a protocol may fix them.
        cells: Probes with seeds, in the order they are run.
        alone: Whether no other contender was asked for: then it must have every tap and level that was named.
        fixed: What a protocol fixes, as the option that names it, and the protocol.
        extractor: Whose features the images that the backbone draws are measured on; None where its own features are
            read.
    """

    backbone: Component
    dataset: Component
    request: Request
    cells: tuple[tuple[RuledProbe, int], ...]
    alone: bool = True
    fixed: Mapping[str, str] = field(default_factory=dict)
    extractor: Extractor | None = None


def jobs(request: Request, registry: Registry | None = None) -> tuple[Job, ...]:
    """Resolves all names, and orders the cells so that features are shared.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is there and cannot be used.
    """
    registry = registry or installed()
    _check(request)
    named = [series.expand(text, registry) for text in request.backbones]
    asked = _unique(chain.from_iterable(named))
    # The backbones of a series differ in their weights: untrained, they are one.
    firsts = [members[0] for members in named]
    backbones = _unique((*asked, *_baselines(firsts, registry))) if request.baselines else asked
    rivals = [backbone for backbone in asked if not _is_floor(backbone)] or asked
    datasets = _unique(resolve("dataset", text, registry) for text in request.datasets)
    plans = {dataset.title: _groups(request, dataset, registry) for dataset in datasets}
    if measures := [one.probes[0].probe.title for groups in plans.values() for one in groups if one.extractor]:
        _require_samplers(rivals, measures[0])
    return tuple(
        Job(
            backbone,
            dataset,
            group.asked,
            tuple(product(group.probes, dict.fromkeys(request.seeds))),
            alone=len(rivals) == 1 and backbone in rivals,
            fixed=group.fixed,
            extractor=group.extractor,
        )
        for dataset, backbone in product(datasets, backbones)
        for group in plans[dataset.title]
        # A floor such as raw pixels has nothing to draw; whoever was asked for and draws nothing was refused above.
        if group.extractor is None or _draws(backbone)
    )


def check(request: Request, registry: Registry | None = None) -> None:
    """Checks a request as far as it can be before the series that it names are there.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is there and cannot be used.
    """
    registry = registry or installed()
    _check(request)
    for text in request.backbones:
        series.validate(text, registry)
    for text in request.datasets:
        _groups(request, resolve("dataset", text, registry), registry)


def _draws(backbone: Component) -> bool:
    return bool(cast("BackboneSpec", backbone.entry.spec).sampler)


def _require_samplers(backbones: Iterable[Component], probe: str) -> None:
    if silent := [backbone.title for backbone in backbones if not _draws(backbone)]:
        raise UsageError(
            f"{silent[0]} draws no images, and {probe} measures drawn ones",
            where="--backbone",
            hint="run it with backbones that draw, such as ddpm, and the others in a run of their own",
        )


@dataclass
class _Group:
    """Probes that read the same.

    Attributes:
        asked: The request as they read it.
        fixed: Which options their protocol has decided.
        extractor: See `Job.extractor`.
        probes: In the order in which they were asked for.
    """

    asked: Request
    fixed: dict[str, str]
    extractor: Extractor | None
    probes: list[RuledProbe] = field(default_factory=list)


def _groups(request: Request, dataset: Component, registry: Registry) -> list[_Group]:
    """The probes to be run on a dataset, those together that read the same."""
    named = [find(text, registry) for text in request.protocols]
    probes = {ruled.protocol.name: ruled for ruled in (plain(text, registry) for text in request.probes)}
    probes |= {ruled.protocol.name: ruled for one in named for ruled in one.ruled(dataset.entry, registry)}
    groups: dict[tuple[Request, Extractor | None], _Group] = {}
    for ruled in probes.values():
        asked, fixed = _fix(request, ruled)
        group = groups.setdefault((asked, ruled.extractor), _Group(asked, fixed, ruled.extractor))
        group.probes.append(ruled)
    return list(groups.values())


def _fix(request: Request, ruled: RuledProbe) -> tuple[Request, dict[str, str]]:
    """The request as one probe reads it, and which options its protocol has decided."""
    wanted = {"pool": ruled.pool, "taps": ruled.taps, "levels": ruled.levels}
    settled = {name: value for name, value in wanted.items() if value}
    for name, value in settled.items():
        if getattr(request, name) not in (type(value)(), value):
            raise UsageError(
                f"protocol {ruled.protocol.name} fixes {name} {write_value(value)}",
                where=f"--{name}",
                hint=f"leave --{name} out, or run the protocol by itself",
            )
    pool = ruled.pool or request.pool or cast("ProbeSpec", ruled.probe.entry.spec).pool
    asked = replace(request, pool=pool, taps=ruled.taps or request.taps, levels=ruled.levels or request.levels)
    return asked, {f"--{name}": ruled.protocol.name for name in settled}


def _check(request: Request) -> None:
    asked = {
        "backbone": request.backbones,
        "dataset": request.datasets,
        "probe": request.probes or request.protocols,
        "seeds": request.seeds,
    }
    if empty := [name for name, values in asked.items() if not values]:
        raise UsageError("nothing is given, so there is nothing to run", where=f"--{empty[0]}")
    if any(seed < 0 for seed in request.seeds):
        raise UsageError(f"negative seed in {','.join(map(str, request.seeds))}", where="--seeds", hint="0,1,2")
    check_reading(request)


def check_reading(request: Request) -> None:
    """Checks how features are asked for, before anything is built.

    Raises:
        UsageError: The limit, the precision or the pool is none.
    """
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"--limit {request.limit} leaves nothing to measure", hint="1 or more images per split")
    check_precision(request.precision)
    if request.pool and not any(_fits(request.pool, kind) for kind in get_args(TapKind)):
        raise UsageError(f"no pool {request.pool!r}", where="--pool", hint="one of gap, gridN, max, cls, flat")


def _fits(pool: str, kind: TapKind) -> bool:
    try:
        check_pool(pool, kind)
    except UsageError:
        return False
    return True


def _unique(components: Iterable[Component]) -> tuple[Component, ...]:
    found: dict[str, Component] = {}
    for component in components:
        # Equal titles with other options differ in where they lie: their records would overwrite each other's.
        if found.setdefault(component.title, component).options != component.options:
            raise UsageError(
                f"two {component.entry.kind}s would be called {component.title!r}",
                hint=f"name one of them: {component.entry.label}:...,{component.options.alias or 'name'}=...",
            )
    return tuple(found.values())


def is_baseline(backbone: Component) -> bool:
    """Whether a backbone is a floor for others: raw pixels, or a network with random weights."""
    values = {name: write_value(value) for name, value in backbone.options.model_dump(mode="json").items()}
    settings = map(_setting, cast("BackboneSpec", backbone.entry.spec).untrained)
    return _is_floor(backbone) or any(values.get(name) == value for name, value in settings)


def _is_floor(backbone: Component) -> bool:
    return cast("BackboneSpec", backbone.entry.spec).floor


def _setting(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _baselines(backbones: Sequence[Component], registry: Registry) -> list[Component]:
    """What the contenders are to be seen against: each network with random weights, and the floors.

    A floor that was asked for is not added in another form, and baselines alone have nothing to be seen against.
    """
    contenders = [backbone for backbone in backbones if not is_baseline(backbone)]
    if not contenders:
        return []
    asked = {backbone.entry.qualified for backbone in backbones}
    floors = [
        entry.qualified
        for entry in registry.entries("backbone")
        if cast("BackboneSpec", entry.spec).floor and entry.qualified not in asked and registry.problem(entry) is None
    ]
    return [
        *(_untrained(backbone) for backbone in contenders if cast("BackboneSpec", backbone.entry.spec).untrained),
        *(resolve("backbone", name, registry) for name in floors),
    ]


def _untrained(backbone: Component) -> Component:
    spec = cast("BackboneSpec", backbone.entry.spec)
    name, value = _setting(spec.untrained[0])
    given = {key: getattr(backbone.options, key) for key in backbone.options.model_fields_set}
    with plugin_errors(f"{spec.untrained[0]} does not give an untrained {backbone.title}", where=backbone.entry.origin):
        return Component(backbone.entry, spec.options(**{**given, name: value}))


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

    @property
    def shapes(self) -> dict[Point, tuple[int, ...]]:
        """Of each point, the shape that a vector is the flattened form of."""
        return {point: pooled_shape(self.taps[point.tap], point.pool) for point in self.points}


def extractor_point(backbone: Backbone, image_size: tuple[int, int], extractor: Extractor) -> Point:
    """The point that a measure of drawn images is taken at.

    Args:
        backbone: The extractor, built.
        image_size: Height and width of the images.
        extractor: What the user asked for.

    Raises:
        UsageError: There is no such tap, level or pool, or several levels and none is named.
    """
    try:
        return _one_point(backbone, image_size, extractor.point)
    except UsageError as error:
        where = f"option point of {extractor.component.title}, an extractor"
        raise UsageError(error.what, where=where, hint=error.hint) from error


def _one_point(backbone: Backbone, image_size: tuple[int, int], text: str) -> Point:
    tap_name, _, rest = text.partition("@")
    level_name, _, pool = rest.partition("@")
    known = backbone.taps(image_size)
    tap = (_taps(known, (tap_name,)) if tap_name else [tap for tap in known if tap.default])[-1]
    levels = [backbone.level(level_name)] if level_name else list(backbone.levels())
    if len(levels) > 1:
        raise UsageError(
            f"it has {len(levels)} noise levels, and a measure is taken at one", hint=f"point={tap.id}@{levels[0].id}"
        )
    return Point(tap.id, levels[0].id, pool_for(tap, pool or "gap"))


def reading(backbone: Backbone, image_size: tuple[int, int], job: Job) -> Reading:
    """Resolves taps, levels and pool of a job for its backbone.

    Args:
        backbone: What is read.
        image_size: Height and width of the images.
        job: What is asked of it.

    Raises:
        UsageError: There is no such tap or level, the pool does not fit, or the backbone cannot take the images.
        PluginError: The backbone has no tap to read.
    """
    try:
        return _reading(backbone, image_size, job.request, alone=job.alone)
    except UsageError as error:
        if protocol := job.fixed.get(error.where or ""):
            raise UsageError(error.what, where=f"protocol {protocol}", hint=error.hint) from error
        raise


def _reading(backbone: Backbone, image_size: tuple[int, int], request: Request, *, alone: bool) -> Reading:
    known = backbone.taps(image_size)
    taps = list(known) if len(known) == 1 and not alone else _taps(known, request.taps)
    if not taps:
        raise PluginError("no tap is read by default", where=type(backbone).__name__, hint="name some with --taps")
    found = list(backbone.levels())
    if request.levels and (alone or [level.id for level in found] != [CLEAN.id]):
        found = [backbone.level(text) for text in request.levels]
    # Ascending, however they were asked for: of equal values on val the lower level wins.
    levels = {level.id: level for level in sorted(found, key=_noise)}
    points = [Point(tap.id, level, pool_for(tap, request.pool)) for tap in taps for level in levels]
    return Reading({tap.id: tap for tap in taps}, levels, tuple(points))


def _noise(level: Level) -> float:
    return math.inf if level.sigma is None else level.sigma


def _taps(known: Sequence[Tap], wanted: Sequence[str]) -> list[Tap]:
    if not wanted:
        return [tap for tap in known if tap.default]
    if tuple(wanted) == (ALL,):
        return list(known)
    names = {name.casefold(): tap for tap in known for name in (tap.id, *tap.aliases)}
    if missing := [name for name in wanted if name.casefold() not in names]:
        raise UsageError(f"no tap {missing[0]!r}", where="--taps", hint=_suggest_tap(missing[0], known))
    chosen = {names[name.casefold()].id for name in wanted}
    return [tap for tap in known if tap.id in chosen]


def _suggest_tap(word: str, known: Sequence[Tap]) -> str:
    """The tap that may have been meant, a fine one too; where nothing is close the default ones, which fit a line."""
    hint = suggest(word, [tap.id for tap in known])
    return hint if hint.startswith("did") else suggest(word, [tap.id for tap in known if tap.default])
