"""The schema of records, as pydantic models. `probebench schema` prints it as JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from probebench.api import Point, Precision, Scalar
from probebench.records.provenance import Provenance  # noqa: TC001 - pydantic reads annotations at run time

if TYPE_CHECKING:
    from typing import Self

SCHEMA_VERSION = 3

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ComponentCell(_Model):
    """A backbone, dataset or probe, as data."""

    title: str = Field(description="Short spec with the options that differ from their defaults.")
    name: str = Field(description="Qualified name: distribution/name.")
    version: int = Field(description="Version of the component's spec; raised when its numbers change.")
    options: dict[str, JsonValue] = Field(
        description="All options with their defaults, except later ones (`Options.added`) that are at their default."
    )


class TrainingCell(_Model):
    """The point of its training at which a network was saved. Recipe and seed together identify one training."""

    recipe: Sha256 = Field(description="Digest of everything that the network depends on except seed and length.")
    seed: int = Field(description="Seed of the training.")
    epoch: Count = Field(description="Number of finished epochs.")
    images: Count = Field(description="Number of images seen, with repetitions.")


class BackboneCell(ComponentCell):
    """The backbone of a cell. Fields that depend on the weights are null if these could not be loaded."""

    fingerprint: Sha256 | None = Field(description="Digest of weights, architecture and preprocessing.")
    parameters: Count | None = Field(description="Number of weights.")
    baseline: bool = Field(description="Whether it is a baseline, such as raw pixels.")
    trained: TrainingCell | None = Field(
        default=None, description="The point of its training, if the backbone has one."
    )


class DatasetCell(ComponentCell):
    """The dataset of a cell. Fields that depend on its files are empty if these could not be read."""

    fingerprints: dict[str, Sha256] = Field(description="Digest of each official split.")
    classes: tuple[str, ...] = Field(description="Names of the classes, in the order of the labels.")
    image_size: tuple[int, int] | None = Field(description="Height and width.")


class ProbeCell(ComponentCell):
    """The probe of a cell."""


class Cell(_Model):
    """The components and the settings of a cell."""

    backbone: BackboneCell
    dataset: DatasetCell
    probe: ProbeCell
    seed: int = Field(description="Seed of the probe and of the validation split that is carved from train.")
    noise_seed: int = Field(description="Seed of the noise added before the backbone.")
    precision: Precision = Field(description="Precision of the backbone's arithmetic.")
    device: str = Field(description="Device the backbone ran on.")
    limit: Annotated[int, Field(ge=1)] | None = Field(description="Number of images per split, for a smoke run.")


class Protocol(_Model):
    """All settings that can change the number of a probe."""

    name: str
    hash: Sha256 = Field(description="Digest of the document.")
    document: dict[str, JsonValue]


class GridTrial(_Model):
    """One setting of the probe at one point, measured on the validation split."""

    tap: str
    level: str
    pool: str
    params: dict[str, Scalar] = Field(description="The probe's setting.")
    value: Share = Field(description="Primary metric on the validation split; for optimism, on test.")

    @property
    def point(self) -> Point:
        """The point of the trial."""
        return Point(self.tap, self.level, self.pool)


class Chosen(GridTrial):
    """The trial with the best value on the validation split."""

    sigma: Annotated[float, Field(ge=0)] | None = Field(description="Noise-to-signal ratio of the level.")
    dim: Annotated[int, Field(ge=1)] = Field(description="Length of the feature vector.")
    cost: Share = Field(description="Share of the FLOPs of the full forward pass up to the tap.")


class Candidates(_Model):
    """The taps and levels to select from: every tap was read at every level."""

    taps: tuple[str, ...]
    levels: tuple[str, ...]
    pool: str = Field(description="The requested pool. Taps of kind vector are read as flat.")


class Selection(_Model):
    """How point and setting were selected: on val, and never on the split that is measured."""

    split: Literal["val"] = "val"
    rule: str = Field(description="The rule in words, with the rule for equal values.")
    carved: bool = Field(description="Whether val was carved from train, because there is no official one.")
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(description="Share carved from train.")


class Part(_Model):
    """The images of one purpose, such as train."""

    split: str = Field(description="The official split of the images.")
    count: Annotated[int, Field(ge=1)] = Field(description="Number of images.")
    indices: Sha256 = Field(description="Digest of their positions in that split.")


class Measure(_Model):
    """A number measured on the test split, or on generated images."""

    value: float
    low: float | None = Field(default=None, description="Lower end of the 95 % interval.")
    high: float | None = Field(default=None, description="Upper end of the 95 % interval.")
    n: Annotated[int, Field(ge=1)] = Field(description="Number of test images, or of generated images.")
    method: Literal["wilson"] | None = Field(description="Method of the interval; null if there is none.")
    higher_is_better: bool = True
    floor: float | None = Field(
        default=None, description="Baseline of a measure of generated images: the value of as many real images."
    )
    sd: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Standard deviation over subsets of the images, if the value is a mean over subsets."
    )

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        if (self.low is None, self.high is None) != (self.method is None, self.method is None):
            raise ValueError("low, high and method must be given together or not at all")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"value {self.value} is outside of its interval, {self.low} to {self.high}")
        return self


class Optimism(_Model):
    """By how much a selection on test would raise the result. Measured after the selection, and never ranked."""

    best: Share = Field(description="Highest primary metric on test of any trial.")
    value: Share = Field(description="Difference between that and the result, which was selected on val.")
    trials: tuple[GridTrial, ...] = Field(description="All trials of all points, measured on test.")


class ExtractorCell(ComponentCell):
    """The backbone that extracts the features of generated images, always in fp32."""

    fingerprint: Sha256 = Field(description="Digest of weights, architecture and preprocessing.")
    tap: str
    level: str
    pool: str


class Samples(_Model):
    """The generated images of a cell, and how they were measured."""

    count: Annotated[int, Field(ge=1)] = Field(description="Number of generated images.")
    sampling: dict[str, JsonValue] = Field(description="All options of the sampler, defaults included.")
    fingerprint: Sha256 = Field(description="Digest of the images, in the order of their numbers.")
    extractor: ExtractorCell


class Artifact(_Model):
    """A file of the record, in the same folder."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+$")] = Field(description="Name of the file.")
    sha256: Sha256


