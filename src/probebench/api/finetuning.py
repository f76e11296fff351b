"""The contract of probes that fine-tune the backbone."""

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
    """Labelled images, prepared for a network at one noise level.

    Attributes:
        labels: int64 ``(N,)``, from 0 to ``classes - 1``.
        classes: Number of classes of the dataset; these images may lack some.
        inputs: Called as ``inputs(rows, epoch)`` with int64 ``(B,)``; returns float32 ``(B, C, H', W')`` on the CPU.
            Epochs count from 0. Each epoch has its own noise, and its own views if the options of the probe request
            views (`ViewOptions`). With the epoch None, which is for measuring, images are unchanged and have the noise
            of the run.
    """

    labels: Tensor
    classes: int
    inputs: Callable[[Tensor, int | None], Tensor]


@dataclass(frozen=True, slots=True)
class FinetunableNetwork:
    """A backbone up to a point, for fine-tuning.

    Attributes:
        network: Called for each training; returns what `Backbone.trainable` returns.
        width: Length of its feature vectors.
    """

    network: Callable[[], nn.Module]
    width: int


class FinetunedNetwork(ABC):
    """A fine-tuned network.

    Attributes:
        logits: See `Fitted.logits`.
    """

    logits: bool = False

    @abstractmethod
    def scores(self, images: InputImages) -> Tensor:
        """Returns class scores, float32 ``(N, C)``, as `Fitted.scores` does. Each row depends on its image only."""


class FinetuningProbe(ABC):
    """A probe that fine-tunes the backbone; `ProbeSpec.consumes` is ``backbone``.

    It measures the network as an initialisation, and not the frozen representation. Records and boards state this, and
    boards rank it separately. The core selects as for a `Probe`: settings are tried at every point on val, the best one
    is trained again on train and val together, and the test scores are requested once.
    """

    def move_to(self, device: str, precision: Precision) -> None:  # noqa: B027 - as `Probe.move_to`
        """Sets the device and the precision of the training. Called once, before anything is trained."""

    @abstractmethod
    def search(
        self, backbone: FinetunableNetwork, train: InputImages, val: InputImages, *, metric: Metric, seed: int
    ) -> Sequence[Trial]:
        """Tries the settings of the probe.

        Args:
            backbone: The backbone to train.
            train: Images to train on.
            val: Images to measure on.
            metric: The primary metric of the dataset.
            seed: Seed of all randomness in the training.

        Returns:
            One trial or more, in a fixed order. If values are equal, the core selects the first.
        """

    @abstractmethod
    def fit(
        self, backbone: FinetunableNetwork, train: InputImages, params: Mapping[str, Scalar], *, seed: int
    ) -> FinetunedNetwork:
        """Trains one setting.

        Args:
            backbone: The backbone to train.
            train: Images to train on.
            params: `Trial.params` of the selected trial.
            seed: Seed of all randomness in the training.
        """
