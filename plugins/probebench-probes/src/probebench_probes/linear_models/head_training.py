"""Many softmax regressions trained at once: the heads of a point share every batch, and all points share every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import pad, threshold

from probebench.api import Features, hash63
from probebench_probes.optimization.batches import batches
from probebench_probes.optimization.optimizers import Adam, Optimizer, ProximalSgd, Sgd
from probebench_probes.optimization.schedules import Schedule, factor
from probebench_probes.preprocessing.batchnorm import BatchNorm
from probebench_probes.preprocessing.moments import CHUNK
from probebench_probes.preprocessing.whitening import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

HeadInputs = Literal["standardized", "raw", "batchnorm"]

NEGLIGIBLE = 1e-20
"""A probability below this counts as 0. It cannot move a weight, but once classes are well separated such numbers fall
below the normal range of float32, where processors are slow: training took four times as long."""

STEP_BYTES = 1 << 20
"""Bound of the logits of one step, unless one point alone exceeds it: they should stay in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How heads are trained.

    Attributes:
        epochs: Passes over the images.
        batch_size: Images a step; the last batch of an epoch may be smaller.
        inputs: ``standardized`` features, with weights that start at zero; ``raw`` ones, or those that each batch is
            normalised to (``batchnorm``), with the initial weights of `torch.nn.Linear`.
        schedule: Of the learning rates.
        optimizer: What makes the steps.
        momentum: Of ``sgd``.
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
        weights: float32 ``(H, D, C)``, for `Inputs.features`.
        bias: float32 ``(H, C)``.
        inputs: What the heads were trained on.
    """

    weights: Tensor
    bias: Tensor
    inputs: Inputs

    def scores(self, vectors: Tensor) -> Tensor:
        """Logits of every head: float32 ``(H, N, C)``."""
        parts = [self.inputs.features(part) @ self.weights for part in torch.split(vectors, CHUNK)]
        return torch.cat(parts, 1) + self.bias[:, None]


def initial(dimensions: int, classes: int, inputs: HeadInputs, *, seed: int) -> Tensor:
    """Weights of one head before training, the bias as last row: float32 ``(D + 1, C)``, on the CPU.

    Zero for standardised inputs, where training comes near the optimum from any start; for the others, whose training
    stops far from it, uniform within ``1 / sqrt(D)`` as in `torch.nn.Linear`.
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

    The weights are those of the standardised (or raw) features, and the bias is free of decay. So a head that has
    converged is scikit-learn's ``LogisticRegression(C=1 / (N * decay))`` on the same features. All heads start at the
    same weights and see the same batches: each is what it would be if trained alone.

    Args:
        points: What to train on, heads of its own for each. Those of equal shape train together.
        recipe: What the heads have in common.
        learning_rates: Of each head, ``(H,)``.
        weight_decays: Of each head, ``(H,)``.
        seed: Of the initial weights and the batches.

    Returns:
        The heads of each point, in the order of the points.
    """
    trained: dict[int, Heads] = {}
    at_once = max(1, STEP_BYTES // (4 * recipe.batch_size * len(learning_rates) * max(p.classes for p in points)))
    for alike in _alike(points):
        calls = math.ceil(len(alike) / at_once)
        for number in range(calls):
            chosen = alike[number::calls]
            heads = _train([points[one] for one in chosen], recipe, learning_rates, weight_decays, seed)
            trained |= zip(chosen, heads, strict=True)
    return [trained[number] for number in range(len(points))]


def _alike(points: Sequence[Features]) -> Iterable[list[int]]:
    """The numbers of the points of each shape and number of views."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, point in enumerate(points):
        shape = point.vectors.shape, point.classes, point.vectors.device, len(point.views)
        alike.setdefault(shape, []).append(number)
    return alike.values()


def _train(
    points: Sequence[Features], recipe: Recipe, rates: Sequence[float], decays: Sequence[float], seed: int
) -> list[Heads]:
    """Heads of points of one shape. One copy of what they are trained on is made."""
    (images, dimensions), classes, device = points[0].vectors.shape, points[0].classes, points[0].vectors.device
    heads, labels = len(rates), torch.stack([point.labels for point in points])
    make = Inputs.standardized if recipe.inputs == "standardized" else Inputs.raw
    views, inputs = max(1, len(points[0].views)), []
    # All that a step needs of one image lies together.
    rows = torch.empty((views * images, len(points), dimensions + 1), device=device)
    for number, point in enumerate(points):
        trained_on = torch.cat(point.views) if point.views else point.vectors
        inputs.append(make(trained_on.float()))
        rows[:, number] = inputs[number].prepare(trained_on)
    minus_one = torch.full((1, 1, 1, 1), -1.0, device=device).expand(len(points), 1, heads, recipe.batch_size)

    # A point's heads lie side by side in one matrix (C * H, D + 1), so that a step is two batched products. Classes
    # come first: softmax over neighbouring numbers, a few at a time, cost four times as much as all the rest.
    start = initial(dimensions, classes, recipe.inputs, seed=seed).to(device)
    weights = start.T.repeat_interleave(heads, 0).repeat(len(points), 1, 1)
    by_row = torch.tensor(rates, device=device).repeat(classes)[:, None]
    norm = BatchNorm(len(points), dimensions, device) if recipe.inputs == "batchnorm" else None
    squares = torch.stack([pad(one.penalty, (0, 1)) for one in inputs])[:, None]
    penalty = squares * torch.tensor(decays, device=device).repeat(classes)[:, None]
    optimizer: Optimizer
    if recipe.optimizer == "adam":
        optimizer = Adam(weights, by_row)
    elif recipe.inputs == "standardized":
        # Along an axis on which the features hardly differ the penalty is a million times the decay.
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
            now = factor(recipe.schedule, epoch=epoch, epochs=recipe.epochs, step=optimizer.steps, steps=steps)
            optimizer.step((penalty * weights).baddbmm_(slopes, batch, alpha=1 / len(chosen)), now)
    inputs = norm.inputs() if norm else inputs
    return [_heads(matrix, heads, one) for matrix, one in zip(weights, inputs, strict=True)]


def _heads(matrix: Tensor, heads: int, inputs: Inputs) -> Heads:
    """The heads in a trained matrix ``(C * H, D + 1)``."""
    weights, bias = inputs.weights(matrix[:, :-1].T), matrix[:, -1].view(-1, heads).T
    by_head = weights.view(len(weights), -1, heads).permute(2, 0, 1)
    return Heads(by_head.contiguous(), bias.contiguous(), inputs)
