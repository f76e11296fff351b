"""One cell: a probe fitted on features, chosen on val, measured once on test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.probing import refit
from probebench.probing import trials as candidates
from probebench.probing.data import divide
from probebench.probing.test_bias import trials_on_test
from probebench.stats import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from probebench.api import Point, Probe, Trial
    from probebench.probing.data import PartUsed, Rows
    from probebench.store.neighbours import StoredNeighbours


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


def measure(
    probe: Probe,
    rows: Mapping[str, Rows],
    *,
    classes: int,
    metric: str,
    seed: int,
    optimism: bool = False,
    soft_vote: bool = False,
) -> Outcome:
    """Fits, chooses and measures.

    Args:
        probe: Built and placed.
        rows: By name of the split: ``train`` and ``test``, and ``val`` where there is an official one.
        classes: Number of classes of the dataset.
        metric: Name of the dataset's metric, in `metrics.METRICS`.
        seed: Of the probe and of the carved validation part.
        optimism: Whether all trials are measured on test as well, when all else is done.
        soft_vote: Whether all levels at the chosen tap vote, by the mean of their probabilities.

    Raises:
        PluginError: The probe gives no trials, trials that are no settings, or scores that cannot be measured.
        UsageError: No validation part can be carved, or the probe states no probabilities for a soft vote.
    """
    parts = divide(rows, classes, seed=seed)
    primary = metrics.METRICS[metric]
    trials = candidates.trials(probe, parts.points, parts.for_choice, metric=primary, seed=seed)
    chosen = max(trials, key=lambda item: item[1].value)  # max keeps the first of equals
    voters = _best_at_tap(trials, chosen[0].tap) if soft_vote else ()
    if voters:
        final = refit.soft_vote(probe, parts, voters, seed=seed)
    else:
        final = refit.at_point(probe, parts, chosen, seed=seed)
    labels = rows["test"].labels
    predicted, summary = (
        metrics.predictions(final.scores),
        metrics.all_metrics(final.scores, labels, logits=final.logits),
    )
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
        voters=voters,
    )


def _best_at_tap(trials: Sequence[tuple[Point, Trial]], tap: str) -> tuple[tuple[Point, Trial], ...]:
    """The best trial on val at each point of a tap; of equal ones the first."""
    best: dict[Point, Trial] = {}
    for point, trial in trials:
        if point.tap == tap and (point not in best or trial.value > best[point].value):
            best[point] = trial
    return tuple(best.items())