class Timing(_Model):
    """The time that the cell took. A repetition does not reproduce it."""

    extract_s: Seconds = Field(description="Time in the backbone; 0 if all features were stored.")
    probe_s: Seconds = Field(description="Time in the probe.")
    forwarded: Count = Field(description="Number of images that went through the backbone.")


class Failure(_Model):
    """The error of a failed cell."""

    type: str = Field(description="Class of the error.")
    message: str


class Record(_Model):
    """One finished or failed cell."""

    schema_version: Literal[3] = 3
    id: Sha256 = Field(description="Digest of the identity of the cell. A repetition has the same id.")
    status: Literal["success", "error"]
    smoke: bool = Field(description="Whether it was made with --limit. The numbers of a smoke run mean nothing.")
    cell: Cell
    protocol: Protocol
    candidates: Candidates | None = None
    selection: Selection | None = None
    parts: dict[str, Part] = Field(default={}, description="Images used: train, val and test; or reference and floor.")
    grid: tuple[GridTrial, ...] = Field(default=(), description="All trials of all points, on val.")
    chosen: Chosen | None = None
    soft_vote: tuple[GridTrial, ...] = Field(
        default=(),
        description="Trials at the chosen tap, one for each level, whose probabilities on test were averaged.",
    )
    primary: str | None = Field(default=None, description="Name of the metric by which boards rank.")
    metrics: dict[str, Measure] = {}
    per_class: tuple[Share | None, ...] = Field(
        default=(), description="Accuracy of each class; null for a class without test images."
    )
    predictions: Artifact | None = None
    neighbours: dict[str, Sha256] = Field(
        default={}, description="Digests of the files with the neighbours of val and test in the feature store."
    )
    optimism: Optimism | None = Field(default=None, description="Present if --optimism was given.")
    samples: Samples | None = Field(default=None, description="The generated images, for a measure of generation.")
    provenance: Provenance
    timing: Timing | None = None
    peak_memory_mb: Annotated[float, Field(ge=0)] | None = None
    warnings: tuple[str, ...] = ()
    error: Failure | None = None

    @model_validator(mode="after")
    def _check_status(self) -> Self:
        if self.smoke != (self.cell.limit is not None):
            raise ValueError("smoke must be true exactly when cell.limit is set")
        if (self.status == "error") != (self.error is not None):
            raise ValueError("error must be given exactly when status is 'error'")
        if self.status == "success":
            self._require_results()
        return self

    @property
    def generation(self) -> bool:
        """Whether generated images are measured. Such a record has no point, no val and no predictions."""
        return self.protocol.document.get("consumes") == "samples"

    @property
    def readout(self) -> str:
        """How the backbone was read, in words, unless it was read frozen and at one point; then empty."""
        if not self.frozen:
            return "trained, not frozen"
        return f"soft vote of {len(self.soft_vote)} levels" if self.soft_vote else ""

    @property
    def point_label(self) -> str:
        """The chosen point, or for a soft vote the tap with all its levels; empty for generated images."""
        if self.chosen is None:
            return ""
        levels = "+".join(trial.level for trial in self.soft_vote) or self.chosen.level
        return str(Point(self.chosen.tap, levels, self.chosen.pool))

    @property
    def frozen(self) -> bool:
        """Whether the backbone was frozen; otherwise the probe fine-tuned it."""
        return self.protocol.document.get("consumes") != "backbone"

    def _require_results(self) -> None:
        classified = ("candidates", "selection", "grid", "chosen", "predictions")
        required: tuple[str, ...] = (*classified, "primary", "timing")
        parts: tuple[str, ...] = ("train", "val", "test")
        if self.generation:
            required, parts = ("samples", "primary", "timing"), ("reference",)
            if unexpected := [name for name in classified if getattr(self, name)]:
                raise ValueError("a measure of generated images has no " + ", ".join(unexpected))
        missing = [name for name in required if not getattr(self, name)]
        missing += [f"parts.{name}" for name in parts if name not in self.parts]
        missing += ["cell.backbone.fingerprint"] * (self.cell.backbone.fingerprint is None)
        if missing:
            raise ValueError("a finished cell needs " + ", ".join(missing))
        if self.primary not in self.metrics:
            raise ValueError(f"primary metric {self.primary!r} is not among the metrics")
        if self.per_class and len(self.per_class) != len(self.cell.dataset.classes):
            raise ValueError(f"per_class has {len(self.per_class)} values, classes {len(self.cell.dataset.classes)}")

    def grid_points(self) -> tuple[Point, ...]:
        """Returns the points of the grid, each once."""
        return tuple(dict.fromkeys(trial.point for trial in self.grid))

    def best_trials(self) -> dict[Point, GridTrial]:
        """Returns the best trial of every point, in the order of the grid; the first one if values are equal."""
        best: dict[Point, GridTrial] = {}
        for trial in self.grid:
            if trial.point not in best or trial.value > best[trial.point].value:
                best[trial.point] = trial
        return best
