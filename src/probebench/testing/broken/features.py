"""Backbones whose features break a law. Each docstring says what a plugin author may have done."""
# ruff: noqa: ARG002, D102 - a class says what is wrong with its method

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


@breaks("asked_points_come_back")
class PointsNobodyAskedFor(ToyBackbone):
    """All taps come back, whatever was asked."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        more = [Point("late", point.level, "gap") for point in points]
        return super().extract(batch, [*points, *more], seed=seed)


@breaks("asked_points_come_back")
class DoublePrecision(ToyBackbone):
    """Features come back as float64."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        return {point: value.double() for point, value in super().extract(batch, points, seed=seed).items()}


@breaks("features_are_finite")
class BlackImagesAreNaN(ToyBackbone):
    """Each image is divided by its own deviation, which is 0 for a black one."""

    def prepare(self, images: Tensor) -> Tensor:
        prepared = super().prepare(images)
        return prepared / prepared.std((1, 2, 3), keepdim=True)


@breaks("batch_size_does_not_matter")
class CentredOverTheBatch(ToyBackbone):
    """Features are centred with the mean of the batch they came in."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        features = super().extract(batch, points, seed=seed)
        return {point: value - value.mean(0) for point, value in features.items()}


@breaks("batch_size_does_not_matter")
@breaks("weights_do_not_change")
@breaks("network_is_in_eval_mode")
class LeftInTrainMode(ToyBackbone):
    """Nobody called eval(): batch normalisation uses the batch, and changes its running statistics."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.network.train()


@breaks("batch_size_does_not_matter")
@breaks("order_does_not_matter")
class NoisePerBatch(ToyBackbone):
    """One generator per batch: the noise of an image depends on its place in the batch."""

    def noisy(self, batch: Batch, level: Level, *, seed: int) -> Tensor:
        images = self.prepare(batch.images)
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
        return images + (level.sigma or 0) * noise


@breaks("other_points_do_not_matter")
class InPlaceActivation(ToyBackbone):
    """A tap that is read rectifies the map in place, and later layers see it."""

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
class CountsItsCalls(ToyBackbone):
    """The noise comes from a counter instead of the seed: a repeated run gives other features."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._calls = itertools.count()

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        return super().extract(batch, points, seed=seed + next(self._calls))


@breaks("builds_agree")
class UnseededWeights(ToyBackbone):
    """A layer that the checkpoint lacks keeps its random weights."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        generator = torch.Generator().manual_seed(next(_built))
        nn.init.normal_(next(self.network.parameters()), generator=generator)


@breaks("images_are_told_apart")
class ReadsItsBias(ToyBackbone):
    """Weights of zero, as after a checkpoint whose names did not match: features are the bias."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        nn.init.zeros_(next(self.network.parameters()))


@breaks("inputs_are_not_modified")
class PreparesInPlace(ToyBackbone):
    """Images are inverted in the caller's memory."""

    def prepare(self, images: Tensor) -> Tensor:
        return super().prepare(images.mul_(-1).add_(255))


@breaks("inputs_are_not_modified")
class ShiftsTheIndex(ToyBackbone):
    """The positions are offset in the caller's memory."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        batch.index.add_(1)
        return super().extract(batch, points, seed=seed)


@breaks("no_gradient_is_kept")
class KeepsTheGraph(ToyBackbone):
    """extract() runs with gradients, and every stored feature holds on to its graph."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        with torch.inference_mode(mode=False), torch.enable_grad():
            return ToyBackbone.extract.__wrapped__(self, batch, points, seed=seed)  # type: ignore[attr-defined, no-any-return]


@breaks("no_gradient_is_kept")
class SwitchesGradientsOff(ToyBackbone):
    """Gradients are switched off for the whole process."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        torch.set_grad_enabled(False)
        return super().extract(batch, points, seed=seed)


@breaks("network_is_in_eval_mode")
class TrainModeAfterwards(ToyBackbone):
    """The mode is "restored" to train after the first call."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        self.network.eval()
        features = super().extract(batch, points, seed=seed)
        self.network.train()
        return features


@breaks("random_state_is_untouched")
class DrawsFromTorch(ToyBackbone):
    """Noise from torch.randn: it depends on everything that was drawn before."""

    def noisy(self, batch: Batch, level: Level, *, seed: int) -> Tensor:
        images = self.prepare(batch.images)
        return images + (level.sigma or 0) * torch.randn(images.shape)


@breaks("random_state_is_untouched")
class DrawsFromNumpy(ToyBackbone):
    """Noise from numpy's global state."""

    def noisy(self, batch: Batch, level: Level, *, seed: int) -> Tensor:
        images = self.prepare(batch.images)
        noise = np.random.standard_normal(tuple(images.shape))
        return images + (level.sigma or 0) * torch.from_numpy(noise).float()


@breaks("random_state_is_untouched")
class ShufflesWithRandom(ToyBackbone):
    """An order is drawn from the standard library, and undone again."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        return super().extract(batch, random.sample(list(points), len(points)), seed=seed)


@breaks("random_state_is_untouched")
class ReadsTheGlobalSeed(ToyBackbone):
    """The state is put back, but the features still depend on what it was."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        return super().extract(batch, points, seed=torch.initial_seed())


@breaks("random_state_is_untouched")
class SeedsTheProcess(ToyBackbone):
    """The build calls torch.manual_seed, and resets everybody's random numbers."""

    def __init__(self, options: Options | None = None) -> None:
        torch.manual_seed(0)
        torch.rand(1)
        super().__init__(options)


class _Hooked(ToyBackbone):
    """Reads its maps by forward hooks, and keeps them in self."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._read: list[Tensor] = []

    def _remember(self, *call: Any) -> None:  # noqa: ANN401 - what torch hands to a hook
        self._read.append(call[-1])


@breaks("failed_call_leaves_no_trace")
class LeavesItsHooks(_Hooked):
    """Hooks are removed at the end of extract(), which a failing forward pass never reaches."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        handles = [block.register_forward_hook(self._remember) for block in self.network.values()]
        features = super().extract(batch, points, seed=seed)
        for handle in handles:
            handle.remove()
        return features


@breaks("failed_call_leaves_no_trace")
class LeavesItsMaps(_Hooked):
    """What a failed pass has read is taken for a part of the next one."""

    def forward(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        first, *rest = self.network.values()
        self._read.append(first(images))
        hidden = self._read[0]
        maps = {"early": hidden}
        for name, block in zip(("late", "head"), rest, strict=True):
            maps[name] = hidden = block(hidden)
        self._read.clear()
        return {name: maps[name] for name in wanted}


@breaks("bf16_gives_float32")
class HalfPrecisionFeatures(ToyBackbone):
    """Features stay in the type of the network."""

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        kind = next(self.network.parameters()).dtype
        return {point: value.to(kind) for point, value in super().extract(batch, points, seed=seed).items()}


@breaks("weights_do_not_change")
class LearnsWhileItReads(ToyBackbone):
    """A buffer outside the fingerprint counts the images seen."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.seen = torch.zeros(())
        self.counter = nn.Module().eval()
        self.counter.register_buffer("seen", self.seen)

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> FeatureMatrices:
        self.seen += len(batch.images)
        return super().extract(batch, points, seed=seed)
