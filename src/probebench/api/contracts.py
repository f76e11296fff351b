"""The three contracts: backbone, dataset, probe.

The laws behind them are checked by `probebench.testing` and by ``probebench check NAME``.
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
"""Takes class scores ``(N, C)`` and labels ``(N,)``, gives a number from 0 to 1; higher is better."""


class Backbone(ABC):
    """A frozen network that turns images into features.

    Row ``i`` of a feature depends on image ``i``, its index and source, the noise seed, the options and the weights:
    never on the batch it came in. Inputs are not modified, the network is in eval mode, no gradient is kept and
    no global random state is touched.

    Attributes:
        input_range: Smallest and largest value that `prepare` may give. The core checks it on the first batch.
        image_size: Height and width to describe the taps for when no dataset is named.
        batch_size: How many images a forward pass should take for good speed.
        bf16_pays: Whether bf16 is the faster precision for this network where the hardware multiplies matrices in it.
        parameters: Number of weights, for the board.
        training_stage: Where in its training the network was taken; None where nothing tells, or weights are random.
    """

    input_range: tuple[float, float]
    image_size: tuple[int, int] = (32, 32)
    batch_size: int = 64
    bf16_pays: bool = False
    parameters: int = 0
    training_stage: TrainingStage | None = None

    @abstractmethod
    def taps(self, image_size: tuple[int, int]) -> Sequence[Tap]:
        """All taps, from the shallowest to the deepest, with their shapes for images of this size.

        Args:
            image_size: Height and width of the images.

        Raises:
            UsageError: The backbone cannot take images of this size.
        """

    def levels(self) -> Sequence[Level]:
        """The levels that are read when the user names none."""
        return (CLEAN,)

    def level(self, text: str) -> Level:
        """The level that a user's words mean.

        Args:
            text: A level's id, or a shorter way to write one that the backbone documents.

        Raises:
            UsageError: There is no such level.
        """
        for level in self.levels():
            if level.id == text:
                return level
        raise UsageError(
            f"no level {text!r}", where="--levels", hint="one of " + ", ".join(level.id for level in self.levels())
        )

    def move_to(self, device: str, precision: Precision) -> None:  # noqa: B027 - nothing to move by default
        """Moves the network to a device and a precision. Called once, before `extract`.

        Args:
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            precision: Of the network's arithmetic. Noise and pooling are always fp32.
        """

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """The network's input, before noise.

        Args:
            images: uint8 ``(B, 3, H, W)``.

        Returns:
            float32 ``(B, C, H', W')`` within `input_range`.
        """

    @abstractmethod
    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """Features of a batch, for all points in one pass as far as the levels allow.

        Args:
            batch: The images.
            points: What to read; every tap and level has been checked.
            seed: The noise seed.

        Returns:
            For each point a float32 ``(B, D)`` tensor, on any device.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over weights, architecture and preprocessing."""

    def trainable(self, point: Point) -> nn.Module:
        """A copy of the network up to a point, to be trained; `BackboneSpec.tunes` says that there is one.

        It maps `inputs` to the features that `extract` gives for them, with gradients: float32 ``(B, D)``. It is on the
        CPU, in fp32 and in training mode. The backbone stays as it is, and is not placed.

        Args:
            point: What to read; tap and level have been checked.

        Raises:
            UsageError: There is nothing to train.
        """
        raise UsageError(f"{type(self).__name__} has no network to train at {point}", hint="a probe of frozen features")

    def inputs(self, batch: Batch, level: str, *, seed: int) -> Tensor:
        """What the network of `trainable` is fed: images, prepared, with the noise of a level.

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
    """Labelled images of one split, in a fixed order."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """One image: uint8 ``(3, H, W)``, RGB.

        Raises:
            DataError: The image cannot be read; the message names its file.
        """

    @abstractmethod
    def labels(self) -> Tensor:
        """int64 ``(N,)``, from 0 to the number of classes minus one. Reads no image."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal that changes when an image, a label or their order changes."""

    def digests(self) -> Sequence[bytes] | None:
        """Digest of each image's shape and values: equal for equal images, in whatever split of the dataset they are.

        The core compares splits with it: an image that is in train and in test is told to the user, and to whoever
        reads the record. Give it where it costs no more than reading the images once.

        Returns:
            16 bytes for each image, or None where they would cost more.
        """
        return None


