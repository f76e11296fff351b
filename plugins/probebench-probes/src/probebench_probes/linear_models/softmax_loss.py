"""The objective of softmax regression, for many heads on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench_probes.preprocessing.moments import CHUNK_ROWS

if TYPE_CHECKING:
    from torch import Tensor

PART_BYTES = 1 << 20
"""Limit for the logits of one part of the rows: they should fit in the processor's cache."""

NEGLIGIBLE = 1e-20
"""A probability below this, relative to the largest, counts as 0: smaller numbers are denormal in float32, where
processors are slow."""


class SoftmaxLoss:
    """Mean cross-entropy plus ``sum(penalty * weight ** 2) / 2``, and its gradient.

    The products are float32, sums over the rows are float64. The residual of an image at its own class is computed as
    minus the sum of the others, and the loss from that sum, never as a difference from 1: once classes are well
    separated, float32 has no digits left for that difference.

    Args:
        rows: float32 ``(N, D)``.
        labels: int64 ``(N,)``, from 0 to ``classes - 1``.
        classes: Number of classes.
        penalties: float64 ``(H, D)``, the penalty on the weights of each head.
    """

    def __init__(self, rows: Tensor, labels: Tensor, classes: int, penalties: Tensor) -> None:
        self._rows, self._labels, self._classes, self._penalties = rows, labels, classes, penalties
        self._squares = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
        for part in torch.split(rows, CHUNK_ROWS):
            self._squares += part.double().square().sum(0) / len(rows)

    def __call__(self, points: Tensor, heads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns values ``(h,)``, gradients and inverse curvatures ``(h, C * D)`` of some heads, float64.

        The curvature is an estimate of the Hessian's diagonal: the penalty, plus the mean of ``p * (1 - p)`` over
        images and classes times the mean square of a column of the rows. It has to follow the weights: where classes
        are well separated, the loss is almost flat, and an estimate from the start makes L-BFGS many times slower.

        Args:
            points: Weights of the heads, float64 ``(h, C * D)``.
            heads: Numbers of the heads, int64 ``(h,)``.
        """
        shape = (len(heads), self._classes, self._rows.shape[1])
        matrix, penalties = points.view(-1, shape[2]).float(), self._penalties[heads][:, None]
        value, curvature, slopes = (
            torch.zeros_like(points[:, 0]),
            torch.zeros_like(points[:, 0]),
            points.new_zeros(shape),
        )
        size = max(1, PART_BYTES // (4 * len(matrix)))
        for rows, labels in zip(torch.split(self._rows, size), torch.split(self._labels, size), strict=True):
            logits = (matrix @ rows.T).view(len(heads), self._classes, -1)
            loss, residuals, spread = _cross_entropy(logits, labels)
            value += loss.sum(1, dtype=torch.float64)
            curvature += spread.sum(1, dtype=torch.float64)
            slopes += (residuals.view(len(matrix), -1) @ rows).view(shape)
        decay = penalties * points.view(shape)
        value = value / len(self._rows) + (decay * points.view(shape)).sum((1, 2)) / 2
        diagonal = (curvature / len(self._rows) / self._classes)[:, None, None] * self._squares + penalties
        inverse = 1 / diagonal.clamp_min(torch.finfo(torch.float32).tiny)
        return value, (slopes / len(self._rows) + decay).flatten(1), inverse.expand(shape).flatten(1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns losses ``(h, n)``, residuals ``(h, C, n)`` and sums of ``p * (1 - p)``, ``(h, n)``; overwrites logits."""
    own = labels.expand(len(logits), 1, -1)
    logits -= logits.amax(1, keepdim=True)
    target = logits.gather(1, own)
    shares = torch.threshold_(logits.exp_(), NEGLIGIBLE, 0.0).scatter_(1, own, 0.0)
    others = shares.sum(1, keepdim=True)
    total = others + target.exp()
    wrong = others / total
    residuals = shares.div_(total).scatter_(1, own, -wrong)
    spread = 2 * wrong[:, 0] - torch.einsum("hcn,hcn->hn", residuals, residuals)
    return ((others + target.expm1()).log1p_() - target)[:, 0], residuals, spread
