"""The common base of the probes `mlp`, `cnn` and `attention`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

import torch

from probebench.api import Features, Fitted, Probe, Trial, hash63
from probebench_probes.networks.training import build_seeded, deterministic_autocast, train_network
from probebench_probes.optimization.divergence import divergence_error
from probebench_probes.options import NetworkOptions
from probebench_probes.preprocessing.maps import MapTransform, as_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from probebench.api import Metric, Precision, Scalar

SCORING_BATCH = 512
"""Images that are scored at a time."""

_Options = TypeVar("_Options", bound=NetworkOptions)


class NetworkProbe(Probe, Generic[_Options]):
    """A network on frozen features, with the learning rate chosen on val.

    A class without train images is never predicted. A training that diverges gives all images the same score, so that
    it is not chosen if any other is better; if it is chosen, `fit` raises an error.

    Attributes:
        name: Name of the probe, for messages.
    """

    name: ClassVar[str]

    def __init__(self, options: _Options) -> None:
        self._options = options
        self._device: str = "cpu"
        self._precision: Precision = "fp32"

    def move_to(self, device: str, precision: Precision) -> None:
        """Sets the device and the precision of training and scoring."""
        self._device, self._precision = device, precision

    @abstractmethod
    def network(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Returns the network before training, for maps of a shape."""

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """Returns one trial for each learning rate, in the order of the options."""
        trials = []
        for rate in self._options.learning_rates:
            fitted = self._train(train, rate, seed=seed)
            trials.append(Trial({"learning_rate": rate}, metric(fitted.scores(val.vectors), val.labels)))
        return trials

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Trains one network; ``params`` holds ``learning_rate``.

        Raises:
            TrainingError: The training diverges.
        """
        rate = cast("float", params["learning_rate"])
        fitted = self._train(train, rate, seed=seed)
        if not fitted.finite:
            raise divergence_error(self.name, rate)
        return fitted

    def _train(self, train: Features, rate: float, *, seed: int) -> FittedNetwork:
        transform = MapTransform.of(train, self._options.inputs)
        _, *shape = as_map(train.vectors[:1], train.shape).shape
        size = cast("tuple[int, int, int]", tuple(shape))
        network = build_seeded(lambda: self.network(size, train.classes), seed=hash63("network", seed))
        views = train.views or (train.vectors,)
        finite = train_network(
            network,
            train.labels,
            lambda rows, epoch: transform(views[epoch % len(views)][rows], self._device),
            self._options,
            learning_rate=rate,
            seed=seed,
            device=self._device,
            precision=self._precision,
        )
        in_train = train.labels.bincount(minlength=train.classes) > 0
        return FittedNetwork(network, transform, in_train, self._device, self._precision, finite=finite)


class FittedNetwork(Fitted):
    """A trained network, and the classes that have train images, bool ``(C,)``."""

    logits = True

    def __init__(
        self,
        network: nn.Module,
        transform: MapTransform,
        in_train: Tensor,
        device: str,
        precision: Precision,
        *,
        finite: bool,
    ) -> None:
        self._network, self._transform, self._in_train = network, transform, in_train
        self._device, self._precision = device, precision
        self.finite = finite

    @torch.no_grad()
    def scores(self, vectors: Tensor) -> Tensor:
        """Returns the logits: float32 ``(N, C)``."""
        scores = torch.zeros(len(vectors), len(self._in_train), device=vectors.device)
        if self.finite:
            chunks = torch.split(vectors, SCORING_BATCH)
            with deterministic_autocast(self._device, self._precision):
                parts = [self._network(self._transform(chunk, self._device)) for chunk in chunks]
            scores = torch.cat(parts).float().to(vectors.device)
        return torch.where(self._in_train.to(vectors.device), scores, -torch.inf)
