"""The plan of a run: which cells, and which of them share features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import TYPE_CHECKING, cast

from probebench.api import BackboneSpec, UsageError
from probebench.planning import series
from probebench.planning.baselines import baselines_of, is_fixed_baseline
from probebench.planning.protocol import Extractor, RuledProbe, find, plain
from probebench.planning.request import check_request
from probebench.plugins.registry import Component, Registry, installed, resolve
from probebench.util.spec_text import write_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from probebench.api import ProbeSpec
    from probebench.planning.request import Request


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
        views: Of the train images, that the probes are trained on.
        tunes: Whether the probes train the backbone.
    """

    backbone: Component
    dataset: Component
    request: Request
    cells: tuple[tuple[RuledProbe, int], ...]
    alone: bool = True
    fixed: Mapping[str, str] = field(default_factory=dict)
    extractor: Extractor | None = None
    views: str = "none"
    tunes: bool = False


def jobs(request: Request, registry: Registry | None = None) -> tuple[Job, ...]:
    """Resolves all names, and orders the cells so that features are shared.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is there and cannot be used.
    """
    registry = registry or installed()
    check_request(request)
    named = [series.expand(text, registry) for text in request.backbones]
    asked = _unique(chain.from_iterable(named))
    # The backbones of a series differ in their weights: untrained, they are one.
    firsts = [members[0] for members in named]
    backbones = _unique((*asked, *baselines_of(firsts, registry))) if request.baselines else asked
    rivals = [backbone for backbone in asked if not is_fixed_baseline(backbone)] or asked
    datasets = _unique(resolve("dataset", text, registry) for text in request.datasets)
    plans = {dataset.title: _groups(request, dataset, registry) for dataset in datasets}
    if measures := [one.probes[0].probe.title for groups in plans.values() for one in groups if one.extractor]:
        _require_samplers(rivals, measures[0])
        _require_plain(request, measures[0], "measures drawn images")
    if tuned := [one.probes[0].probe.title for groups in plans.values() for one in groups if one.tunes]:
        _require_networks(rivals, tuned[0])
        _require_plain(request, tuned[0], "trains the backbone")
    return tuple(
        Job(
            backbone,
            dataset,
            group.asked,
            tuple(product(group.probes, dict.fromkeys(request.seeds))),
            alone=len(rivals) == 1 and backbone in rivals and not request.borrowed,
            fixed=group.fixed,
            extractor=group.extractor,
            views=group.views,
            tunes=group.tunes,
        )
        for dataset, backbone in product(datasets, backbones)
        for group in plans[dataset.title]
        # A floor such as raw pixels has nothing to draw, and nothing to train; whoever was asked for was refused above.
        if (group.extractor is None or _draws(backbone)) and (not group.tunes or _tunes(backbone))
    )


def check(request: Request, registry: Registry | None = None) -> None:
    """Checks a request as far as it can be before the series that it names are there.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is there and cannot be used.
    """
    registry = registry or installed()
    check_request(request)
    for text in request.backbones:
        series.validate(text, registry)
    for text in request.datasets:
        _groups(request, resolve("dataset", text, registry), registry)


def _draws(backbone: Component) -> bool:
    return bool(cast("BackboneSpec", backbone.entry.spec).sampler)


def _tunes(backbone: Component) -> bool:
    return cast("BackboneSpec", backbone.entry.spec).finetunable


def _require_networks(backbones: Iterable[Component], probe: str) -> None:
    if fixed := [backbone.title for backbone in backbones if not _tunes(backbone)]:
        raise UsageError(
            f"{fixed[0]} has no network to train, and {probe} trains it",
            where="--backbone",
            hint="run it with backbones that give theirs, such as ddpm, and the others in a run of their own",
        )


def _require_plain(request: Request, probe: str, does: str) -> None:
    asked = {"--optimism": request.optimism, "--soft-vote": request.soft_vote}
    if beyond := [option for option, wanted in asked.items() if wanted]:
        raise UsageError(
            f"{probe} {does}, and {beyond[0]} is of frozen features",
            where=beyond[0],
            hint=f"run {probe} without it",
        )


def _require_probabilities(probes: Iterable[RuledProbe]) -> None:
    if silent := [ruled.probe.title for ruled in probes if not ruled.logits]:
        raise UsageError(
            f"{silent[0]} states no probabilities that could be averaged",
            where="--soft-vote",
            hint=f"run {silent[0]} without it",
        )


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
        views: See `Job.views`.
        tunes: See `Job.tunes`.
        probes: In the order in which they were asked for.
    """

    asked: Request
    fixed: dict[str, str]
    extractor: Extractor | None
    views: str
    tunes: bool
    probes: list[RuledProbe] = field(default_factory=list)


def _groups(request: Request, dataset: Component, registry: Registry) -> list[_Group]:
    """The probes to be run on a dataset, those together that read the same."""
    named = [find(text, registry) for text in request.protocols]
    probes = {ruled.protocol.name: ruled for ruled in (plain(text, registry) for text in request.probes)}
    probes |= {ruled.protocol.name: ruled for one in named for ruled in one.ruled(dataset.entry, registry)}
    if request.soft_vote:
        _require_probabilities(probes.values())
    groups: dict[tuple[Request, Extractor | None, str, bool], _Group] = {}
    for ruled in probes.values():
        asked, fixed = _fix(request, ruled)
        reads = asked, ruled.extractor, ruled.views, ruled.tunes
        group = groups.setdefault(reads, _Group(asked, fixed, *reads[1:]))
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
