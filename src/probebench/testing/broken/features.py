"""Backbones whose features break a requirement. Each docstring describes a mistake of a plugin author."""
# ruff: noqa: ARG002, D102 - the docstring of a class describes its method

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from probebench.api import Batch, Level, Options, Point
from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyBackbone

if TYPE_CHECKING:
    from collections.abc import Sequence

_built = itertools.count()

FeatureMatrices = dict[Point, Tensor]


@breaks("requested_points_are_returned")
class ExtraPoints(ToyBackbone):
    """Returns more points than requested."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        more = [Point("late", point.level, "gap") for point in points]
        return super().extract(batch, [*points, *more], seed=seed)


@breaks("requested_points_are_returned")
class DoublePrecision(ToyBackbone):
    """Returns float64 features."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        return {point: value.double() for point, value in super().extract(batch, points, seed=seed).items()}


@breaks("features_are_finite")
class BlackImagesAreNaN(ToyBackbone):
    """Divides each image by its standard deviation, which is 0 for a black image."""

    def prepare(self, images: Tensor) -> Tensor:
        prepared = super().prepare(images)
        return prepared / prepared.std((1, 2, 3), keepdim=True)


@breaks("batch_size_does_not_matter")
class CentredOverTheBatch(ToyBackbone):
    """Subtracts the mean of the batch from the features."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        features = super().extract(batch, points, seed=seed)
        return {point: value - value.mean(0) for point, value in features.items()}


@breaks("batch_size_does_not_matter")
@breaks("weights_do_not_change")
@breaks("network_is_in_eval_mode")
class LeftInTrainMode(ToyBackbone):
    """Does not call eval(): batch normalisation uses the batch, and changes its running statistics."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.network.train()


@breaks("batch_size_does_not_matter")
@breaks("order_does_not_matter")
class NoisePerBatch(ToyBackbone):
    """Uses one generator for a batch, so that noise depends on the position in the batch."""

    def noisy(self, batch: Batch, level: Level, *, seed: int) -> Tensor:
        images = self.prepare(batch.images)
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
        return images + (level.sigma or 0) * noise


@breaks("other_points_do_not_matter")
class InPlaceActivation(ToyBackbone):
    """Changes the feature map of a tap in place, so that later layers read the changed map."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        if "early" not in {point.tap for point in points}:
            return super().extract(batch, points, seed=seed)
        first = self.network["early"]
        handle = first.register_forward_hook(lambda *call: call[-1].mul_(0.5))
        try:
            return super().extract(batch, points, seed=seed)
        finally:
            handle.remove()


@breaks("repeated_calls_agree")
class NoiseFromACounter(ToyBackbone):
    """Seeds the noise with a counter, so that a repeated run has other features."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._calls = itertools.count()

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        return super().extract(batch, points, seed=seed + next(self._calls))


@breaks("builds_agree")
class UnseededWeights(ToyBackbone):
    """Leaves random weights in a layer that is not in the checkpoint."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        generator = torch.Generator().manual_seed(next(_built))
        nn.init.normal_(next(self.network.parameters()), generator=generator)


@breaks("images_have_different_features")
class ConstantFeatures(ToyBackbone):
    """Has weights of zero, as if the names in a checkpoint did not match, so that features are the bias."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        nn.init.zeros_(next(self.network.parameters()))


@breaks("inputs_are_not_modified")
class PreparesInPlace(ToyBackbone):
    """Inverts images in place."""

    def prepare(self, images: Tensor) -> Tensor:
        return super().prepare(images.mul_(-1).add_(255))


@breaks("inputs_are_not_modified")
class IndexInPlace(ToyBackbone):
    """Changes the index in place."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        batch.index.add_(1)
        return super().extract(batch, points, seed=seed)


@breaks("no_gradient_is_kept")
class KeepsGradients(ToyBackbone):
    """Runs extract() with gradients, so that every feature keeps its graph."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        with torch.inference_mode(mode=False), torch.enable_grad():
            return ToyBackbone.extract.__wrapped__(self, batch, points, seed=seed)  # type: ignore[attr-defined, no-any-return]


