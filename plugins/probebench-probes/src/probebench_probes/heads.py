"""Many softmax regressions trained at once: they share every batch, so one matrix product serves all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import threshold

from probebench.api import Features, hash63
from probebench_probes.inputs import CHUNK, Inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8

NEGLIGIBLE = 1e-20
"""A probability below this counts as 0. It cannot move a weight, but once classes are well separated such numbers fall
below the normal range of float32, where processors are slow: training took four times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How heads are trained.

    Attributes:
        epochs: Passes over the images.
        batch_size: Images a step; the last batch of an epoch may be smaller.
        inputs: ``standardized`` features, with weights that start at zero, or ``raw`` ones, with the initial weights of
            `torch.nn.Linear`.
        schedule: ``cosine`` lowers the learning rates from step to step towards 0.
    """

    epochs: int
    batch_size: int
    inputs: Literal["standardized", "raw"]
    schedule: Literal["cosine", "constant"]


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


def batches(images: int, batch_size: int, epoch: int, *, seed: int) -> Iterator[Tensor]:
    """The positions of each batch of an epoch: int64, on the CPU, every image once."""
    generator = torch.Generator().manual_seed(hash63("batches", seed, epoch))
    yield from torch.split(torch.randperm(images, generator=generator), batch_size)


def initial(dimensions: int, classes: int, inputs: Literal["standardized", "raw"], *, seed: int) -> Tensor:
    """Weights of one head before training, the bias as last row: float32 ``(D + 1, C)``, on the CPU.

    Zero for standardised inputs, where the loss is convex and any start would do; for raw inputs, whose training stops
    far from the optimum, uniform within ``1 / sqrt(D)`` as in `torch.nn.Linear`.
    """
    weights = torch.zeros(dimensions + 1, classes)
    if inputs == "raw":
        bound = 1 / math.sqrt(dimensions)
        weights.uniform_(-bound, bound, generator=torch.Generator().manual_seed(hash63("weights", seed)))
    return weights


def train_heads(
    features: Features, recipe: Recipe, *, learning_rates: Sequence[float], weight_decays: Sequence[float], seed: int
) -> Heads:
    """Minimises ``cross-entropy + decay / 2 * |weights|^2``, with one head for each pair of learning rate and decay.

    The weights are those of the standardised (or raw) features, and the bias is free of decay. So a head that has
    converged is scikit-learn's ``LogisticRegression(C=1 / (N * decay))`` on the same features. All heads start at the
    same weights and see the same batches: each is what it would be if trained alone.

    Args:
        features: What to train on. One copy of the vectors is made.
        recipe: What the heads have in common.
        learning_rates: Of each head, ``(H,)``.
        weight_decays: Of each head, ``(H,)``.
        seed: Of the initial weights and the batches.
    """
    device, (images, dimensions) = features.vectors.device, features.vectors.shape
    heads, classes = len(learning_rates), features.classes
    make = Inputs.standardized if recipe.inputs == "standardized" else Inputs.raw
    inputs = make(features.vectors.float())
    rows = inputs.prepare(features.vectors)
    targets = features.labels[:, None, None].expand(-1, heads, 1)
    minus_one = torch.full((1, 1, 1), -1.0, device=device).expand(recipe.batch_size, heads, 1)

    # One matrix (D + 1, H * C) holds all heads side by side, so that a step is two plain matrix products.
    weights = initial(dimensions, classes, recipe.inputs, seed=seed).to(device).repeat(1, heads)
    adam = Adam(weights, torch.tensor(learning_rates, device=device).repeat_interleave(classes))
    decays = torch.tensor(weight_decays, device=device).repeat_interleave(classes)
    penalty = torch.cat([inputs.penalty, torch.zeros(1, device=device)])[:, None] * decays
    steps = recipe.epochs * math.ceil(images / recipe.batch_size)
    for epoch in range(recipe.epochs):
        for index in batches(images, recipe.batch_size, epoch, seed=seed):
            chosen = index.to(device)
            batch = rows[chosen]
            logits = (batch @ weights).view(len(chosen), heads, classes)
            shares = threshold(logits.softmax(2), NEGLIGIBLE, 0.0, inplace=True)
            slopes = shares.scatter_add_(2, targets[chosen], minus_one).div_(len(chosen))
            factor = (1 + math.cos(math.pi * adam.steps / steps)) / 2 if recipe.schedule == "cosine" else 1.0
            adam.step((batch.T @ slopes.flatten(1)).addcmul_(penalty, weights), factor)
    by_head = torch.cat([inputs.weights(weights[:-1]), weights[-1:]]).view(dimensions + 1, heads, classes)
    return Heads(by_head[:-1].transpose(0, 1).contiguous(), by_head[-1].contiguous(), inputs)


class Adam:
    """Adam on a matrix whose columns have learning rates of their own.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015.

    Args:
        weights: ``(D, K)``, changed in place.
        rates: Learning rate of each column, ``(K,)``.

    Attributes:
        steps: Updates done.
    """

    def __init__(self, weights: Tensor, rates: Tensor) -> None:
        self._weights, self._rates = weights, rates
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)
        self.steps = 0

    def step(self, gradient: Tensor, factor: float) -> None:
        """One update, with all learning rates times `factor`."""
        self.steps += 1
        self._mean.lerp_(gradient, 1 - BETAS[0])
        self._square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        size = (self._square / (1 - BETAS[1] ** self.steps)).sqrt_().add_(EPSILON)
        self._weights -= (self._mean / size).mul_(self._rates * (factor / (1 - BETAS[0] ** self.steps)))
