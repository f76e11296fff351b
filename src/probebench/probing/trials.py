"""The trials of a probe at many points, as many at a time as fit in memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from probebench.api import PluginError, Scalar, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from probebench.api import Features, Metric, Point, Probe

GROUP_BYTES = 128 << 20
"""Bound of the features that are handed to a probe at once, unless those of one point alone exceed it."""


def trials(
    probe: Probe,
    points: Iterable[Point],
    parts: Callable[[Point], tuple[Features, Features]],
    *,
    metric: Metric,
    seed: int,
) -> list[tuple[Point, Trial]]:
    """Tries all settings of a probe at all points.

    Args:
        probe: Built and placed.
        points: Where.
        parts: What to fit on and what to measure on, read when it is a point's turn.
        metric: Of the trials.
        seed: Of everything random in the fits.

    Returns:
        All trials of the first point, then those of the next.

    Raises:
        PluginError: The probe gives no trials, or some that no record can hold.
    """
    found: list[tuple[Point, Trial]] = []
    group: dict[Point, tuple[Features, Features]] = {}
    held = 0
    for point in points:
        fit_on, held_out = parts(point)
        size = sum(part.nbytes for part in (fit_on.vectors, *fit_on.views, held_out.vectors))
        if group and held + size > GROUP_BYTES:
            found += _tune(probe, group, metric, seed)
            group, held = {}, 0
        group[point] = fit_on, held_out
        held += size
    return found + _tune(probe, group, metric, seed)


def _tune(
    probe: Probe, group: Mapping[Point, tuple[Features, Features]], metric: Metric, seed: int
) -> list[tuple[Point, Trial]]:
    name = type(probe).__name__
    tried = [list(trials) for trials in probe.search_many(list(group.values()), metric=metric, seed=seed)]
    if len(tried) != len(group):
        raise PluginError(
            f"search_many() gives trials of {len(tried)} points, not {len(group)}", where=name, hint="one list a point"
        )
    if not all(tried):
        raise PluginError("the probe tried nothing", where=name, hint="search() gives one or more")
    return [(point, checked_trial(trial, name)) for point, trials in zip(group, tried, strict=True) for trial in trials]


def checked_trial(trial: Trial, probe: str) -> Trial:
    """A trial as a record can hold it."""
    value = float(trial.value)
    if not 0 <= value <= 1:
        raise PluginError(f"a trial has the value {value}, not one from 0 to 1", where=probe)
    for name, setting in trial.params.items():
        if not isinstance(setting, Scalar) or (isinstance(setting, float) and not math.isfinite(setting)):
            raise PluginError(
                f"a trial has the setting {name}={setting!r}", where=probe, hint="a text, finite number, truth or None"
            )
    return Trial(dict(trial.params), value)