@breaks("no_gradient_is_kept")
class DisablesGradients(ToyBackbone):
    """Disables gradients for the whole process."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        torch.set_grad_enabled(False)
        return super().extract(batch, points, seed=seed)


@breaks("network_is_in_eval_mode")
class TrainModeAfterwards(ToyBackbone):
    """Sets train mode after a call."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        self.network.eval()
        features = super().extract(batch, points, seed=seed)
        self.network.train()
        return features


@breaks("random_state_is_untouched")
class NoiseFromTorch(ToyBackbone):
    """Generates noise with the global state of torch."""

    def noisy(self, batch: Batch, level: Level, *, seed: int) -> Tensor:
        images = self.prepare(batch.images)
        return images + (level.sigma or 0) * torch.randn(images.shape)


@breaks("random_state_is_untouched")
class NoiseFromNumpy(ToyBackbone):
    """Generates noise with the global state of numpy."""

    def noisy(self, batch: Batch, level: Level, *, seed: int) -> Tensor:
        images = self.prepare(batch.images)
        noise = np.random.standard_normal(tuple(images.shape))
        return images + (level.sigma or 0) * torch.from_numpy(noise).float()


@breaks("random_state_is_untouched")
class ShufflesWithRandom(ToyBackbone):
    """Shuffles points with the global state of the standard library."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        return super().extract(batch, random.sample(list(points), len(points)), seed=seed)


@breaks("random_state_is_untouched")
class ReadsTheGlobalSeed(ToyBackbone):
    """Uses the global seed, so that features depend on it."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        return super().extract(batch, points, seed=torch.initial_seed())


@breaks("random_state_is_untouched")
class SeedsGlobally(ToyBackbone):
    """Calls torch.manual_seed, which changes the global state."""

    def __init__(self, options: Options | None = None) -> None:
        torch.manual_seed(0)
        torch.rand(1)
        super().__init__(options)


class _Hooked(ToyBackbone):
    """Reads feature maps by forward hooks, and stores them in self."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._read: list[Tensor] = []

    def _remember(self, *call: Any) -> None:  # noqa: ANN401 - the arguments of a hook
        self._read.append(call[-1])


@breaks("failed_call_changes_nothing")
class LeavesHooks(_Hooked):
    """Removes its hooks at the end of extract(), which an error skips."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        handles = [block.register_forward_hook(self._remember) for block in self.network.values()]
        features = super().extract(batch, points, seed=seed)
        for handle in handles:
            handle.remove()
        return features


@breaks("failed_call_changes_nothing")
class KeepsFeatureMaps(_Hooked):
    """Uses the feature maps of a failed forward pass in the next one."""

    def forward(self, images: Tensor, taps: set[str]) -> dict[str, Tensor]:
        first, *rest = self.network.values()
        self._read.append(first(images))
        hidden = self._read[0]
        maps = {"early": hidden}
        for name, block in zip(("late", "head"), rest, strict=True):
            maps[name] = hidden = block(hidden)
        self._read.clear()
        return {name: maps[name] for name in taps}


@breaks("bf16_gives_float32")
class HalfPrecisionFeatures(ToyBackbone):
    """Returns features in the precision of the network."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        kind = next(self.network.parameters()).dtype
        return {point: value.to(kind) for point, value in super().extract(batch, points, seed=seed).items()}


@breaks("weights_do_not_change")
class CountsImagesInABuffer(ToyBackbone):
    """Counts images in a buffer, which is not in the fingerprint."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.seen = torch.zeros(())
        self.counter = nn.Module().eval()
        self.counter.register_buffer("seen", self.seen)

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        self.seen += len(batch.images)
        return super().extract(batch, points, seed=seed)
