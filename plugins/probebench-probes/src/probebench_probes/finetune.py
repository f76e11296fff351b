"""The whole backbone up to a tap, trained with a linear layer on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from probebench.api import Trial, Tuned, TuningProbe, hash63
from probebench_probes.networks.training import arithmetic, build, minimise
from probebench_probes.optimization.divergence import diverged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from probebench.api import InputImages, Metric, Precision, Scalar, Tunable
    from probebench_probes.options import FinetuneOptions

CHUNK = 128
"""Images that are scored at a time."""


class Finetune(TuningProbe):
    """Everything up to the tap is trained, at one learning rate, which is chosen on val.

    A class without a train image is no candidate. A training that diverges gives all images the same score while the
    learning rate is chosen, and is an error where it is the chosen one.
    """

    def __init__(self, options: FinetuneOptions) -> None:
        self._options = options
        self._device: str = "cpu"
        self._precision: Precision = "fp32"

    def place(self, device: str, precision: Precision) -> None:
        """Trains and scores there."""
        self._device, self._precision = device, precision

    def tune(
        self, backbone: Tunable, train: InputImages, val: InputImages, *, metric: Metric, seed: int
    ) -> Sequence[Trial]:
        """One trial for each learning rate, in the order of the options."""
        trials = []
        for rate in self._options.learning_rates:
            tuned = self._tuned(backbone, train, rate, seed=seed)
            trials.append(Trial({"learning_rate": rate}, metric(tuned.scores(val), val.labels)))
        return trials

    def fit(self, backbone: Tunable, train: InputImages, params: Mapping[str, Scalar], *, seed: int) -> Tuned:
        """Trains one network; ``params`` holds ``learning_rate``.

        Raises:
            TrainingError: The training diverges.
        """
        rate = cast("float", params["learning_rate"])
        tuned = self._tuned(backbone, train, rate, seed=seed)
        if not tuned.finite:
            raise diverged("finetune", rate)
        return tuned

    def _tuned(self, backbone: Tunable, train: InputImages, rate: float, *, seed: int) -> TunedNetwork:
        network = with_head(backbone, train.classes, seed=seed)
        devices = [torch.device(self._device)] if self._device != "cpu" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(hash63("finetune", seed))  # of the network's own dropout
            finite = minimise(
                network,
                train.labels,
                lambda rows, epoch: train.inputs(rows, epoch).to(self._device),
                self._options,
                learning_rate=rate,
                seed=seed,
                device=self._device,
                precision=self._precision,
            )
        seen = train.labels.bincount(minlength=train.classes) > 0
        return TunedNetwork(network, seen, self._device, self._precision, finite=finite)


def with_head(backbone: Tunable, classes: int, *, seed: int) -> nn.Module:
    """The backbone below a linear layer with the initial weights of PyTorch, drawn from the seed."""
    head = build(lambda: nn.Linear(backbone.width, classes), seed=hash63("network", seed))
    return nn.Sequential(backbone.network(), head)


class TunedNetwork(Tuned):
    """A trained network and the classes that it has seen, bool ``(C,)``."""

    logits = True

    def __init__(self, network: nn.Module, seen: Tensor, device: str, precision: Precision, *, finite: bool) -> None:
        self._network, self._seen = network, seen
        self._device, self._precision = device, precision
        self.finite = finite

    @torch.no_grad()
    def scores(self, images: InputImages) -> Tensor:
        """Logits: float32 ``(N, C)``, on the CPU."""
        scores = torch.zeros(len(images.labels), len(self._seen))
        if self.finite:
            with arithmetic(self._device, self._precision):
                for rows in torch.split(torch.arange(len(images.labels)), CHUNK):
                    scores[rows] = self._network(images.inputs(rows, None).to(self._device)).float().cpu()
        return torch.where(self._seen, scores, -torch.inf)
