"""One cell: a probe fitted on features, chosen on val, measured once on test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench import final_fit, metrics, sweep
from probebench.optimism import trials_on_test
from probebench.parts import divide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api import Point, Probe, Trial
    from probebench.kept_neighbours import Kept
    from probebench.parts import PartUsed, Rows


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out of a cell.

    Attributes:
        trials: All trials of all points, on val.
        chosen: Point and trial that won.
        dim: Length of the chosen feature vector.
        predicted: int64 ``(N,)``, the class given to each test image.
        labels: int64 ``(N,)``, its true class.
        summary: All metrics on test.
        parts: Images used as train, val and test.
        carved: Whether val was taken from train.
        neighbours: Of the images of val and of test at the chosen point, where the probe found some.
        on_test: All trials of all points, on test; empty unless they were asked for.
    """

    trials: tuple[tuple[Point, Trial], ...]
    chosen: tuple[Point, Trial]
    dim: int
    predicted: Tensor
    labels: Tensor
    summary: metrics.Summary
    parts: dict[str, PartUsed]
    carved: bool
    neighbours: Mapping[str, Kept]
    on_test: tuple[tuple[Point, Trial], ...]


def measure(
    probe: Probe, rows: Mapping[str, Rows], *, classes: int, metric: str, seed: int, optimism: bool = False
) -> Outcome:
    """Fits, chooses and measures.

    Args:
        probe: Built and placed.
        rows: By name of the split: ``train`` and ``test``, and ``val`` where there is an official one.
        classes: Number of classes of the dataset.
        metric: Name of the dataset's metric, in `metrics.METRICS`.
        seed: Of the probe and of the carved validation part.
        optimism: Whether all trials are measured on test as well, when all else is done.

    Raises:
        PluginError: The probe gives no trials, trials that are no settings, or scores that cannot be measured.
        UsageError: No validation part can be carved.
    """
    parts = divide(rows, classes, seed=seed)
    primary = metrics.METRICS[metric]
    trials = sweep.trials(probe, parts.points, parts.for_choice, metric=primary, seed=seed)
    chosen = max(trials, key=lambda item: item[1].value)  # max keeps the first of equals
    final = final_fit.at_point(probe, parts, chosen, seed=seed)
    labels = rows["test"].labels
    predicted, summary = metrics.predictions(final.scores), metrics.summary(final.scores, labels, logits=final.logits)
    return Outcome(
        trials=tuple(trials),
        chosen=chosen,
        dim=final.dim,
        predicted=predicted,
        labels=labels,
        summary=summary,
        parts=parts.used(),
        carved=parts.carved,
        neighbours=final.neighbours,
        on_test=tuple(trials_on_test(probe, parts, metric=primary, seed=seed)) if optimism else (),
    )