class Dataset(ABC):
    """A labelled image set.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        splits: Names of the splits it has: ``train`` and ``test``, and ``val`` where there is an official one.
        image_size: Height and width of every image.
        flips: Whether a mirrored image still belongs to the dataset.
        metric: The metric that rows are ranked by.
        unlabeled: Names of splits that have no labels. Generators may be trained on them; they are no part of
            `splits`, no probe gets to see them, and their `Split.labels` raises an error.
    """

    classes: tuple[str, ...]
    splits: tuple[str, ...] = ("train", "test")
    image_size: tuple[int, int]
    flips: bool = True
    metric: Literal["top1", "mean_per_class"] = "top1"
    unlabeled: tuple[str, ...] = ()

    @abstractmethod
    def split(self, name: str) -> Split:
        """One of `splits` or of `unlabeled`."""


class Fitted(ABC):
    """A probe after fitting.

    Attributes:
        logits: Whether softmax over its scores gives the probabilities that it states, as for logistic regression or
            for the logarithm of votes. Only then its calibration is measured: a margin or an estimate of a one-hot
            class states no probability, whatever softmax makes of it.
    """

    logits: bool = False

    @abstractmethod
    def scores(self, vectors: Tensor) -> Tensor:
        """Class scores.

        Args:
            vectors: float32 ``(N, D)``.

        Returns:
            float32 ``(N, C)``; the larger the better. Minus infinity says that the class is no candidate for this
            image, and top-k gives it no credit.
        """


class Probe(ABC):
    """A small classifier fitted on frozen features.

    The core tries the settings at every point, several points in one call of `search_many`, which by default calls
    `search` for each. It chooses point and setting by the validation value, calls `fit` on train and val together, and
    requests the test scores once. A probe never sees a test label.
    """

    def move_to(self, device: str, precision: Precision) -> None:  # noqa: B027 - most are fast where the features are
        """Says where the probe may compute, and how. Called once, before anything is fitted.

        Features come in fp32 on the CPU whatever is said here, and scores may be on any device.

        Args:
            device: ``cpu``, ``cuda`` or ``cuda:N``: the run's.
            precision: The run's; of a network's arithmetic in training, where the probe has one.
        """

    @abstractmethod
    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """Tries the probe's settings.

        Args:
            train: What to fit on.
            val: What to measure on.
            metric: The dataset's primary metric.
            seed: Seed of everything random in the fit.

        Returns:
            One trial or more, in a fixed order; of equal values the first wins.
        """

    def search_many(
        self, points: Sequence[tuple[Features, Features]], *, metric: Metric, seed: int
    ) -> Sequence[Sequence[Trial]]:
        """Tries the probe's settings at several points. Override it where points can share work.

        A point's trials are those that `search` gives for it, whatever other points are in the call: the core decides
        how many there are, by what fits in memory.

        Args:
            points: What to fit on and what to measure on, for each point; widths may differ.
            metric: The dataset's primary metric.
            seed: Seed of everything random in each fit.

        Returns:
            The trials of each point, in the order of the points.
        """
        return [self.search(train, val, metric=metric, seed=seed) for train, val in points]

    @abstractmethod
    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Fits one setting.

        Args:
            train: What to fit on.
            params: `Trial.params` of the chosen trial.
            seed: Seed of everything random in the fit.
        """


_SLACK = 1e-3


def check_range(inputs: Tensor, expected: tuple[float, float], *, where: str) -> None:
    """Raises an error unless all values lie in a range.

    A network trained on one range and read on another gives features that look sound and are not.

    Args:
        inputs: A batch as the network gets it, before noise.
        expected: Smallest and largest value allowed; 0.001 more is let pass.
        where: What made the batch.

    Raises:
        FeatureError: A value lies outside, or is not finite.
    """
    import torch

    low, high = (float(value) for value in torch.aminmax(inputs))
    # Written so that NaN fails as well.
    if not (expected[0] - _SLACK <= low and high <= expected[1] + _SLACK):
        raise FeatureError(
            f"the input ranges from {low:.4g} to {high:.4g}, not within {expected[0]:g} to {expected[1]:g}",
            where=where,
            hint="correct the normalisation, or input_range if the network was trained on that range",
        )
