"""One cell: a probe fitted on features, chosen on val, measured once on test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.probing import refit
from probebench.probing.data import divide
from probebench.probing.test_bias import trials_on_test
from probebench.probing.trials import search_points
from probebench.stats import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from probebench.api import Point, Probe, Trial
    from probebench.probing.data import PartUsed, Rows
    from probebench.store.neighbours import StoredNeighbours


@dataclass(frozen=True, kw_only=True)
class ProbeOutcome:
    """The result of a cell.

    Attributes:
        trials: All trials of all points, on val.
        chosen: The chosen point and trial.
        dim: Length of the chosen feature vector.
        predicted: int64 ``(N,)``, predicted class of each test image.
        labels: int64 ``(N,)``, true class of each test image.
        summary: All metrics on test.
        parts: Images used as train, val and test.
        carved: Whether val was taken from train.
        neighbours: Of the val and test images at the chosen point, for probes that search neighbours.
        on_test: All trials of all points, on test; empty unless requested.
        voters: Of a soft vote, the trials at the chosen tap whose probabilities were averaged; else empty.
    """

    trials: tuple[tuple[Point, Trial], ...]
    chosen: tuple[Point, Trial]
    dim: int
    predicted: Tensor
    labels: Tensor
    summary: metrics.MetricValues
    parts: dict[str, PartUsed]
    carved: bool
    neighbours: Mapping[str, StoredNeighbours]
    on_test: tuple[tuple[Point, Trial], ...]
    voters: tuple[tuple[Point, Trial], ...]


def probe_features(
    probe: Probe,
    rows: Mapping[str, Rows],
    *,
    classes: int,
    metric: str,
    seed: int,
    optimism: bool = False,
    soft_vote: bool = False,
) -> ProbeOutcome:
    """Fits a probe, chooses point and setting on val, and measures on test.

    Args:
        probe: Built and moved to its device.
        rows: By name of the split: ``train`` and ``test``, and ``val`` where there is an official one.
        classes: Number of classes of the dataset.
        metric: Name of the dataset's metric, in `metrics.METRICS`.
        seed: Of the probe and of the carved validation part.
        optimism: Whether all trials are measured on test as well, after everything else.
        soft_vote: Whether all levels at the chosen tap vote, by the mean of their probabilities.

    Raises:
        PluginError: The probe returns no trials, invalid trials, or scores that cannot be measured.
        UsageError: No validation part can be carved, or the probe gives no probabilities for a soft vote.
    """
    parts = divide(rows, classes, seed=seed)
    primary = metrics.METRICS[metric]
    trials = search_points(probe, parts.points, parts.for_choice, metric=primary, seed=seed)
    chosen = max(trials, key=lambda item: item[1].value)  # max keeps the first of equals
    voters = _best_at_tap(trials, chosen[0].tap) if soft_vote else ()
    if voters:
        final = refit.soft_vote(probe, parts, voters, seed=seed)
    else:
        final = refit.at_point(probe, parts, chosen, seed=seed)
    labels = rows["test"].labels
    predicted = metrics.predictions(final.scores)
    summary = metrics.all_metrics(final.scores, labels, logits=final.logits)
    return ProbeOutcome(
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
        voters=voters,
    )


def _best_at_tap(trials: Sequence[tuple[Point, Trial]], tap: str) -> tuple[tuple[Point, Trial], ...]:
    """Returns the best trial on val at each point of a tap; of equal trials the first."""
    best: dict[Point, Trial] = {}
    for point, trial in trials:
        if point.tap == tap and (point not in best or trial.value > best[point].value):
            best[point] = trial
    return tuple(best.items())
