"""Components that each break a requirement of fine-tuning. Each docstring describes a mistake of a plugin author."""
# ruff: noqa: D102 - the docstring of a class describes its method

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


@breaks("trainable_matches_extract")
class TrainsWithoutNoise(ToyBackbone):
    """Ignores the level: the network is trained on clean images, and its features are read from noisy ones."""

    def inputs(self, batch: Batch, level: str, *, seed: int) -> Tensor:
        del level, seed
        return self.prepare(batch.images)


@breaks("trainable_matches_extract")
class ReturnsFrozenNetwork(ToyBackbone):
    """Returns the network with frozen weights, which cannot be trained."""

    def trainable(self, point: Point) -> nn.Module:
        return super().trainable(point).requires_grad_(requires_grad=False)


@breaks("trainings_are_usable")
class FinetuningValueInPercent(ToyFinetuning):
    """Returns accuracies in percent."""

    def search(
        self, backbone: FinetunableNetwork, train: InputImages, val: InputImages, *, metric: Metric, seed: int
    ) -> Sequence[Trial]:
        return [
            replace(trial, value=100 * trial.value + 1)
            for trial in super().search(backbone, train, val, metric=metric, seed=seed)
        ]


@breaks("one_seed_gives_one_result")
class UnseededHead(ToyFinetuning):
    """Initialises the head with the global random state."""

    def fit(
        self, backbone: FinetunableNetwork, train: InputImages, params: Mapping[str, Scalar], *, seed: int
    ) -> ToyFinetuned:
        return super().fit(backbone, train, params, seed=seed + int(torch.randint(0, 1 << 30, ())))


@breaks("other_test_images_do_not_matter")
class FinetunedInTrainMode(ToyFinetuning):
    """Leaves batch normalisation in train mode, so that scores depend on the other images."""

    def fit(
        self, backbone: FinetunableNetwork, train: InputImages, params: Mapping[str, Scalar], *, seed: int
    ) -> ToyFinetuned:
        finetuned = super().fit(backbone, train, params, seed=seed)
        finetuned.network.train()
        return finetuned
