"""The workbench: describes and builds the components of jobs, each once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from probebench.api import DataError, PluginError, TrainingStage, UsageError
from probebench.extraction.context import Context, collect_warnings
from probebench.extraction.dataset import open_images
from probebench.extraction.fingerprints import checked_fingerprint
from probebench.planning.description import BackboneDescription, DatasetDescription, JobDescription
from probebench.planning.device import pick_precision
from probebench.planning.points import resolve_extractor_point, resolve_points
from probebench.planning.remembered import recall, remember, state_of
from probebench.planning.request import RequestError
from probebench.plugins.isolation import plugin_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from probebench.api import Backbone, Point
    from probebench.extraction.dataset import Images
    from probebench.planning.jobs import Job
    from probebench.planning.points import ResolvedPoints
    from probebench.plugins.registry import Component


HELD_BYTES = 2 << 30
"""Built networks that wait for their jobs take no more memory than this; beyond it one is built again."""


class Workbench:
    """Describes and builds the components of jobs, each once.

    Args:
        store: Root of the feature store, where descriptions are remembered.
        writes: Whether new descriptions are written there; a plan alone writes nothing.
    """

    def __init__(self, store: Path, *, writes: bool = True) -> None:
        self._store, self._writes = store, writes
        self._images: dict[Component, Images] = {}  # by component: equal titles may have different paths
        self._built: dict[tuple[Component, str], _Built] = {}
        self._datasets: dict[Component, DatasetDescription] = {}
        self._backbones: dict[tuple[object, ...], BackboneDescription] = {}

    def describe(self, job: Job) -> JobDescription:
        """Describes a job, from memory where nothing has changed; otherwise by building its components.

        Raises:
            UsageError: A tap, level, pool or image size does not fit.
            DataError: The dataset cannot be read.
            PluginError: A component breaks its contract.
        """
        dataset = self._describe_dataset(job.dataset)
        size, settings = dataset.image_size, job.settings
        backbone = self._describe_backbone(job, size)
        extractor = self._describe_extractor(job, size) if job.extractor else None
        _check_views(job, flips=dataset.flips)
        # A generator is measured in fp32 unless bf16 is requested, so that its images do not depend on the hardware.
        prefers_bf16 = backbone.prefers_bf16 and job.kind != "generation"
        several = backbone.points is not None and len(backbone.points.levels) > 1
        return JobDescription(
            backbone=backbone,
            dataset=dataset,
            extractor=extractor,
            device=settings.device,
            precision=pick_precision(settings.precision, settings.device, prefers_bf16=prefers_bf16),
            soft_vote=settings.soft_vote and several,
        )

    def open(self, job: Job) -> Context:
        """Builds what a job needs and is not built yet. The backbone is kept until `release`.

        Raises:
            ProbebenchError: As `describe`.
        """
        description, images = self.describe(job), self.images(job.dataset)
        context = Context(
            job=job,
            description=description,
            backbone=self._build(job.backbone, job.kind).backbone,
            dataset=images.dataset,
            splits=images.splits,
            labels=images.labels,
            extractor=self._build(job.extractor.component, "extractor").backbone if job.extractor else None,
        )
        _check_unchanged(context, images)
        return context

    def images(self, dataset: Component) -> Images:
        """Opens a dataset, once.

        Raises:
            DataError: It cannot be read.
            PluginError: It breaks its contract.
        """
        if dataset not in self._images:
            self._images[dataset] = open_images(dataset)
        return self._images[dataset]

    def release(self, backbone: Component) -> None:
        """Forgets the network of a backbone that no further job needs."""
        for key in [key for key in self._built if key[0] == backbone and key[1] != "extractor"]:
            del self._built[key]

    def _describe_dataset(self, dataset: Component) -> DatasetDescription:
        if dataset not in self._datasets:
            key = {"dataset": _identity(dataset)}
            self._datasets[dataset] = self._remembered(
                dataset, key, DatasetDescription, lambda: self.images(dataset).description
            )
        return self._datasets[dataset]

    def _describe_backbone(self, job: Job, size: tuple[int, int]) -> BackboneDescription:
        component, requested = job.backbone, None if job.kind == "generation" else job.points
        held = (component, size, requested)
        if held not in self._backbones:
            written = requested and {
                "taps": list(requested.taps),
                "levels": list(requested.levels),
                "pool": requested.pool,
                "only_contender": requested.only_contender,
            }

            def build() -> BackboneDescription:
                built = self._build(component, job.kind)
                what = f"backbone {component.title} cannot be described"
                with collect_warnings() as collected, plugin_errors(what):
                    points = resolve_points(built.backbone, size, requested) if requested else None
                    described = _description(component, built.backbone, points=points)
                return replace(described, warnings=tuple(dict.fromkeys((*built.warnings, *collected))))

            key = {"backbone": _identity(component), "image_size": list(size), "requested": written}
            self._backbones[held] = self._remembered(component, key, BackboneDescription, build)
        return self._backbones[held]

    def _describe_extractor(self, job: Job, size: tuple[int, int]) -> BackboneDescription:
        extractor = job.extractor
        assert extractor is not None  # noqa: S101 - the caller has looked
        held = (extractor, size)
        if held not in self._backbones:

            def build() -> BackboneDescription:
                built = self._build(extractor.component, "extractor")
                what = f"extractor {extractor.component.title} cannot be described"
                with collect_warnings() as collected, plugin_errors(what):
                    point = resolve_extractor_point(built.backbone, size, extractor)
                    described = _description(extractor.component, built.backbone, extractor_point=point)
                return replace(described, warnings=tuple(dict.fromkeys((*built.warnings, *collected))))

            key = {"extractor": _identity(extractor.component), "image_size": list(size), "point": extractor.point}
            self._backbones[held] = self._remembered(extractor.component, key, BackboneDescription, build)
        return self._backbones[held]

    def _remembered(self, component: Component, key: dict[str, Any], model: type[Any], build: Callable[[], Any]) -> Any:  # noqa: ANN401 - an object of the model
        """Returns a description from memory, or builds and remembers it."""
        before = state_of(component)
        if known := recall(self._store, key, before):
            return model.from_json(known)
        built = build()
        if self._writes and before and before == state_of(component):  # nothing changed while it was built
            remember(self._store, key, before, built.to_json())
        return built

    def _build(self, component: Component, use: str) -> _Built:
        """Builds a backbone once for each use: a network in bf16 has lost bits that another use needs."""
        key = component, use
        if key not in self._built:
            try:
                with collect_warnings() as collected:
                    backbone = cast("Backbone", component.build())
            except UsageError as error:  # an option's value, such as a path
                raise RequestError(error.what, where=error.where, hint=error.hint) from error
            self._built[key] = _Built(backbone, tuple(collected))
            while len(self._built) > 1 and sum(map(_bytes, self._built.values())) > HELD_BYTES:
                del self._built[next(iter(self._built))]
        return self._built[key]


@dataclass(frozen=True)
class _Built:
    """A backbone, and the warnings collected while it was built."""

    backbone: Backbone
    warnings: tuple[str, ...]


def _bytes(built: _Built) -> int:
    return 4 * (built.backbone.parameters or 0)


def _check_unchanged(context: Context, images: Images) -> None:
    """Checks that what was built is what was described, maybe from memory, before its files were read.

    Raises:
        DataError: A file has changed in between.
    """
    described = context.description
    pairs: list[tuple[str, object, object]] = [
        (context.job.dataset.title, dict(described.dataset.fingerprints), dict(images.description.fingerprints)),
        (context.job.backbone.title, described.backbone.fingerprint, context.backbone.fingerprint()),
    ]
    if context.job.extractor and described.extractor and context.extractor:
        title = context.job.extractor.component.title
        pairs.append((title, described.extractor.fingerprint, context.extractor.fingerprint()))
    if changed := [title for title, before, now in pairs if before != now]:
        raise DataError(
            f"the files of {changed[0]} have changed since the run began", hint="run the same command again"
        )


def _identity(component: Component) -> dict[str, Any]:
    """Returns the name and all options of a component, its paths on this machine included."""
    return component.identity() | {"options": component.options.model_dump(mode="json")}


def _description(
    component: Component,
    backbone: Backbone,
    *,
    points: ResolvedPoints | None = None,
    extractor_point: Point | None = None,
) -> BackboneDescription:
    what = f"backbone {component.title}"
    return BackboneDescription(
        fingerprint=checked_fingerprint(backbone.fingerprint(), what),
        points=points,
        extractor_point=extractor_point,
        parameters=backbone.parameters,
        training_stage=_checked_stage(backbone.training_stage, what),
        prefers_bf16=bool(backbone.prefers_bf16),
        warnings=(),
    )


def _checked_stage(stage: object, where: str) -> TrainingStage | None:
    if stage is not None and not isinstance(stage, TrainingStage):
        raise PluginError(
            f"training_stage is {stage!r}",
            where=where,
            hint="set Backbone.training_stage to a probebench.api.TrainingStage or None",
        )
    return stage


def _check_views(job: Job, *, flips: bool) -> None:
    if job.views == "flip" and not flips:
        raise RequestError(
            f"views=flip cannot be used with {job.dataset.title}, because a mirrored image has another meaning",
            where=f"option views of {job.cells[0][0].probe.title}",
            hint="views=crop10",
        )
