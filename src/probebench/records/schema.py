"""The schema of a record, as pydantic models. `probebench schema` prints it as JSON Schema."""

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
        description="All options, defaults included, but for those that came later (`Options.added`) at theirs."
    )


class TrainingCell(_Model):
    """Where in its training a network was taken. Recipe and seed together are one run."""

    recipe: Sha256 = Field(description="Digest over all that was trained, but for seed and length.")
    seed: int = Field(description="Seed of the training.")
    epoch: Count = Field(description="Epochs that were finished.")
    images: Count = Field(description="Images that were seen, repetitions counted.")


class BackboneCell(ComponentCell):
    """The backbone of a cell. What needs the weights is null when they could not be loaded."""

    fingerprint: Sha256 | None = Field(description="Digest over weights, architecture and preprocessing.")
    parameters: Count | None = Field(description="Number of weights.")
    baseline: bool = Field(description="A floor such as raw pixels, not a contender.")
    trained: TrainingCell | None = Field(
        default=None, description="Place in its training, where the backbone tells it."
    )


class DatasetCell(ComponentCell):
    """The dataset of a cell. What needs its files is empty when they could not be read."""

    fingerprints: dict[str, Sha256] = Field(description="Digest of each official split.")
    classes: tuple[str, ...] = Field(description="Names of the classes, in the order of the labels.")
    image_size: tuple[int, int] | None = Field(description="Height and width.")


class ProbeCell(ComponentCell):
    """The probe of a cell."""


class Cell(_Model):
    """What was run."""

    backbone: BackboneCell
    dataset: DatasetCell
    probe: ProbeCell
    seed: int = Field(description="Seed of the probe and of the carved validation split.")
    noise_seed: int = Field(description="Seed of the noise added before the backbone.")
    precision: Precision = Field(description="Precision of the backbone's arithmetic.")
    device: str = Field(description="Device the backbone ran on.")
    limit: Annotated[int, Field(ge=1)] | None = Field(description="Images per split, for a smoke run.")


class Protocol(_Model):
    """Every setting that can change a probe's number."""

    name: str
    hash: Sha256 = Field(description="Digest of the document.")
    document: dict[str, JsonValue]


class GridTrial(_Model):
    """One setting of the probe at one point, measured on the validation split."""

    tap: str
    level: str
    pool: str
    params: dict[str, Scalar] = Field(description="The probe's setting.")
    value: Share = Field(description="Primary metric on the validation split; of optimism, on test.")

    @property
    def point(self) -> Point:
        """The point that was read."""
        return Point(self.tap, self.level, self.pool)


class Chosen(GridTrial):
    """The trial that won on the validation split."""

    sigma: Annotated[float, Field(ge=0)] | None = Field(description="Noise to signal ratio of the level.")
    dim: Annotated[int, Field(ge=1)] = Field(description="Length of the feature vector.")
    cost: Share = Field(description="Share of the full forward's FLOPs spent when the tap is reached.")


class Candidates(_Model):
    """What the choice was made from: every tap was read at every level."""

    taps: tuple[str, ...]
    levels: tuple[str, ...]
    pool: str = Field(description="As asked for; a tap that is a vector already is read as flat.")


class Selection(_Model):
    """How point and setting were chosen. Never on the split that is measured."""

    split: Literal["val"] = "val"
    rule: str = Field(description="In words, ties included.")
    carved: bool = Field(description="The validation split was taken from train; there is no official one.")
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(description="Share carved from train.")


class Part(_Model):
    """The images that served one purpose."""

    split: str = Field(description="The official split they come from.")
    count: Annotated[int, Field(ge=1)] = Field(description="Number of images.")
    indices: Sha256 = Field(description="Digest of their positions in that split.")


class Measure(_Model):
    """A number measured on the test split, or on drawn images."""

    value: float
    low: float | None = Field(default=None, description="Lower end of the 95 % interval.")
    high: float | None = Field(default=None, description="Upper end of the 95 % interval.")
    n: Annotated[int, Field(ge=1)] = Field(description="Number of test images, or of drawn ones.")
    method: Literal["wilson"] | None = Field(description="How the interval was made; null when there is none.")
    higher_is_better: bool = True
    floor: float | None = Field(default=None, description="The same measure of as many real images; of drawn images.")
    sd: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Standard deviation over parts of the images, of a measure that is a mean over them."
    )

    @model_validator(mode="after")
    def _interval_is_whole(self) -> Self:
        if (self.low is None, self.high is None) != (self.method is None, self.method is None):
            raise ValueError("low, high and method must be given together or not at all")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"value {self.value} lies outside its interval {self.low} .. {self.high}")
        return self


class Optimism(_Model):
    """What choosing on test would have flattered. Measured after the choice, and ranked by nowhere."""

    best: Share = Field(description="Highest primary metric on test of any trial.")
    value: Share = Field(description="By how much that is above the result, which was chosen on val.")
    trials: tuple[GridTrial, ...] = Field(description="All trials of all points, on test in place of val.")


