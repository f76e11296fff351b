"""What a job needs, built: the backbone, the dataset's splits, and what is read from one on the other."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from probebench.api import Backbone, DataError, Dataset, PluginError, ProbebenchWarning, TrainingStage, UsageError
from probebench.extraction import data_checks
from probebench.extraction.subsets import limit
from probebench.planning.device import pick_device, pick_precision
from probebench.planning.points import extractor_point, reading
from probebench.plugins.isolation import plugin_errors
from probebench.store.features import RepairWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from probebench.api import Point, Precision, Split
    from probebench.planning.jobs import Job
    from probebench.planning.points import Reading
    from probebench.planning.protocol import Extractor
    from probebench.planning.request import Request
    from probebench.plugins.registry import Component

SPLITS = ("train", "val", "test")

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Images:
    """A dataset, opened.

    Attributes:
        dataset: Built.
        splits: ``train`` and ``test``, and ``val`` where there is an official one.
        labels: int64 ``(N,)`` of each split.
        fingerprints: Of each split.
        warnings: What the dataset had to say.
    """

    dataset: Dataset
    splits: dict[str, Split]
    labels: dict[str, Tensor]
    fingerprints: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Built:
    """One backbone and one dataset, as all cells of a job need them.

    Attributes:
        job: The cells that share it.
        request: The run they belong to.
        backbone: Built, not placed on a device yet.
        dataset: Built.
        splits: ``train`` and ``test``, and ``val`` where there is an official one.
        labels: int64 ``(N,)`` of each split.
        fingerprints: Of the backbone under ``backbone``, of the splits under their names.
        device: What the backbone runs on.
        precision: Of its arithmetic.
        warnings: What the components had to say while they were built.
    """

    job: Job
    request: Request
    backbone: Backbone
    dataset: Dataset
    splits: dict[str, Split]
    labels: dict[str, Tensor]
    fingerprints: dict[str, str]
    device: str
    precision: Precision
    warnings: tuple[str, ...]

    def source(self, split: str) -> str:
        """Identity of a split. With an image's position it seeds the image's noise."""
        return f"{self.job.dataset.entry.qualified}/{split}"

    def positions(self, split: str) -> Tensor:
        """Which images of a split are used: int64 ``(N,)``."""
        labels, count = self.labels[split], self.request.limit
        return torch.arange(len(labels)) if count is None else limit(labels, count)

    def identity(self) -> dict[str, Any]:
        """What can change a number and is known once all is built; JSON values only."""
        return {"fingerprints": self.fingerprints, "precision": self.precision}


@dataclass(frozen=True, kw_only=True)
class Context(Built):
    """A backbone whose features are read.

    Attributes:
        reading: Taps, levels and points.
    """

    reading: Reading

    @property
    def soft_vote(self) -> bool:
        """Whether the levels at a tap vote together; a backbone with one level has nothing to average."""
        return self.request.soft_vote and len(self.reading.levels) > 1

    def identity(self) -> dict[str, Any]:
        """With the points, and with whether their levels vote."""
        points = {"points": [str(point) for point in self.reading.points]}
        return {**super().identity(), **points, **({"soft_vote": True} if self.soft_vote else {})}


@dataclass(frozen=True, kw_only=True)
class SampleContext(Built):
    """A backbone that draws images, and the extractor that they are measured with.

    Attributes:
        wanted: The extractor as it was asked for.
        extractor: Built, not placed on a device yet; shared by the jobs of a run.
        extractor_fingerprint: Over its weights, architecture and preprocessing.
        point: Where it is read.
    """

    wanted: Extractor
    extractor: Backbone
    extractor_fingerprint: str
    point: Point

    def identity(self) -> dict[str, Any]:
        """With the extractor."""
        return {**super().identity(), "extractor": self.extractor_fingerprint, "point": str(self.point)}


class Workbench:
    """Builds what a request needs; each dataset once.

    Args:
        request: The run.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._device = pick_device(request.device)
        self._images: dict[Component, Images] = {}  # by component: equal titles may lie in different folders
        self._extractors: dict[Component, Backbone] = {}

    def context(self, job: Job) -> Context | SampleContext:
        """Builds a job's backbone and dataset, and what its images are measured with where it draws some.

        Raises:
            UsageError: A tap, level, pool or image size does not fit.
            DataError: The dataset cannot be read.
            PluginError: A component breaks its contract.
        """
        if job.dataset not in self._images:
            self._images[job.dataset] = open_images(job.dataset)
        images = self._images[job.dataset]
        with collect_warnings() as heard:
            backbone = cast("Backbone", job.backbone.build())
            with plugin_errors(f"backbone {job.backbone.title} does not describe itself"):
                read = None if job.extractor else reading(backbone, images.dataset.image_size, job)
                fingerprint = _sha256(backbone.fingerprint(), f"backbone {job.backbone.title}")
                _check_trained(backbone.training_stage, f"backbone {job.backbone.title}")
            extractor = self._extractor(job.extractor, images.dataset.image_size) if job.extractor else {}
        _check_views(job, images.dataset)
        # A generator is measured in fp32 unless asked otherwise: what bf16 does to its images is no merit or fault.
        pays = backbone.prefers_bf16 and job.extractor is None
        common: dict[str, Any] = {
            "job": job,
            "request": job.request,
            "backbone": backbone,
            "dataset": images.dataset,
            "splits": images.splits,
            "labels": images.labels,
            "fingerprints": {"backbone": fingerprint, **images.fingerprints},
            "device": self._device,
            "precision": pick_precision(self._request.precision, self._device, bf16_pays=pays),
            "warnings": (*images.warnings, *heard),
        }
        return SampleContext(**common, **extractor) if read is None else Context(**common, reading=read)

    def _extractor(self, wanted: Extractor, image_size: tuple[int, int]) -> dict[str, Any]:
        """The fields of a `SampleContext` that are the extractor's."""
        title = f"extractor {wanted.component.title}"
        if wanted.component not in self._extractors:
            self._extractors[wanted.component] = cast("Backbone", wanted.component.build())
        built = self._extractors[wanted.component]
        with plugin_errors(f"{title} does not describe itself"):
            point = extractor_point(built, image_size, wanted)
            fingerprint = _sha256(built.fingerprint(), title)
        return {"wanted": wanted, "extractor": built, "extractor_fingerprint": fingerprint, "point": point}


