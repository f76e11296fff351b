"""Training of many softmax regressions at once: the heads of a point share every batch, all points share every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import pad, threshold

from probebench.api import Features, hash63
from probebench_probes.optimization.batches import batches
from probebench_probes.optimization.optimizers import Adam, Optimizer, ProximalSgd, Sgd
from probebench_probes.optimization.schedules import Schedule, rate_factor
from probebench_probes.preprocessing.batchnorm import BatchNorm
from probebench_probes.preprocessing.moments import CHUNK_ROWS
from probebench_probes.preprocessing.whitening import FeatureTransform

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

HeadInputs = Literal["standardized", "raw", "batchnorm"]

NEGLIGIBLE = 1e-20
"""A probability below this counts as 0. It cannot change a weight, but once classes are well separated such numbers
become denormal in float32, where processors are slow: training took four times as long."""

STEP_BYTES = 1 << 20
"""Limit for the logits of one step, unless one point alone exceeds it: they should fit in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The training settings that all heads have in common.

    Attributes:
        epochs: Passes over the images.
        batch_size: Images per step; the last batch of an epoch may be smaller.
        inputs: ``standardized`` features, with weights that start at zero; ``raw`` features, or features normalised
            batch by batch (``batchnorm``), both with the initial weights of `torch.nn.Linear`.
        schedule: Schedule of the learning rates.
        optimizer: Optimiser.
        momentum: Momentum of ``sgd``.
    """

    epochs: int
    batch_size: int
    inputs: HeadInputs
    schedule: Schedule
    optimizer: Literal["adam", "sgd"]
    momentum: float


@dataclass(frozen=True, slots=True)
class Heads:
    """Trained heads.

    Attributes:
        weights: float32 ``(H, D, C)``, for `FeatureTransform.scaled`.
        bias: float32 ``(H, C)``.
        transform: Transform of the features that the heads were trained on.
    """

    weights: Tensor
    bias: Tensor
    transform: FeatureTransform

    def scores(self, vectors: Tensor) -> Tensor:
        """Returns the logits of every head: float32 ``(H, N, C)``."""
        parts = [self.transform.scaled(part) @ self.weights for part in torch.split(vectors, CHUNK_ROWS)]
        return torch.cat(parts, 1) + self.bias[:, None]


def initial_weights(dimensions: int, classes: int, inputs: HeadInputs, *, seed: int) -> Tensor:
    """Returns the weights of one head before training, with the bias as last row: float32 ``(D + 1, C)``, on the CPU.

    They are zero for standardised inputs, where training comes close to the optimum from any start. For the others,
    whose training stops far from it, they are uniform within ``1 / sqrt(D)`` as in `torch.nn.Linear`.
    """
    weights = torch.zeros(dimensions + 1, classes)
    if inputs != "standardized":
        bound = 1 / math.sqrt(dimensions)
        weights.uniform_(-bound, bound, generator=torch.Generator().manual_seed(hash63("weights", seed)))
    return weights


def train_heads(
    points: Sequence[Features],
    recipe: Recipe,
    *,
    learning_rates: Sequence[float],
    weight_decays: Sequence[float],
    seed: int,
) -> list[Heads]:
    """Minimises ``cross-entropy + decay / 2 * |weights|^2``, with one head for each pair of learning rate and decay.

    The weights are those of the standardised (or raw) features, and the bias has no decay. A converged head therefore
    equals scikit-learn's ``LogisticRegression(C=1 / (N * decay))`` on the same features. All heads have the same
    initial weights and the same batches: each is what it would be if trained alone.

    Args:
        points: Features to train on; each point gets its own heads. Points of equal shape are trained together.
        recipe: Settings that all heads have in common.
        learning_rates: Learning rate of each head, ``(H,)``.
        weight_decays: Weight decay of each head, ``(H,)``.
        seed: Seed of the initial weights and the batches.

    Returns:
        The heads of each point, in the order of the points.
    """
    trained: dict[int, Heads] = {}
    most = max(1, STEP_BYTES // (4 * recipe.batch_size * len(learning_rates) * max(p.classes for p in points)))
    for group in _groups_of_equal_shape(points):
        calls = math.ceil(len(group) / most)
        for number in range(calls):
            chosen = group[number::calls]
            heads = _train([points[one] for one in chosen], recipe, learning_rates, weight_decays, seed)
            trained |= zip(chosen, heads, strict=True)
    return [trained[number] for number in range(len(points))]


def _groups_of_equal_shape(points: Sequence[Features]) -> Iterable[list[int]]:
    """Returns the numbers of the points, grouped by shape and number of views."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, point in enumerate(points):
        shape = point.vectors.shape, point.classes, point.vectors.device, len(point.views)
        groups.setdefault(shape, []).append(number)
    return groups.values()


