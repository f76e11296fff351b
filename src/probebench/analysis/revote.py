"""`probebench score`: any vote of the neighbours that a record has kept, without features and without plugins."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

from probebench.api import UsageError, neighbour_votes
from probebench.probing.measures import with_intervals
from probebench.stats import metrics
from probebench.store.neighbours import load_neighbours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from probebench.records.schema import Measure, Record
    from probebench.store.neighbours import StoredNeighbours

Vote = Literal["temperature", "uniform"]

KS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Setting:
    """One way to count votes.

    Attributes:
        vote: ``temperature``: a vote is exp(similarity / temperature); ``uniform``: one each.
        temperature: None for uniform votes.
        k: How many neighbours vote.
    """

    vote: Vote
    temperature: float | None
    k: int


@dataclass(frozen=True)
class Scored:
    """What a setting gives at the point of the record.

    Attributes:
        setting: How votes were counted.
        val: The primary metric on val, of neighbours among the train images that are not in val.
        test: All metrics on test, of neighbours among train and val together.
    """

    setting: Setting
    val: float
    test: dict[str, Measure]


def score(
    record: Record,
    path: Path,
    store: Path,
    *,
    ks: Sequence[int] = (),
    temperatures: Sequence[float] = (TEMPERATURE,),
    votes: Sequence[Vote] = ("temperature",),
) -> list[Scored]:
    """Counts votes anew: what a run of `knn` at this point alone gives with these options, to the last bit.

    Args:
        record: Of a probe that hands over its neighbours.
        path: Its file, for messages.
        store: The feature store of its run.
        ks: Numbers of neighbours; by default those of `KS` that are kept.
        temperatures: Of votes by temperature.
        votes: How votes are weighted.

    Returns:
        One for each vote, temperature and k, in this order and ascending.

    Raises:
        UsageError: The record has no neighbours, or fewer than are asked for; an option is out of range.
        StoreError: The store has the neighbours no more.
    """
    if set(record.neighbours) != {"val", "test"}:
        raise UsageError("the record has no neighbours to vote again", where=str(path), hint=_remedy(record))
    _check(ks, temperatures)
    kept = {part: load_neighbours(store, digest) for part, digest in record.neighbours.items()}
    most = min(one.neighbours.index.shape[1] for one in kept.values())
    if ks and max(ks) > most:
        raise UsageError(
            f"{most} neighbours are kept, and k = {max(ks)} asks for more",
            where="--ks",
            hint=f"probebench run --probe knn:ks={max(ks)}",
        )
    ks = sorted(set(ks or (k for k in KS if k <= most)))
    primary, classes = record.primary or "", len(record.cell.dataset.classes)
    if primary not in metrics.METRICS:
        raise UsageError(f"the record is ranked by {primary!r}, which no vote gives", where=str(path))
    found = []
    for vote, temperature in _weightings(votes, temperatures):
        on_val, on_test = (_summaries(kept[part], classes, ks, temperature) for part in ("val", "test"))
        for k, val, test in zip(ks, on_val, on_test, strict=True):
            found.append(Scored(Setting(vote, temperature, k), val[primary].value, test))
    return found


def _remedy(record: Record) -> str:
    if record.error is not None:
        return "its cell failed: run it again"
    if record.soft_vote:
        return "a soft vote of levels keeps none: name a record of one point"
    return "name one of knn, or of another probe that finds neighbours; older records have to be made again"


def best_on_val(found: Sequence[Scored]) -> Scored:
    """The setting that may be reported: the best on val, of equal ones the first."""
    return max(found, key=lambda one: one.val)


def _weightings(votes: Sequence[Vote], temperatures: Sequence[float]) -> list[tuple[Vote, float | None]]:
    """Each once; uniform votes have no temperature."""
    pairs = product(dict.fromkeys(votes), sorted(set(temperatures)))
    return list(dict.fromkeys((vote, None if vote == "uniform" else temperature) for vote, temperature in pairs))


def _summaries(
    kept: StoredNeighbours, classes: int, ks: Sequence[int], temperature: float | None
) -> Iterator[dict[str, Measure]]:
    for scores in neighbour_votes(kept.neighbours, kept.labels, classes, ks, temperature=temperature):
        yield with_intervals(metrics.all_metrics(scores, kept.truth, logits=True), len(kept.truth))


def _check(ks: Sequence[int], temperatures: Sequence[float]) -> None:
    if any(k < 1 for k in ks):
        raise UsageError(f"k = {min(ks)} leaves no neighbour to vote", where="--ks", hint="1,5,20")
    if any(not temperature > 0 for temperature in temperatures):
        raise UsageError(f"temperature {min(temperatures)} is not above 0", where="--temperatures", hint="0.07,0.1")
