"""The contracts of backbones, datasets and probes.

Their requirements are checked by `probebench.testing` and by ``probebench check NAME``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from probebench.api.types import CLEAN, Batch, Features, Level, Point, Precision, Scalar, Tap, TrainingStage, Trial
from probebench.util.errors import FeatureError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

Metric = Callable[["Tensor", "Tensor"], float]
"""Takes class scores ``(N, C)`` and labels ``(N,)``, and returns a number from 0 to 1; higher is better."""


class Backbone(ABC):
    """A frozen network that turns images into features.

    Row ``i`` of a feature depends on image ``i``, its index and source, the noise seed, the options and the weights,
    and not on the other images of the batch. Inputs are not modified, the network is in eval mode, no gradient is kept
    and the global random state is neither read nor changed.

    Attributes:
        input_range: Smallest and largest value that `prepare` may return. The core checks it on the first batch.
        image_size: Height and width of the images for which taps are described if no dataset is given.
        batch_size: Number of images in a forward pass, chosen for speed.
        prefers_bf16: Whether bf16 is faster than fp32 for this network on hardware that multiplies matrices in bf16.
        parameters: Number of weights, for the board.
        training_stage: The point of its training at which the network was saved; None if it is not known, or if the
            weights are random.
    """

    input_range: tuple[float, float]
    image_size: tuple[int, int] = (32, 32)
    batch_size: int = 64
    prefers_bf16: bool = False
    parameters: int = 0
    training_stage: TrainingStage | None = None

    @abstractmethod
    def taps(self, image_size: tuple[int, int]) -> Sequence[Tap]:
        """Returns all taps, from the shallowest to the deepest, with their shapes for images of this size.

        Args:
            image_size: Height and width of the images.

        Raises:
            UsageError: The backbone cannot take images of this size.
        """

    def levels(self) -> Sequence[Level]:
        """Returns the levels that are read if the user names none."""
        return (CLEAN,)

    def level(self, text: str) -> Level:
        """Returns the level that a text names.

        Args:
            text: The id of a level, or a short form that the backbone documents.

        Raises:
            UsageError: There is no such level.
        """
        for level in self.levels():
            if level.id == text:
                return level
        raise UsageError(
            f"the backbone has no level {text!r}",
            where="--levels",
            hint="one of " + ", ".join(level.id for level in self.levels()),
        )

    def move_to(self, device: str, precision: Precision) -> None:  # noqa: B027 - nothing to move by default
        """Moves the network to a device, and sets its precision. Called once, before `extract`.

        Args:
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            precision: Precision of the network's arithmetic. Noise and pooling are always in fp32.
        """

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """Returns the network's input, before noise.

        Args:
            images: uint8 ``(B, 3, H, W)``.

        Returns:
            float32 ``(B, C, H', W')`` within `input_range`.
        """

    @abstractmethod
    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """Returns the features of a batch, for all points with as few forward passes as the levels allow.

        Args:
            batch: The images.
            points: The points to read; their taps and levels have been checked.
            seed: The noise seed.

        Returns:
            A float32 ``(B, D)`` tensor for each point, on any device.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns the SHA-256 of weights, architecture and preprocessing, in hexadecimal."""

    def trainable(self, point: Point) -> nn.Module:
        """Returns a trainable copy of the network up to a point; `BackboneSpec.finetunable` states that there is one.

        It maps `inputs` to the features that `extract` returns for them, with gradients: float32 ``(B, D)``. It is on
        the CPU, in fp32 and in training mode. The backbone itself is not changed, and `move_to` was not called.

        Args:
            point: The point to read; its tap and level have been checked.

        Raises:
            UsageError: The backbone cannot be trained up to this point.
        """
        raise UsageError(
            f"{type(self).__name__} has no network to train at {point}", hint="--probe knn, which does not train it"
        )

    def inputs(self, batch: Batch, level: str, *, seed: int) -> Tensor:
        """Returns the input of the network of `trainable`: prepared images with the noise of a level.

        Args:
            batch: The images.
            level: Id of the level.
            seed: The noise seed.

        Returns:
            float32 ``(B, C, H', W')``.
        """
        del level, seed
        return self.prepare(batch.images)


class Split(ABC):
    """The labelled images of one split, in a fixed order."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of images."""

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """Returns one image: uint8 ``(3, H, W)``, RGB.

        Raises:
            DataError: The image cannot be read. The message names its file.
        """

    @abstractmethod
    def labels(self) -> Tensor:
        """Returns the labels: int64 ``(N,)``, from 0 to the number of classes minus one. Reads no image."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns a SHA-256 in hexadecimal, which changes if an image, a label or their order changes."""

    def digests(self) -> Sequence[bytes] | None:
        """Returns a digest of the shape and the values of each image, which is the same in all splits of the dataset.

        The core uses the digests to find images that are in train and in test, and reports them to the user and in the
        record. Return digests if they take no longer than one pass over the images.

        Returns:
            16 bytes for each image, or None if they would take longer.
        """
        return None


