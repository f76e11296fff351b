"""Metrics of a classifier, from its scores.

Minus infinity says that a class is no candidate for an image, such as a class that none of the neighbours voted
for. It is never credited, however large ``k`` is: ordering such classes by their number would give top-5 credit for
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.util.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api.contracts import Metric

ECE = "ece15"
"""Name of the calibration error in records: it depends on the number of bins."""

ECE_BINS = 15

Summary = dict[str, float | list[float | None]]


def predictions(scores: Tensor) -> Tensor:
    """The best class of each image; of equal scores the lower class.

    Args:
        scores: ``(N, C)``.

    Returns:
        int64 ``(N,)``.

    Raises:
        PluginError: A score is NaN, or an image has no candidate class.
    """
    _check_scores(scores)
    return scores.argmax(1)


def top_k(scores: Tensor, labels: Tensor, k: int) -> float:
    """Share of images whose class is among the ``k`` best.

    Args:
        scores: ``(N, C)``; of equal scores the lower class counts as better.
        labels: int64 ``(N,)``.
        k: 1 or more. It may exceed the number of classes, but a class whose score is minus infinity is not credited.

    Returns:
        0 to 1.

    Raises:
        PluginError: The scores do not fit the labels, hold NaN, or leave an image without a candidate class.
        ValueError: There are no images, or ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"top-{k}")
    return int(_hits(scores, labels, k).sum()) / len(labels)


def top1(scores: Tensor, labels: Tensor) -> float:
    """Share of images whose class is the best one, 0 to 1. Raises what `top_k` raises."""
    return top_k(scores, labels, 1)


def mean_per_class(scores: Tensor, labels: Tensor) -> float:
    """Mean of the classes' own top-1 shares, over the classes that have images here.

    Every class weighs the same, whatever its number of images: the usual metric of Flowers-102 and other
    unbalanced sets.

    Args:
        scores: ``(N, C)``.
        labels: int64 ``(N,)``.

    Returns:
        0 to 1.

    Raises:
        PluginError: As `top_k`.
        ValueError: There are no images.
    """
    present = [share for share in per_class(scores, labels) if share is not None]
    return sum(present) / len(present)


def per_class(scores: Tensor, labels: Tensor) -> list[float | None]:
    """Top-1 share of each class, ``None`` for a class without images. Raises what `top_k` raises."""
    hits = _hits(scores, labels, 1)
    classes = scores.shape[1]
    totals = labels.bincount(minlength=classes).tolist()
    right = labels[hits].bincount(minlength=classes).tolist()
    return [hit / total if total else None for hit, total in zip(right, totals, strict=True)]


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How often each class was taken for which.

    Args:
        predicted: int64 ``(N,)``.
        labels: int64 ``(N,)``, the true classes.
        classes: Number of classes ``C``.

    Returns:
        int64 ``(C, C)``: numbers of images, true classes in rows and predicted ones in columns.
    """
    import torch

    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


METRICS: Mapping[str, Metric] = {"top1": top1, "mean_per_class": mean_per_class}
"""What a dataset may be ranked by (`Dataset.metric`)."""


def summary(scores: Tensor, labels: Tensor, *, logits: bool = False) -> Summary:
    """All metrics of a record.

    Args:
        scores: ``(N, C)``.
        labels: int64 ``(N,)``.
        logits: Whether softmax over the scores gives probabilities, whose calibration can be measured.

    Returns:
        ``top1``, ``top3``, ``top5`` and ``mean_per_class`` from 0 to 1, of logits also the calibration error, and
        ``per_class``, a list of top-1 shares with ``None`` for classes without images.

    Raises:
        PluginError: As `top_k`.
        ValueError: There are no images.
    """
    return {
        **{f"top{k}": top_k(scores, labels, k) for k in (1, 3, 5)},
        "mean_per_class": mean_per_class(scores, labels),
        "per_class": per_class(scores, labels),
        **({ECE: calibration_error(scores, labels)} if logits else {}),
    }


def calibration_error(scores: Tensor, labels: Tensor, *, bins: int = ECE_BINS) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, in bins of the confidence.

    The confidence is the largest probability, and bin ``m`` holds those above ``(m - 1) / bins`` and up to
    ``m / bins``. The gaps between mean confidence and accuracy are averaged, weighted by the images of each bin.

    Args:
        scores: ``(N, C)``, logits: softmax gives the probabilities. Minus infinity is a probability of 0.
        labels: int64 ``(N,)``.
        bins: Number of bins, of equal width.

    Returns:
        0 to 1; lower is better.

    Raises:
        PluginError: As `top_k`, or a score is plus infinity, which no probability comes from.
        ValueError: There are no images.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On calibration of modern neural networks, ICML (2017),
    section 2, arXiv 1706.04599.
    """
    import torch

    right = _hits(scores, labels, 1).double()
    if (scores == torch.inf).any():
        row = int((scores == torch.inf).any(1).nonzero()[0])
        raise PluginError(
            f"a probe gave image {row} an infinite score", hint="logits are finite or minus infinity: or logits = False"
        )
    confidence = scores.double().softmax(1).amax(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=scores.device)
    found = torch.bucketize(confidence, edges[1:-1])  # an edge belongs to the bin below it
    gaps = torch.zeros(bins, dtype=torch.float64, device=scores.device).index_add_(0, found, right - confidence)
    return float(gaps.abs().sum()) / len(labels)


def _hits(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """For each image whether its class is among the ``k`` best: bool ``(N,)``."""
    import torch

    _check_scores(scores)
    if labels.ndim != 1 or len(labels) != len(scores):
        raise PluginError(
            f"scores of shape {tuple(scores.shape)} for {len(labels)} labels", hint="scores are (images, classes)"
        )
    if not len(labels):
        raise ValueError("no images to measure on")
    if int(labels.min()) < 0 or int(labels.max()) >= scores.shape[1]:
        raise PluginError(
            f"labels reach from {int(labels.min())} to {int(labels.max())}, but scores have {scores.shape[1]} classes",
            hint="scores need a column for every class of the dataset, also for one that is absent from train",
        )
    own = scores.gather(1, labels[:, None])
    lower = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    ahead = (scores > own) | ((scores == own) & lower)
    return (ahead.sum(1) < k) & (own[:, 0] > -torch.inf)


def _check_scores(scores: Tensor) -> None:
    import torch

    if scores.ndim != 2:
        raise PluginError(f"scores of shape {tuple(scores.shape)}", hint="scores are (images, classes)")
    if scores.isnan().any():
        row = int(scores.isnan().any(1).nonzero()[0])
        raise PluginError(
            f"a probe gave the score NaN to image {row}", hint="every score is a number or minus infinity"
        )
    if len(scores) and (scores == -torch.inf).all(1).any():
        row = int((scores == -torch.inf).all(1).nonzero()[0])
        raise PluginError(
            f"a probe gave image {row} no candidate class", hint="one class at least has a score above minus infinity"
        )
