"""Backbones and probes that each break a law of training. Each docstring says what a plugin author may have done."""
# ruff: noqa: D102 - a class says what is wrong with its method

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyBackbone, ToyFinetuned, ToyFinetuning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from probebench.api import Batch, FinetunableNetwork, InputImages, Metric, Point, Scalar, Trial


@breaks("trainable_gives_what_extract_gives")
class TrainsWithoutNoise(ToyBackbone):
    """Forgot the level: the network is trained on clean images, and probed on noisy ones."""

    def inputs(self, batch: Batch, level: str, *, seed: int) -> Tensor:
        del level, seed
        return self.prepare(batch.images)


@breaks("trainable_gives_what_extract_gives")
class HandsOutTheFrozenOne(ToyBackbone):
    """Gave the network as it is used for features, in which nothing can be trained."""

    def trainable(self, point: Point) -> nn.Module:
        return super().trainable(point).requires_grad_(requires_grad=False)


@breaks("trainings_are_usable")
class PercentInsteadOfShare(ToyFinetuning):
    """Gave accuracies in percent."""

    def search(
        self, backbone: FinetunableNetwork, train: InputImages, val: InputImages, *, metric: Metric, seed: int
    ) -> Sequence[Trial]:
        return [
            replace(trial, value=100 * trial.value + 1)
            for trial in super().search(backbone, train, val, metric=metric, seed=seed)
        ]


@breaks("a_seed_trains_the_same_again")
class HeadOfTheDay(ToyFinetuning):
    """Drew the head's weights from the global random state."""

    def fit(
        self, backbone: FinetunableNetwork, train: InputImages, params: Mapping[str, Scalar], *, seed: int
    ) -> ToyFinetuned:
        return super().fit(backbone, train, params, seed=seed + int(torch.randint(0, 1 << 30, ())))


@breaks("an_image_is_scored_alone")
class LeftInTraining(ToyFinetuning):
    """Left normalisation in training mode: an image is normalised by those beside it."""

    def fit(
        self, backbone: FinetunableNetwork, train: InputImages, params: Mapping[str, Scalar], *, seed: int
    ) -> ToyFinetuned:
        tuned = super().fit(backbone, train, params, seed=seed)
        tuned.network.train()
        return tuned
