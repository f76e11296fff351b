"""The bias of a choice on test: every trial is measured on test, after the choice was made on val."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from probebench.api import ProbebenchWarning
from probebench.probing.trials import search_points

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import Features, Metric, Point, Probe, Trial
    from probebench.probing.data import Parts


def trials_on_test(probe: Probe, parts: Parts, *, metric: Metric, seed: int) -> list[tuple[Point, Trial]]:
    """Fits all settings at all points on train and val together, and measures them on test.

    The result must not influence any choice. The probe gets zeros in place of the test labels; only the metric reads
    the true ones. Warnings are dropped, because they are about settings that were not chosen.

    Args:
        probe: Built and moved to its device; the choice and the result of the cell exist already.
        parts: The images.
        metric: The dataset's metric.
        seed: Of everything random in the fits.

    Raises:
        PluginError: As `search_points`.
    """
    test = parts.rows["test"]

    def on_test(scores: Tensor, _: Tensor) -> float:
        return metric(scores, test.labels.to(scores.device))

    def both(point: Point) -> tuple[Features, Features]:
        unlabelled = torch.zeros_like(test.labels)
        return parts.for_last_fit(point), test.part(point, test.features[point].read(), unlabelled, parts.classes)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbebenchWarning)
        return search_points(probe, parts.points, both, metric=on_test, seed=seed)