def _train(
    points: Sequence[Features], recipe: Recipe, rates: Sequence[float], decays: Sequence[float], seed: int
) -> list[Heads]:
    """Trains the heads of points of one shape, on one copy of the features."""
    (images, dimensions), classes, device = points[0].vectors.shape, points[0].classes, points[0].vectors.device
    heads, labels = len(rates), torch.stack([point.labels for point in points])
    make = FeatureTransform.standardized if recipe.inputs == "standardized" else FeatureTransform.raw
    views, transforms = max(1, len(points[0].views)), []
    # All that a step needs of one image is contiguous.
    rows = torch.empty((views * images, len(points), dimensions + 1), device=device)
    for number, point in enumerate(points):
        vectors = torch.cat(point.views) if point.views else point.vectors
        transforms.append(make(vectors.float()))
        rows[:, number] = transforms[number].whitened(vectors)
    minus_one = torch.full((1, 1, 1, 1), -1.0, device=device).expand(len(points), 1, heads, recipe.batch_size)

    # The heads of a point are side by side in one matrix (C * H, D + 1), so that a step is two batched products.
    # Classes come first: a softmax over adjacent numbers, a few at a time, took four times as long as all the rest.
    start = initial_weights(dimensions, classes, recipe.inputs, seed=seed).to(device)
    weights = start.T.repeat_interleave(heads, 0).repeat(len(points), 1, 1)
    by_row = torch.tensor(rates, device=device).repeat(classes)[:, None]
    norm = BatchNorm(len(points), dimensions, device) if recipe.inputs == "batchnorm" else None
    squares = torch.stack([pad(one.penalty, (0, 1)) for one in transforms])[:, None]
    penalty = squares * torch.tensor(decays, device=device).repeat(classes)[:, None]
    optimizer: Optimizer
    if recipe.optimizer == "adam":
        optimizer = Adam(weights, by_row)
    elif recipe.inputs == "standardized":
        # Along an axis on which the features hardly vary, the penalty is a million times the decay.
        optimizer = ProximalSgd(weights, by_row, recipe.momentum, penalty)
        penalty = torch.zeros_like(penalty)
    else:
        optimizer = Sgd(weights, by_row, recipe.momentum)
    steps = recipe.epochs * math.ceil(images / recipe.batch_size)
    for epoch in range(recipe.epochs):
        for index in batches(images, recipe.batch_size, epoch, seed=seed):
            chosen = index.to(device)
            batch = rows.index_select(0, chosen + epoch % views * images).transpose(0, 1)
            if norm:
                norm.normalise_(batch[..., :-1])
            targets = labels.index_select(1, chosen)[:, None, None].expand(-1, 1, heads, -1)
            logits = (weights @ batch.mT).view(len(points), classes, heads, len(chosen))
            shares = threshold(logits.softmax(1), NEGLIGIBLE, 0.0, inplace=True)
            slopes = shares.scatter_add_(1, targets, minus_one).view(len(points), -1, len(chosen))
            factor = rate_factor(recipe.schedule, epoch=epoch, epochs=recipe.epochs, step=optimizer.steps, steps=steps)
            optimizer.step((penalty * weights).baddbmm_(slopes, batch, alpha=1 / len(chosen)), factor)
    transforms = norm.transforms() if norm else transforms
    return [_heads(matrix, heads, one) for matrix, one in zip(weights, transforms, strict=True)]


def _heads(matrix: Tensor, heads: int, transform: FeatureTransform) -> Heads:
    """Returns the heads in a trained matrix ``(C * H, D + 1)``."""
    weights, bias = transform.scaled_weights(matrix[:, :-1].T), matrix[:, -1].view(-1, heads).T
    by_head = weights.view(len(weights), -1, heads).permute(2, 0, 1)
    return Heads(by_head.contiguous(), bias.contiguous(), transform)
