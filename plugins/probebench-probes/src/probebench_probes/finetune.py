"""`finetune`: the backbone up to a tap, trained together with a linear layer on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from probebench.api import FinetunedNetwork, FinetuningProbe, Trial, hash63
from probebench_probes.networks.training import build_seeded, deterministic_autocast, train_network
from probebench_probes.optimization.divergence import divergence_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from probebench.api import FinetunableNetwork, InputImages, Metric, Precision, Scalar
    from probebench_probes.options import FinetuneOptions

SCORING_BATCH = 128
"""Images that are scored at a time."""


class Finetune(FinetuningProbe):
    """Trains everything up to the tap at one learning rate, which is chosen on val.

    A class without train images is never predicted. A training that diverges gives all images the same score while the
    learning rate is chosen; if it is chosen, `fit` raises an error.
    """

    def __init__(self, options: FinetuneOptions) -> None:
        self._options = options
        self._device: str = "cpu"
        self._precision: Precision = "fp32"

    def move_to(self, device: str, precision: Precision) -> None:
        """Sets the device and the precision of training and scoring."""
        self._device, self._precision = device, precision

    def search(
        self, backbone: FinetunableNetwork, train: InputImages, val: InputImages, *, metric: Metric, seed: int
    ) -> Sequence[Trial]:
        """Returns one trial for each learning rate, in the order of the options."""
        trials = []
        for rate in self._options.learning_rates:
            finetuned = self._train(backbone, train, rate, seed=seed)
            trials.append(Trial({"learning_rate": rate}, metric(finetuned.scores(val), val.labels)))
        return trials

    def fit(
        self, backbone: FinetunableNetwork, train: InputImages, params: Mapping[str, Scalar], *, seed: int
    ) -> FinetunedNetwork:
        """Trains one network; ``params`` holds ``learning_rate``.

        Raises:
            TrainingError: The training diverges.
        """
        rate = cast("float", params["learning_rate"])
        finetuned = self._train(backbone, train, rate, seed=seed)
        if not finetuned.finite:
            raise divergence_error("finetune", rate)
        return finetuned

    def _train(self, backbone: FinetunableNetwork, train: InputImages, rate: float, *, seed: int) -> FinetunedBackbone:
        network = with_head(backbone, train.classes, seed=seed)
        devices = [torch.device(self._device)] if self._device != "cpu" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(hash63("finetune", seed))  # for the dropout of the network
            finite = train_network(
                network,
                train.labels,
                lambda rows, epoch: train.inputs(rows, epoch).to(self._device),
                self._options,
                learning_rate=rate,
                seed=seed,
                device=self._device,
                precision=self._precision,
            )
        in_train = train.labels.bincount(minlength=train.classes) > 0
        return FinetunedBackbone(network, in_train, self._device, self._precision, finite=finite)


def with_head(backbone: FinetunableNetwork, classes: int, *, seed: int) -> nn.Module:
    """Returns the backbone with a linear layer on top, whose initial weights are PyTorch's and depend on the seed."""
    head = build_seeded(lambda: nn.Linear(backbone.width, classes), seed=hash63("network", seed))
    return nn.Sequential(backbone.network(), head)


class FinetunedBackbone(FinetunedNetwork):
    """A trained network, and the classes that have train images, bool ``(C,)``."""

    logits = True

    def __init__(
        self, network: nn.Module, in_train: Tensor, device: str, precision: Precision, *, finite: bool
    ) -> None:
        self._network, self._in_train = network, in_train
        self._device, self._precision = device, precision
        self.finite = finite

    @torch.no_grad()
    def scores(self, images: InputImages) -> Tensor:
        """Returns the logits: float32 ``(N, C)``, on the CPU."""
        scores = torch.zeros(len(images.labels), len(self._in_train))
        if self.finite:
            with deterministic_autocast(self._device, self._precision):
                for rows in torch.split(torch.arange(len(images.labels)), SCORING_BATCH):
                    scores[rows] = self._network(images.inputs(rows, None).to(self._device)).float().cpu()
        return torch.where(self._in_train, scores, -torch.inf)