class ExtractorCell(ComponentCell):
    """The backbone that drawn images are measured with, always in fp32."""

    fingerprint: Sha256 = Field(description="Digest over weights, architecture and preprocessing.")
    tap: str
    level: str
    pool: str


class Samples(_Model):
    """The drawn images of a measure of generation."""

    count: Annotated[int, Field(ge=1)] = Field(description="How many were drawn.")
    sampling: dict[str, JsonValue] = Field(description="All options of the sampler, defaults included.")
    fingerprint: Sha256 = Field(description="Digest of the images, in the order of their numbers.")
    extractor: ExtractorCell


class Artifact(_Model):
    """A file that belongs to the record."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+$")] = Field(description="Name, in the folder of the record.")
    sha256: Sha256


class Timing(_Model):
    """What the cell took; the only thing here that a repetition will not reproduce."""

    extract_s: Seconds = Field(description="Time in the backbone, 0 when every feature was in the store.")
    probe_s: Seconds = Field(description="Time in the probe.")
    forwarded: Count = Field(description="Images that passed the backbone.")


class Failure(_Model):
    """Why a cell has no number."""

    type: str = Field(description="Class of the error.")
    message: str


class Record(_Model):
    """One finished or failed cell."""

    schema_version: Literal[3] = 3
    id: Sha256 = Field(description="Digest of the cell's identity; equal for a repetition.")
    status: Literal["success", "error"]
    smoke: bool = Field(description="Made with --limit: shows that things work, measures nothing.")
    cell: Cell
    protocol: Protocol
    candidates: Candidates | None = None
    selection: Selection | None = None
    parts: dict[str, Part] = Field(default={}, description="Images used: train, val, test; or reference and floor.")
    grid: tuple[GridTrial, ...] = Field(default=(), description="All trials of all points, on val.")
    chosen: Chosen | None = None
    soft_vote: tuple[GridTrial, ...] = Field(
        default=(),
        description="Trials at the chosen tap, one a level, whose probabilities on test were averaged; or none.",
    )
    primary: str | None = Field(default=None, description="Name of the metric that rows are ranked by.")
    metrics: dict[str, Measure] = {}
    per_class: tuple[Share | None, ...] = Field(default=(), description="Accuracy by class; null if absent.")
    predictions: Artifact | None = None
    neighbours: dict[str, Sha256] = Field(
        default={}, description="Digests of the files of the feature store with the neighbours of val and test."
    )
    optimism: Optimism | None = Field(default=None, description="Of a run that asked for it.")
    samples: Samples | None = Field(default=None, description="Of a measure of generation: what was measured.")
    provenance: Provenance
    timing: Timing | None = None
    peak_memory_mb: Annotated[float, Field(ge=0)] | None = None
    warnings: tuple[str, ...] = ()
    error: Failure | None = None

    @model_validator(mode="after")
    def _status_agrees_with_content(self) -> Self:
        if self.smoke != (self.cell.limit is not None):
            raise ValueError("smoke must be true exactly when cell.limit is set")
        if (self.status == "error") != (self.error is not None):
            raise ValueError("error must be given exactly when status is 'error'")
        if self.status == "success":
            self._require_results()
        return self

    @property
    def generation(self) -> bool:
        """Whether drawn images are measured, and not features: such a record has no point, no val, no predictions."""
        return self.protocol.document.get("consumes") == "samples"

    @property
    def manner(self) -> str:
        """How the backbone was read where that is not at one point of it, frozen, in words; else empty."""
        if not self.frozen:
            return "trained, not frozen"
        return f"soft vote of {len(self.soft_vote)} levels" if self.soft_vote else ""

    @property
    def read_at(self) -> str:
        """Where the number was read: a point, or a tap with all levels that vote; empty for drawn images."""
        if self.chosen is None:
            return ""
        levels = "+".join(trial.level for trial in self.soft_vote) or self.chosen.level
        return str(Point(self.chosen.tap, levels, self.chosen.pool))

    @property
    def frozen(self) -> bool:
        """Whether the backbone was left as it was; else the probe trained it, and the number is not of its features."""
        return self.protocol.document.get("consumes") != "backbone"

    def _require_results(self) -> None:
        classified = ("candidates", "selection", "grid", "chosen", "predictions")
        required: tuple[str, ...] = (*classified, "primary", "timing")
        parts: tuple[str, ...] = ("train", "val", "test")
        if self.generation:
            required, parts = ("samples", "primary", "timing"), ("reference",)
            if foreign := [name for name in classified if getattr(self, name)]:
                raise ValueError("a measure of drawn images has no " + ", ".join(foreign))
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
        """The points that were tried, each once."""
        return tuple(dict.fromkeys(trial.point for trial in self.grid))

    def best_trials(self) -> dict[Point, GridTrial]:
        """The best trial of every point, in the grid's order; of equal values the first wins."""
        best: dict[Point, GridTrial] = {}
        for trial in self.grid:
            if trial.point not in best or trial.value > best[trial.point].value:
                best[trial.point] = trial
        return best
