"""Probes that are small networks: `mlp`, `cnn` and `attention`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

import torch

from probebench.api import Features, Fitted, Probe, Trial, hash63
from probebench_probes.networks.training import arithmetic, build, train_network
from probebench_probes.optimization.divergence import diverged
from probebench_probes.options import NetworkOptions
from probebench_probes.preprocessing.maps import Maps, as_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from probebench.api import Metric, Precision, Scalar

CHUNK = 512
"""Images that are scored at a time."""

_Options = TypeVar("_Options", bound=NetworkOptions)


class NetworkProbe(Probe, Generic[_Options]):
    """A network on frozen features, with the learning rate chosen on val.

    A class without a train image is no candidate. A training that diverges gives all images the same score, so that it
    is not chosen where any other does better; if the chosen one does, that is an error.

    Attributes:
        name: Of the probe, for messages.
    """

    name: ClassVar[str]

    def __init__(self, options: _Options) -> None:
        self._options = options
        self._device: str = "cpu"
        self._precision: Precision = "fp32"

    def place(self, device: str, precision: Precision) -> None:
        """Trains and scores there."""
        self._device, self._precision = device, precision

    @abstractmethod
    def network(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network before training, for maps of a shape.

        Raises:
            UsageError: It cannot read features of this shape.
        """

    def tune(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """One trial for each learning rate, in the order of the options."""
        trials = []
        for rate in self._options.learning_rates:
            fitted = self._fitted(train, rate, seed=seed)
            trials.append(Trial({"learning_rate": rate}, metric(fitted.scores(val.vectors), val.labels)))
        return trials

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Trains one network; ``params`` holds ``learning_rate``.

        Raises:
            TrainingError: The training diverges.
        """
        rate = cast("float", params["learning_rate"])
        fitted = self._fitted(train, rate, seed=seed)
        if not fitted.finite:
            raise diverged(self.name, rate)
        return fitted

    def _fitted(self, train: Features, rate: float, *, seed: int) -> FittedNetwork:
        maps = Maps.of(train, self._options.inputs)
        _, *shape = as_map(train.vectors[:1], train.shape).shape
        size = cast("tuple[int, int, int]", tuple(shape))
        network = build(lambda: self.network(size, train.classes), seed=hash63("network", seed))
        finite = train_network(
            network,
            train,
            maps,
            self._options,
            learning_rate=rate,
            seed=seed,
            device=self._device,
            precision=self._precision,
        )
        seen = train.labels.bincount(minlength=train.classes) > 0
        return FittedNetwork(network, maps, seen, self._device, self._precision, finite=finite)


class FittedNetwork(Fitted):
    """A trained network and the classes that it has seen, bool ``(C,)``."""

    logits = True

    def __init__(
        self, network: nn.Module, maps: Maps, seen: Tensor, device: str, precision: Precision, *, finite: bool
    ) -> None:
        self._network, self._maps, self._seen = network, maps, seen
        self._device, self._precision = device, precision
        self.finite = finite

    @torch.no_grad()
    def scores(self, vectors: Tensor) -> Tensor:
        """Logits: float32 ``(N, C)``."""
        scores = torch.zeros(len(vectors), len(self._seen), device=vectors.device)
        if self.finite:
            with arithmetic(self._device, self._precision):
                parts = [self._network(self._maps.read(part, self._device)) for part in torch.split(vectors, CHUNK)]
            scores = torch.cat(parts).float().to(vectors.device)
        return torch.where(self._seen.to(vectors.device), scores, -torch.inf)
