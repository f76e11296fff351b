"""The contract of probes that train the backbone itself, end to end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

    from probebench.api.contracts import Metric
    from probebench.api.types import Precision, Scalar, Trial


@dataclass(frozen=True, slots=True)
class InputImages:
    """Labelled images as a network gets them at one noise level.

    Attributes:
        labels: int64 ``(N,)``, from 0 to ``classes - 1``.
        classes: Number of classes of the dataset; some may be absent here.
        inputs: Called as ``inputs(rows, epoch)`` with int64 ``(B,)``, gives float32 ``(B, C, H', W')`` on the CPU. In
            an epoch, counted from 0, noise is that of the epoch, and so is the view where the probe's options ask for
            some (`ViewOptions`). Where the epoch is None, images are as they are, with the run's noise: so they are
            measured.
    """

    labels: Tensor
    classes: int
    inputs: Callable[[Tensor, int | None], Tensor]


@dataclass(frozen=True, slots=True)
class FinetunableNetwork:
    """A backbone up to a point, to be trained.

    Attributes:
        network: Called for each training; what `Backbone.trainable` gives.
        width: Length of the feature vectors that it gives.
    """

    network: Callable[[], nn.Module]
    width: int


class FinetunedNetwork(ABC):
    """A trained network.

    Attributes:
        logits: As that of `Fitted`.
    """

    logits: bool = False

    @abstractmethod
    def scores(self, images: InputImages) -> Tensor:
        """Class scores, float32 ``(N, C)``, as those of `Fitted`; each of an image alone, whatever is beside it."""


class FinetuningProbe(ABC):
    """A probe that trains the backbone with it; `ProbeSpec.consumes` is ``backbone``.

    What it measures is not the frozen representation, but what the network is worth as a start. The core says so in
    records and on boards, and ranks it with nothing else. It chooses as it does for a `Probe`: settings are tried at
    every point on val, the best one is trained again on train and val together, and test is asked for once.
    """

    def move_to(self, device: str, precision: Precision) -> None:  # noqa: B027 - as `Probe.move_to`
        """Says where the probe is to compute, and how. Called once, before anything is trained."""

    @abstractmethod
    def search(
        self, backbone: FinetunableNetwork, train: InputImages, val: InputImages, *, metric: Metric, seed: int
    ) -> Sequence[Trial]:
        """Tries the probe's settings.

        Args:
            backbone: What to train.
            train: What to train on.
            val: What to measure on.
            metric: The dataset's primary metric.
            seed: Seed of everything random in the training.

        Returns:
            One trial or more, in a fixed order; of equal values the first wins.
        """

    @abstractmethod
    def fit(
        self, backbone: FinetunableNetwork, train: InputImages, params: Mapping[str, Scalar], *, seed: int
    ) -> FinetunedNetwork:
        """Trains one setting.

        Args:
            backbone: What to train.
            train: What to train on.
            params: `Trial.params` of the chosen trial.
            seed: Seed of everything random in the training.
        """
