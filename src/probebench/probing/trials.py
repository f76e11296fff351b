"""The trials of a probe at many points, with as many points at a time as fit in memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from probebench.api import PluginError, Scalar, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from probebench.api import Features, Metric, Point, Probe

GROUP_BYTES = 128 << 20
"""Bound of the features that a probe gets in one call, unless a single point exceeds it."""


def search_points(
    probe: Probe,
    points: Iterable[Point],
    parts: Callable[[Point], tuple[Features, Features]],
    *,
    metric: Metric,
    seed: int,
) -> list[tuple[Point, Trial]]:
    """Tries all settings of a probe at all points.

    Args:
        probe: Built and moved to its device.
        points: The points.
        parts: Reads the features of a point to fit on and to measure on; called when that point comes.
        metric: Metric of the trials.
        seed: Of everything random in the fits.

    Returns:
        All trials of the first point, then those of the next.

    Raises:
        PluginError: The probe returns no trials, or trials that a record cannot hold.
    """
    found: list[tuple[Point, Trial]] = []
    group: dict[Point, tuple[Features, Features]] = {}
    held = 0
    for point in points:
        fit_on, held_out = parts(point)
        size = sum(part.nbytes for part in (fit_on.vectors, *fit_on.views, held_out.vectors))
        if group and held + size > GROUP_BYTES:
            found += _search(probe, group, metric, seed)
            group, held = {}, 0
        group[point] = fit_on, held_out
        held += size
    return found + _search(probe, group, metric, seed)


def _search(
    probe: Probe, group: Mapping[Point, tuple[Features, Features]], metric: Metric, seed: int
) -> list[tuple[Point, Trial]]:
    name = type(probe).__name__
    tried = [list(trials) for trials in probe.search_many(list(group.values()), metric=metric, seed=seed)]
    if len(tried) != len(group):
        raise PluginError(
            f"search_many() returns trials of {len(tried)} points, not of {len(group)}",
            where=name,
            hint="return one list for each point",
        )
    if not all(tried):
        raise PluginError("search() returns no trial", where=name, hint="return at least one trial")
    return [(point, checked_trial(trial, name)) for point, trials in zip(group, tried, strict=True) for trial in trials]


def checked_trial(trial: Trial, probe: str) -> Trial:
    """Returns a trial that a record can hold.

    Raises:
        PluginError: Its value or a setting cannot be written.
    """
    value = float(trial.value)
    if not 0 <= value <= 1:
        raise PluginError(
            f"a trial has the value {value}, outside 0 to 1",
            where=probe,
            hint="set Trial.value to the metric on val, from 0 to 1",
        )
    for name, setting in trial.params.items():
        if not isinstance(setting, Scalar) or (isinstance(setting, float) and not math.isfinite(setting)):
            raise PluginError(
                f"a trial has the setting {name}={setting!r}",
                where=probe,
                hint="use a string, a finite number, a bool or None in Trial.params",
            )
    return Trial(dict(trial.params), value)
