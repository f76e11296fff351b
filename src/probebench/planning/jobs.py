"""Jobs: the request, resolved. Nothing after this module holds the request."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, product
from typing import TYPE_CHECKING, Literal, cast

from probebench.api import BackboneSpec, UsageError
from probebench.planning import series
from probebench.planning.baselines import baselines_of, is_fixed_baseline
from probebench.planning.device import pick_device
from probebench.planning.points import RequestedPoints
from probebench.planning.protocol import Extractor, RuledProbe, find, plain
from probebench.planning.request import check_request
from probebench.plugins.registry import Component, resolve
from probebench.util.spec_text import write_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from probebench.api import ProbeSpec
    from probebench.planning.request import Request

Kind = Literal["features", "finetuning", "generation"]
"""Cells are probes of frozen features, probes that train the backbone, or measures of generated images."""


@dataclass(frozen=True)
class Settings:
    """The settings that all jobs of a run share.

    Attributes:
        limit: Images per split; None for all.
        noise_seed: Seed of the noise that is added to images.
        precision: ``auto``, ``fp32`` or ``bf16``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        optimism: Whether every trial is measured on test as well, after the choice.
        soft_vote: Whether all levels at the chosen tap vote, for backbones with several.
    """

    limit: int | None = None
    noise_seed: int = 0
    precision: str = "auto"
    device: str = "cpu"
    optimism: bool = False
    soft_vote: bool = False


@dataclass(frozen=True)
class Job:
    """Cells of one backbone on one dataset that share their features.

    Attributes:
        backbone: What is read.
        dataset: The images it is read on.
        kind: What the cells are.
        cells: Probes with seeds, in the order in which they are run.
        points: What is read, as it was written or as a protocol fixes it.
        settings: Shared by all jobs of the run.
        extractor: Computes the features of generated images; None for other kinds.
        views: Views of the train images that the probes are trained on.
        contender: Whether the backbone was requested, and is not a baseline added to the run.
    """

    backbone: Component
    dataset: Component
    kind: Kind
    cells: tuple[tuple[RuledProbe, int], ...]
    points: RequestedPoints
    settings: Settings
    extractor: Extractor | None = None
    views: str = "none"
    contender: bool = True


@dataclass(frozen=True)
class _Group:
    """Probes that read the same points of the same images."""

    points: RequestedPoints
    kind: Kind
    extractor: Extractor | None
    views: str


def jobs(request: Request) -> tuple[Job, ...]:
    """Resolves all names of a request, and groups its cells by the features that they share.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is installed and cannot be used.
    """
    check_request(request)
    named = [series.expand(text) for text in request.backbone]
    requested = _unique(chain.from_iterable(named))
    # The backbones of a series differ in their weights, so one untrained network serves them all.
    added = baselines_of([members[0] for members in named]) if request.baselines else ()
    contenders = [backbone for backbone in requested if not is_fixed_baseline(backbone)] or list(requested)
    datasets = _unique(resolve("dataset", text) for text in request.dataset)
    groups = {dataset.title: _groups(request, dataset) for dataset in datasets}
    for group, probes in chain.from_iterable(one.items() for one in groups.values()):
        _check_contenders(request, group, probes[0].probe.title, contenders)
    only = contenders[0] if len(contenders) == 1 and request.only_contender else None
    return tuple(
        Job(
            backbone=backbone,
            dataset=dataset,
            kind=group.kind,
            cells=tuple(product(probes, dict.fromkeys(request.seeds))),
            points=group.points if backbone == only else _beside_another(group.points),
            settings=_settings(request),
            extractor=group.extractor,
            views=group.views,
            contender=backbone in requested,
        )
        for dataset, backbone in product(datasets, _unique((*requested, *added)))
        for group, probes in groups[dataset.title].items()
        if _can_serve(backbone, group.kind)
    )


def check(request: Request) -> None:
    """Checks a request as far as possible before the series that it names exist.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is installed and cannot be used.
    """
    check_request(request)
    for text in request.backbone:
        series.validate(text)
    for text in request.dataset:
        _groups(request, resolve("dataset", text))


def _settings(request: Request) -> Settings:
    return Settings(
        limit=request.limit,
        noise_seed=request.noise_seed,
        precision=request.precision,
        device=pick_device(request.device),
        optimism=request.optimism,
        soft_vote=request.soft_vote,
    )


def _beside_another(points: RequestedPoints) -> RequestedPoints:
    return RequestedPoints(points.taps, points.levels, points.pool, only_contender=False, fixed=points.fixed)


def _groups(request: Request, dataset: Component) -> dict[_Group, list[RuledProbe]]:
    """Groups the probes that are run on a dataset by what they read."""
    probes = {ruled.protocol.name: ruled for ruled in map(plain, request.probe)}
    for protocol in map(find, request.protocol):
        probes |= {ruled.protocol.name: ruled for ruled in protocol.ruled(dataset.entry)}
    if request.soft_vote:
        _require_probabilities(probes.values())
    groups: dict[_Group, list[RuledProbe]] = {}
    for ruled in probes.values():
        group = _Group(_points(request, ruled), _kind(ruled), ruled.extractor, ruled.views)
        groups.setdefault(group, []).append(ruled)
    return groups


def _kind(ruled: RuledProbe) -> Kind:
    if ruled.extractor:
        return "generation"
    return "finetuning" if ruled.finetunes else "features"


def _points(request: Request, ruled: RuledProbe) -> RequestedPoints:
    """Returns the points that a probe reads: those that its protocol fixes come first."""
    fixed: Mapping[str, str | tuple[str, ...]] = {"pool": ruled.pool, "taps": ruled.taps, "levels": ruled.levels}
    for name, value in fixed.items():
        if value and getattr(request, name) not in (type(value)(), value):
            raise UsageError(
                f"protocol {ruled.protocol.name} fixes {name} {write_value(value)}",
                where=f"--{name}",
                hint=f"leave out --{name}, or run the protocol in a separate command",
            )
    return RequestedPoints(
        taps=ruled.taps or request.taps,
        levels=ruled.levels or request.levels,
        pool=ruled.pool or request.pool or cast("ProbeSpec", ruled.probe.entry.spec).pool,
        fixed={f"--{name}": ruled.protocol.name for name, value in fixed.items() if value},
    )


def _can_serve(backbone: Component, kind: Kind) -> bool:
    """Returns whether a backbone has what cells of a kind need: raw pixels generate nothing, and are not trained."""
    spec = cast("BackboneSpec", backbone.entry.spec)
    return {"features": True, "generation": bool(spec.sampler), "finetuning": spec.finetunable}[kind]


def _check_contenders(request: Request, group: _Group, probe: str, contenders: Iterable[Component]) -> None:
    """Raises an error where a requested backbone cannot serve a probe; a baseline is left out instead."""
    if group.kind == "features":
        return
    unfit = [backbone.title for backbone in contenders if not _can_serve(backbone, group.kind)]
    lacks = {
        "generation": f"generates no images, and {probe} measures generated images",
        "finetuning": f"has no network to train, and {probe} trains the backbone",
    }
    if unfit:
        raise UsageError(
            f"{unfit[0]} {lacks[group.kind]}",
            where="--backbone",
            hint=f"run {unfit[0]} in a separate command, without {probe}",
        )
    switches = {"--optimism": request.optimism, "--soft-vote": request.soft_vote}
    if beyond := [flag for flag, switched_on in switches.items() if switched_on]:
        does = "measures generated images" if group.kind == "generation" else "trains the backbone"
        raise UsageError(
            f"{beyond[0]} applies to probes of frozen features, and {probe} {does}",
            where=beyond[0],
            hint=f"run {probe} in a separate command, without {beyond[0]}",
        )


def _require_probabilities(probes: Iterable[RuledProbe]) -> None:
    if without := [ruled.probe.title for ruled in probes if not ruled.logits]:
        raise UsageError(
            f"{without[0]} gives no probabilities that could be averaged",
            where="--soft-vote",
            hint=f"run {without[0]} in a separate command, without --soft-vote",
        )


def _unique(components: Iterable[Component]) -> tuple[Component, ...]:
    """Returns each component once.

    Raises:
        UsageError: Two components differ only in their paths: their records would overwrite each other.
    """
    found: dict[str, Component] = {}
    for component in components:
        if found.setdefault(component.title, component).options != component.options:
            raise UsageError(
                f"two {component.entry.kind}s have the title {component.title!r}",
                hint=f"name one of them: {component.entry.label}:...,{component.options.alias or 'name'}=...",
            )
    return tuple(found.values())
