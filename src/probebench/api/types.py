"""The values that the core and its plugins exchange."""

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
    """Images of one split, without labels, because a frozen backbone does not need them.

    Attributes:
        images: uint8 ``(B, 3, H, W)``, RGB, 0 to 255.
        index: int64 ``(B,)``, position of each image in its split.
        source: Identity of the split. Together with ``index`` it identifies an image and seeds its noise.
    """

    images: Tensor
    index: Tensor
    source: str


@dataclass(frozen=True, slots=True)
class Tap:
    """A named layer of a backbone at which features are read.

    Attributes:
        id: Name, unique in the backbone, such as ``up.1``.
        kind: ``spatial`` (C, H, W), ``tokens`` (N, C) or ``vector`` (D,).
        shape: Shape of the feature of one image, without the batch dimension.
        cost: Share of the FLOPs of the full forward pass up to this tap, 0 to 1.
        default: Whether the tap is read if the user names none.
        aliases: Other names, such as the name in a paper (``thesis:Upsample 3``).
    """

    id: str
    kind: TapKind
    shape: tuple[int, ...]
    cost: float = 1.0
    default: bool = True
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """The point of its training at which a network was saved. Plots over epochs are made from it.

    Attributes:
        recipe: SHA-256 in hexadecimal of everything that the network depends on except seed and length of the training.
        seed: Seed of the training. Recipe and seed together identify one training.
        epoch: Number of finished epochs.
        images: Number of images seen, with repetitions.
    """

    recipe: str
    seed: int
    epoch: int
    images: int


@dataclass(frozen=True, slots=True)
class Level:
    """A noise level at which a backbone is read.

    Attributes:
        id: Name, such as ``t=10``. Backbones without noise levels have the single level ``clean``.
        sigma: Noise-to-signal ratio sqrt((1 - abar) / abar), a scale that is comparable across model families.
    """

    id: str
    sigma: float | None = None


CLEAN = Level("clean", 0.0)


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A tap at a noise level with a pool. Each feature matrix belongs to one point.

    Attributes:
        tap: Id of the tap.
        level: Id of the level.
        pool: ``gap``, ``gridN``, ``max``, ``cls`` or ``flat`` (see `pool_map`).
    """

    tap: str
    level: str
    pool: str

    def __str__(self) -> str:
        return f"{self.tap}@{self.level}@{self.pool}"


@dataclass(frozen=True, slots=True)
class Features:
    """Features of labelled images at one point.

    Attributes:
        vectors: float32 ``(N, D)``.
        labels: int64 ``(N,)``, from 0 to ``classes - 1``.
        classes: Number of classes of the dataset; these images may lack some.
        shape: Shape of one vector before it was flattened: ``(C, N, N)`` for a map pooled to a grid, ``(N, C)`` for
            tokens, ``(D,)`` for a vector; empty if it is not known.
        views: Features of views of the same images, each float32 ``(N, D)``, if the options of the probe request views
            (`ViewOptions`) and the probe is fitted on these images. Epoch ``e`` trains on ``views[e % len(views)]`` in
            place of `vectors`. Otherwise empty.
    """

    vectors: Tensor
    labels: Tensor
    classes: int
    shape: tuple[int, ...] = ()
    views: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting of a probe with its value on the validation split.

    Attributes:
        params: The setting. `Probe.fit` needs nothing else to fit it again.
        value: Primary metric on the validation split, 0 to 1; higher is better.
    """

    params: Mapping[str, Scalar]
    value: float


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """The job that `probebench train` passes to the trainer of a backbone.

    Attributes:
        options: Validated options of the backbone.
        recipe: Validated options of the training.
        images: The training split. A trainer reads only images, and no labels.
        dataset: Name of the dataset with its options, for the manifest.
        flips: Whether mirrored images still belong to the dataset.
        out: Folder for checkpoints, manifests and the loss curve. It exists.
        epochs: Number of epochs, counted from the start of the first run.
        seed: Seed of weights, order, time steps and noise.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` or ``bf16``, for the forward and backward pass.
        progress: Called as ``progress(epoch, step, steps, loss)`` after every optimiser step.
        val: The official val split, for measuring only; None if the dataset has none. A trainer never gets test images.
        process: Rank of this process among those that share the training, from 0. Only process 0 writes files. The
            device may differ between processes; all other fields are equal.
        processes: Number of these processes. They use the environment variables of torchrun (``RANK``, ``WORLD_SIZE``,
            ``MASTER_ADDR``, ...).
        report: Called with a line for the user before the first step, such as the memory that the training needs.
        should_stop: Called after every optimiser step. If it returns True, because of the time limit or a signal, save
            a checkpoint from which the same command resumes, and return it.
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
    should_stop: Callable[[], bool] = field(default=lambda: False)
    val: Split | None = None
    report: Callable[[str], None] = field(default=lambda _: None)
    process: int = 0
    processes: int = 1
