"""Metrics as records state them: with the interval that each has."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from probebench.records.schema import Measure
from probebench.stats import intervals, metrics

if TYPE_CHECKING:
    from probebench.stats.metrics import MetricValues


def with_intervals(summary: MetricValues, n: int) -> dict[str, Measure]:
    """Returns the measures of a summary, by name.

    Shares of images have a Wilson interval; means over classes or bins are not shares, and have none.

    Args:
        summary: From `metrics.all_metrics`; its list of classes is passed over.
        n: Number of images.
    """
    values = {name: cast("float", value) for name, value in summary.items() if name != "per_class"}
    return {name: _measure(name, value, n) for name, value in values.items()}


def _measure(name: str, value: float, n: int) -> Measure:
    if not name.startswith("top"):
        return Measure(value=value, n=n, method=None, higher_is_better=name != metrics.ECE)
    low, high = intervals.accuracy_interval(round(value * n), n)
    return Measure(value=value, low=low, high=high, n=n, method=intervals.ACCURACY_METHOD)
