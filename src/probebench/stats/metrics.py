"""Metrics of a classifier, computed from its scores.

A class with a score of minus infinity is no candidate for an image, such as a class without votes in k-NN. Such a class
never counts as correct for any ``k``; otherwise the order of the class numbers would decide the top-5 accuracy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.util.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api.contracts import Metric

ECE = "ece15"
"""Name of the expected calibration error in records. It contains the number of bins."""

ECE_BINS = 15

MetricValues = dict[str, float | list[float | None]]


def predictions(scores: Tensor) -> Tensor:
    """Returns the class with the highest score for each image; the lower class if scores are equal.

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
    """Computes the share of images whose class is among the ``k`` highest scores.

    Args:
        scores: ``(N, C)``; if scores are equal, the lower class ranks higher.
        labels: int64 ``(N,)``.
        k: 1 or more. It may exceed the number of classes, but a class with minus infinity never counts.

    Returns:
        0 to 1.

    Raises:
        PluginError: The scores do not fit the labels, hold NaN, or leave an image without a candidate class.
        ValueError: There are no images, or ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}, but must be 1 or more")
    return int(_hits(scores, labels, k).sum()) / len(labels)


def top1(scores: Tensor, labels: Tensor) -> float:
    """Computes the share of images whose class has the highest score, 0 to 1. Raises what `top_k` raises."""
    return top_k(scores, labels, 1)


def mean_per_class(scores: Tensor, labels: Tensor) -> float:
    """Computes the mean of the top-1 accuracies of the classes that have images.

    All classes have the same weight. This is the usual metric of Flowers-102 and other unbalanced datasets.

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
    """Computes the top-1 accuracy of each class, ``None`` for a class without images. Raises what `top_k` raises."""
    hits = _hits(scores, labels, 1)
    classes = scores.shape[1]
    totals = labels.bincount(minlength=classes).tolist()
    right = labels[hits].bincount(minlength=classes).tolist()
    return [hit / total if total else None for hit, total in zip(right, totals, strict=True)]


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Computes the confusion matrix.

    Args:
        predicted: int64 ``(N,)``.
        labels: int64 ``(N,)``, the true classes.
        classes: Number of classes ``C``.

    Returns:
        int64 ``(C, C)``: numbers of images, with true classes in rows and predicted classes in columns.
    """
    import torch

    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


METRICS: Mapping[str, Metric] = {"top1": top1, "mean_per_class": mean_per_class}
"""Metrics that can be the primary metric of a dataset (`Dataset.metric`)."""


def all_metrics(scores: Tensor, labels: Tensor, *, logits: bool = False) -> MetricValues:
    """Computes all metrics of a record.

    Args:
        scores: ``(N, C)``.
        labels: int64 ``(N,)``.
        logits: Whether softmax over the scores gives probabilities, so that their calibration can be measured.

    Returns:
        ``top1``, ``top3``, ``top5`` and ``mean_per_class`` from 0 to 1, the calibration error of logits, and
        ``per_class``, a list of top-1 accuracies with ``None`` for classes without images.

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
    """Computes the expected calibration error: the mean gap between confidence and accuracy, over bins of confidence.

    The confidence is the largest probability. Bin ``m`` contains confidences above ``(m - 1) / bins`` up to
    ``m / bins``. The gaps between mean confidence and accuracy are weighted by the number of images in each bin.

    Args:
        scores: Logits ``(N, C)``. Minus infinity is a probability of 0.
        labels: int64 ``(N,)``.
        bins: Number of bins, of equal width.

    Returns:
        0 to 1; lower is better.

    Raises:
        PluginError: As `top_k`, or a score is plus infinity, so that softmax is not defined.
        ValueError: There are no images.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On calibration of modern neural networks, ICML (2017),
    section 2, arXiv 1706.04599.
    """
    import torch

    right = _hits(scores, labels, 1).double()
    if (scores == torch.inf).any():
        row = int((scores == torch.inf).any(1).nonzero()[0])
        raise PluginError(
            f"the logits of image {row} contain plus infinity",
            hint="set logits = False on the fitted probe, or return finite logits or minus infinity",
        )
    confidence = scores.double().softmax(1).amax(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=scores.device)
    bin_of_image = torch.bucketize(confidence, edges[1:-1])  # an edge belongs to the bin below it
    gaps = torch.zeros(bins, dtype=torch.float64, device=scores.device).index_add_(0, bin_of_image, right - confidence)
    return float(gaps.abs().sum()) / len(labels)


def _hits(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Returns for each image whether its class is among the ``k`` highest scores: bool ``(N,)``."""
    import torch

    _check_scores(scores)
    if labels.ndim != 1 or len(labels) != len(scores):
        raise PluginError(
            f"the scores have the shape {tuple(scores.shape)}, and there are {len(labels)} labels",
            hint="return scores of shape (images, classes)",
        )
    if not len(labels):
        raise ValueError("there are no images to measure on")
    if int(labels.min()) < 0 or int(labels.max()) >= scores.shape[1]:
        raise PluginError(
            f"labels range from {int(labels.min())} to {int(labels.max())}, but scores have {scores.shape[1]} classes",
            hint="return a column for every class of the dataset, also for classes without train images",
        )
    own = scores.gather(1, labels[:, None])
    lower = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    ahead = (scores > own) | ((scores == own) & lower)
    return (ahead.sum(1) < k) & (own[:, 0] > -torch.inf)


def _check_scores(scores: Tensor) -> None:
    import torch

    if scores.ndim != 2:
        raise PluginError(
            f"the scores have the shape {tuple(scores.shape)}", hint="return scores of shape (images, classes)"
        )
    if scores.isnan().any():
        row = int(scores.isnan().any(1).nonzero()[0])
        raise PluginError(
            f"the scores of image {row} contain NaN", hint="return a number or minus infinity for every class"
        )
    if len(scores) and (scores == -torch.inf).all(1).any():
        row = int((scores == -torch.inf).all(1).nonzero()[0])
        raise PluginError(
            f"all scores of image {row} are minus infinity", hint="return a finite score for at least one class"
        )