def open_images(component: Component) -> Images:
    """Builds a dataset, and checks what everything else stands on: its splits, their labels and fingerprints.

    Raises:
        DataError: It cannot be read, or a label is none of its classes.
        PluginError: It breaks its contract.
    """
    what = f"dataset {component.title}"
    with collect_warnings() as heard:
        dataset = cast("Dataset", component.build())
        if missing := [name for name in ("train", "test") if name not in dataset.splits]:
            raise PluginError(f"{what} has no split {' and no split '.join(missing)}", where=component.entry.origin)
        with plugin_errors(f"{what} cannot be read", where=component.entry.origin):
            splits = {name: dataset.split(name) for name in SPLITS if name in dataset.splits}
            fingerprints = {name: _sha256(split.fingerprint(), f"{what}/{name}") for name, split in splits.items()}
            labels = {
                name: _checked_labels(split, len(dataset.classes), f"{what}/{name}") for name, split in splits.items()
            }
            data_checks.tell(dataset.classes, labels["train"], data_checks.shared_images(splits))
    return Images(dataset, splits, labels, fingerprints, tuple(heard))


def _checked_labels(split: Split, classes: int, where: str) -> Tensor:
    labels = split.labels()
    if not len(split):
        raise DataError("the split has no image", where=where)
    if tuple(labels.shape) != (len(split),):
        raise DataError(f"labels of shape {tuple(labels.shape)} for {len(split)} images", where=where)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"labels reach from {low} to {high}, and there are {classes} classes", where=where)
    return labels.long()


def _check_views(job: Job, dataset: Dataset) -> None:
    if job.views == "flip" and not dataset.flips:
        raise UsageError(
            f"a mirrored image is none of {job.dataset.title}",
            where=f"option views of {job.cells[0][0].probe.title}",
            hint="views=crop10, whose crops are not mirrored there",
        )


def _sha256(fingerprint: str, where: str) -> str:
    """A fingerprint, which stands in keys and records and so has to be one."""
    if not isinstance(fingerprint, str) or not _SHA256.fullmatch(fingerprint):
        raise PluginError(f"fingerprint {fingerprint!r} is not a SHA-256 in hexadecimal", where=where)
    return fingerprint


def _check_trained(trained: object, where: str) -> None:
    """A name that a network may well have for something else."""
    if trained is not None and not isinstance(trained, TrainingStage):
        raise PluginError(
            f"trained is {trained!r}",
            where=where,
            hint="Backbone.training_stage is a probebench.api.TrainingStage or None",
        )


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collects what `ProbebenchWarning`s say about a number, each once; all others go where they always go.

    The list is filled when the block ends, also when it ends with an error.
    """
    said: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ProbebenchWarning)
            yield said
    finally:
        for warning in caught:
            if not issubclass(warning.category, ProbebenchWarning) or issubclass(warning.category, RepairWarning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            elif str(warning.message) not in said:
                said.append(str(warning.message))
