"""The values that pass between the core and its plugins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from probebench.api.contracts import Split
    from probebench.api.options import Options

TapKind = Literal["spatial", "tokens", "vector"]
Precision = Literal["fp32", "bf16"]
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Some images of one split. Labels are not among them: a frozen backbone has no use for them.

    Attributes:
        images: uint8 ``(B, 3, H, W)``, RGB, 0 to 255.
        index: int64 ``(B,)``, position of each image in its split.
        source: Identity of the split. With ``index`` it names an image, and seeds its noise.
    """

    images: Tensor
    index: Tensor
    source: str


@dataclass(frozen=True, slots=True)
class Tap:
    """A named place in a backbone where features are read.

    Attributes:
        id: Name, unique in the backbone, such as ``up.1``.
        kind: ``spatial`` (C, H, W), ``tokens`` (N, C) or ``vector`` (D,).
        shape: Shape of one image's feature, without the batch.
        cost: Share of the full forward's FLOPs that is spent when this tap is reached, 0 to 1.
        default: Whether the tap is read when the user names none.
        aliases: Other names, such as a paper's (``thesis:Upsample 3``).
    """

    id: str
    kind: TapKind
    shape: tuple[int, ...]
    cost: float = 1.0
    default: bool = True
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """Where in its training a backbone's network was taken: what curves over a training are drawn from.

    Attributes:
        recipe: SHA-256 in hexadecimal over all that the network depends on, but for the training's seed and length.
        seed: Of the training. Recipe and seed together are one run.
        epoch: Epochs that were finished.
        images: Images that were seen, repetitions counted.
    """

    recipe: str
    seed: int
    epoch: int
    images: int


@dataclass(frozen=True, slots=True)
class Level:
    """A noise level at which a backbone is read.

    Attributes:
        id: Name, such as ``t=10``; backbones without noise levels have the one level ``clean``.
        sigma: Noise to signal ratio sqrt((1 - abar) / abar), the one scale that is comparable across families.
    """

    id: str
    sigma: float | None = None


CLEAN = Level("clean", 0.0)


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """What a feature matrix belongs to: a tap, read at a level, pooled to a vector.

    Attributes:
        tap: Id of the tap.
        level: Id of the level.
        pool: ``gap``, ``gridN``, ``max``, ``cls`` or ``flat`` (see `pool`).
    """

    tap: str
    level: str
    pool: str

    def __str__(self) -> str:
        return f"{self.tap}@{self.level}@{self.pool}"


@dataclass(frozen=True, slots=True)
class Features:
    """One point's features of some labelled images.

    Attributes:
        vectors: float32 ``(N, D)``.
        labels: int64 ``(N,)``, from 0 to ``classes - 1``.
        classes: Number of classes of the dataset; some may be absent here.
        shape: What one vector is the flattened form of: ``(C, N, N)`` for a map pooled to a grid, ``(N, C)`` for
            tokens; empty where that is not known, and ``(D,)`` where there is nothing more to know.
        views: Features of views of the same images, each float32 ``(N, D)``, where the probe's options ask for some
            (`ViewOptions`) and these are what it is fitted on; epoch ``e`` trains on ``views[e % len(views)]`` in place
            of `vectors`. Empty for all else.
    """

    vectors: Tensor
    labels: Tensor
    classes: int
    shape: tuple[int, ...] = ()
    views: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate setting of a probe and what it reached on the validation split.

    Attributes:
        params: The setting, enough for `Probe.fit` to fit it again.
        value: Primary metric on the validation split, 0 to 1; higher is better.
    """

    params: Mapping[str, Scalar]
    value: float


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What `probebench train` hands to a backbone's trainer.

    Attributes:
        options: Validated options of the backbone.
        recipe: Validated options of the training.
        images: The training split. A trainer reads images only; labels stay unread.
        dataset: Name of the dataset with its options, for the manifest.
        flips: Whether mirrored images still belong to the dataset.
        out: Folder for checkpoints, manifests and the loss curve; it exists.
        epochs: Epochs to train, counted from the start of the first run.
        seed: Seed of weights, order, time steps and noise.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` or ``bf16``, of the forward and backward pass.
        progress: Called as ``progress(epoch, step, steps, loss)`` after every optimiser step.
        val: The dataset's own val split, to measure on and not to train on; None where it has none. Test images are no
            business of a trainer.
        process: Number of this process among those that share the training, from 0, which alone writes files. Its
            device is its own; all else is the same for all of them.
        processes: How many there are. All find each other by the variables of torchrun (``RANK``, ``WORLD_SIZE``,
            ``MASTER_ADDR``, ...).
        tell: Called with a line for the user before the first step, such as the memory that is needed.
        stop: Asked after every optimiser step. True says that the time is up, or that the process is to end: save a
            checkpoint that the same command goes on from, and return it.
    """

    options: Options
    recipe: Options
    images: Split
    dataset: str
    flips: bool
    out: Path
    epochs: int
    seed: int
    device: str
    precision: Precision
    progress: Callable[[int, int, int, float], None] = field(default=lambda *_: None)
    stop: Callable[[], bool] = field(default=lambda: False)
    val: Split | None = None
    tell: Callable[[str], None] = field(default=lambda _: None)
    process: int = 0
    processes: int = 1
