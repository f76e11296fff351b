"""What choosing on test would have flattered: every trial on test, after the choice was made on val."""

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
    """All settings at all points, fitted on train and val together and measured on test.

    Nothing of it may decide anything. The probe gets no test label here either: in their place stand zeros, and the
    metric, which alone may look at labels, looks at the true ones. What it warns of is said of settings that nobody
    chose, and is not kept.

    Args:
        probe: Built and placed; the cell's choice and its result are there already.
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
