"""Descriptions: what identifies the cells of a job, known without reading an image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from probebench.api import Level, Point, Tap, TrainingStage
from probebench.planning.points import ResolvedPoints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probebench.api import Precision


@dataclass(frozen=True)
class BackboneDescription:
    """A backbone, for images of one size.

    Attributes:
        fingerprint: SHA-256 over weights, architecture and preprocessing.
        points: What is read of it; None where it generates images, or for an extractor.
        extractor_point: Where an extractor is read.
        parameters: Number of weights, where it is known.
        training_stage: Where in its training the network was taken, where it is known.
        prefers_bf16: Whether bf16 is the faster arithmetic for it.
        warnings: Collected while it was built.
    """

    fingerprint: str
    points: ResolvedPoints | None
    extractor_point: Point | None
    parameters: int | None
    training_stage: TrainingStage | None
    prefers_bf16: bool
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the description as JSON values."""
        return asdict(self) | {"points": self.points and _points_to_json(self.points)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BackboneDescription:
        """Reads what `to_json` has written."""
        points, point, stage = document["points"], document["extractor_point"], document["training_stage"]
        return cls(
            fingerprint=document["fingerprint"],
            points=points and _points_from_json(points),
            extractor_point=point and Point(**point),
            parameters=document["parameters"],
            training_stage=stage and TrainingStage(**stage),
            prefers_bf16=document["prefers_bf16"],
            warnings=tuple(document["warnings"]),
        )


@dataclass(frozen=True)
class DatasetDescription:
    """A dataset.

    Attributes:
        fingerprints: SHA-256 of each split.
        classes: Names, in the order of the labels.
        image_size: Height and width.
        metric: Name of its primary metric.
        flips: Whether mirrored images belong to it.
        warnings: Collected while it was opened.
    """

    fingerprints: Mapping[str, str]
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    metric: str
    flips: bool
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the description as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> DatasetDescription:
        """Reads what `to_json` has written."""
        height, width = document["image_size"]
        return cls(
            fingerprints=dict(document["fingerprints"]),
            classes=tuple(document["classes"]),
            image_size=(height, width),
            metric=document["metric"],
            flips=document["flips"],
            warnings=tuple(document["warnings"]),
        )


@dataclass(frozen=True)
class JobDescription:
    """What a job's cells share and are identified by.

    Attributes:
        backbone: The backbone.
        dataset: The dataset.
        extractor: The extractor of generated images; None for other kinds of cells.
        device: What the backbone runs on.
        precision: Of its arithmetic.
        soft_vote: Whether the levels at the chosen tap vote together.
    """

    backbone: BackboneDescription
    dataset: DatasetDescription
    extractor: BackboneDescription | None
    device: str
    precision: Precision
    soft_vote: bool

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the backbone under ``backbone``, of the splits under their names."""
        return {"backbone": self.backbone.fingerprint, **self.dataset.fingerprints}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the dataset, then of the backbone and the extractor."""
        extractor = self.extractor.warnings if self.extractor else ()
        return (*self.dataset.warnings, *self.backbone.warnings, *extractor)

    def identity(self) -> dict[str, Any]:
        """Returns all that can change a number and is known without an image, as JSON values."""
        document: dict[str, Any] = {"fingerprints": self.fingerprints, "precision": self.precision}
        if self.extractor:
            return document | {"extractor": self.extractor.fingerprint, "point": str(self.extractor.extractor_point)}
        points = [str(point) for point in self.backbone.points.points] if self.backbone.points else []
        return document | {"points": points} | ({"soft_vote": True} if self.soft_vote else {})


def _points_to_json(points: ResolvedPoints) -> dict[str, Any]:
    return {
        "taps": [asdict(tap) for tap in points.taps.values()],
        "levels": [asdict(level) for level in points.levels.values()],
        "points": [asdict(point) for point in points.points],
    }


def _points_from_json(document: Mapping[str, Any]) -> ResolvedPoints:
    taps = [Tap(**tap | {"shape": tuple(tap["shape"]), "aliases": tuple(tap["aliases"])}) for tap in document["taps"]]
    levels = [Level(**level) for level in document["levels"]]
    return ResolvedPoints(
        {tap.id: tap for tap in taps},
        {level.id: level for level in levels},
        tuple(Point(**point) for point in document["points"]),
    )