class Dataset(ABC):
    """A labelled image set.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        splits: Names of the splits: ``train`` and ``test``, and ``val`` if there is an official one.
        image_size: Height and width of every image.
        flips: Whether a mirrored image still belongs to the dataset.
        metric: The primary metric, by which boards rank.
        unlabeled: Names of splits without labels. Backbones can be trained on them. They are not in `splits`, probes
            never use them, and their `Split.labels` raises an error.
    """

    classes: tuple[str, ...]
    splits: tuple[str, ...] = ("train", "test")
    image_size: tuple[int, int]
    flips: bool = True
    metric: Literal["top1", "mean_per_class"] = "top1"
    unlabeled: tuple[str, ...] = ()

    @abstractmethod
    def split(self, name: str) -> Split:
        """Returns a split, one of `splits` or `unlabeled`."""


class Fitted(ABC):
    """A fitted probe.

    Attributes:
        logits: Whether softmax over the scores gives the probabilities of the classes, as for logistic regression or
            the logarithms of votes. Only then the calibration is measured: margins, and regressions on one-hot labels,
            are no logits.
    """

    logits: bool = False

    @abstractmethod
    def scores(self, vectors: Tensor) -> Tensor:
        """Returns class scores.

        Args:
            vectors: float32 ``(N, D)``.

        Returns:
            float32 ``(N, C)``; larger is better. A class with minus infinity is no candidate for the image, and top-k
            metrics never count it.
        """


class Probe(ABC):
    """A small classifier fitted on frozen features.

    The core tries all settings at all points: it passes several points to `search_many`, which by default calls
    `search` for each. It selects point and setting by the value on val, calls `fit` on train and val together, and
    requests the test scores once. A probe never gets test labels.
    """

    def move_to(self, device: str, precision: Precision) -> None:  # noqa: B027 - most are fast where the features are
        """Sets the device and the precision of the probe's computation. Called once, before anything is fitted.

        Features are always in fp32 on the CPU, and scores may be on any device.

        Args:
            device: The device of the run: ``cpu``, ``cuda`` or ``cuda:N``.
            precision: The precision of the run, for probes that train a network.
        """

    @abstractmethod
    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """Tries the settings of the probe.

        Args:
            train: Features to fit on.
            val: Features to measure on.
            metric: The primary metric of the dataset.
            seed: Seed of all randomness in the fit.

        Returns:
            One trial or more, in a fixed order. If values are equal, the core selects the first.
        """

    def search_many(
        self, points: Sequence[tuple[Features, Features]], *, metric: Metric, seed: int
    ) -> Sequence[Sequence[Trial]]:
        """Tries the settings of the probe at several points. Override it if points can share work.

        The trials of a point are those that `search` returns for it, and do not depend on the other points of the call:
        the core chooses how many points fit in memory.

        Args:
            points: Features to fit on and features to measure on, for each point; widths may differ.
            metric: The primary metric of the dataset.
            seed: Seed of all randomness in each fit.

        Returns:
            The trials of each point, in the order of the points.
        """
        return [self.search(train, val, metric=metric, seed=seed) for train, val in points]

    @abstractmethod
    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Fits one setting.

        Args:
            train: Features to fit on.
            params: `Trial.params` of the selected trial.
            seed: Seed of all randomness in the fit.
        """


_TOLERANCE = 1e-3


def check_range(inputs: Tensor, expected: tuple[float, float], *, where: str) -> None:
    """Raises an error unless all values are within a range.

    A network that was trained on another range returns features that look plausible, but are wrong.

    Args:
        inputs: The network's input, before noise.
        expected: Smallest and largest allowed value, with a tolerance of 0.001.
        where: The component that prepared the input, for the error.

    Raises:
        FeatureError: A value is outside of the range, or is not finite.
    """
    import torch

    low, high = (float(value) for value in torch.aminmax(inputs))
    # `not (...)` rather than the opposite comparisons, so that NaN is an error.
    if not (expected[0] - _TOLERANCE <= low and high <= expected[1] + _TOLERANCE):
        raise FeatureError(
            f"the input ranges from {low:.4g} to {high:.4g}, not within {expected[0]:g} to {expected[1]:g}",
            where=where,
            hint="correct prepare(), or set input_range to the range that the network was trained on",
        )
