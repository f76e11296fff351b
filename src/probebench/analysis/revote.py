"""Counts other votes of the neighbours that a record has stored, without features and without plugins."""

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

    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import Measure, Record
    from probebench.store.neighbours import StoredNeighbours

Vote = Literal["temperature", "uniform"]

KS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURE = 0.07


@dataclass(frozen=True)
class VoteSetting:
    """One way to count votes.

    Attributes:
        vote: ``temperature``: a neighbour has the weight exp(similarity / temperature); ``uniform``: weight 1.
        temperature: None for uniform votes.
        k: Number of neighbours that vote.
    """

    vote: Vote
    temperature: float | None
    k: int


@dataclass(frozen=True)
class VoteResult:
    """The metrics of a setting at the point of the record.

    Attributes:
        setting: How votes were counted.
        val: The primary metric on val, with neighbours among the train images that are not in val.
        test: All metrics on test, with neighbours among train and val together.
    """

    setting: VoteSetting
    val: float
    test: dict[str, Measure]


def score(
    loaded: LoadedRecord,
    store: Path,
    *,
    ks: Sequence[int] = (),
    temperatures: Sequence[float] = (TEMPERATURE,),
    votes: Sequence[Vote] = ("temperature",),
) -> list[VoteResult]:
    """Counts votes with other settings. The results are those of a run of `knn` with these options at this point.

    Args:
        loaded: A record of a probe that stores its neighbours.
        store: The feature store of its run.
        ks: Numbers of neighbours; by default those of `KS` that are stored.
        temperatures: Temperatures of the weights.
        votes: Kinds of votes.

    Returns:
        A result for each vote, temperature and k, in this order; temperatures and k ascend.

    Raises:
        UsageError: The record has no stored neighbours, or too few; or an option is out of range.
        StoreError: The neighbours are no longer in the store.
    """
    record, where = loaded.record, str(loaded.path)
    if set(record.neighbours) != {"val", "test"}:
        raise UsageError("the record has no stored neighbours", where=where, hint=_remedy(record))
    _check(ks, temperatures)
    kept = {part: load_neighbours(store, digest) for part, digest in record.neighbours.items()}
    most = min(one.neighbours.index.shape[1] for one in kept.values())
    if ks and max(ks) > most:
        raise UsageError(
            f"k = {max(ks)} is larger than {most}, the number of stored neighbours",
            where="--ks",
            hint=f"probebench run --probe knn:ks={max(ks)}",
        )
    ks = sorted(set(ks or (k for k in KS if k <= most)))
    primary, classes = record.primary or "", len(record.cell.dataset.classes)
    if primary not in metrics.METRICS:
        raise UsageError(
            f"the record is ranked by {primary!r}, which votes do not give",
            where=where,
            hint=f"name a record that is ranked by {' or '.join(metrics.METRICS)}",
        )
    results = []
    for vote, temperature in _weightings(votes, temperatures):
        on_val, on_test = (_summaries(kept[part], classes, ks, temperature) for part in ("val", "test"))
        for k, val, test in zip(ks, on_val, on_test, strict=True):
            results.append(VoteResult(VoteSetting(vote, temperature, k), val[primary].value, test))
    return results


def _remedy(record: Record) -> str:
    if record.error is not None:
        return "its cell failed; run the cell again, and name the new record"
    if record.soft_vote:
        return "name a record that was made without --soft-vote"
    return "name a record of knn; if this is one, it is from an older version: remove it and run its command again"


def best_on_val(results: Sequence[VoteResult]) -> VoteResult:
    """Returns the result that may be reported: the best on val, of equal results the first."""
    return max(results, key=lambda one: one.val)


def _weightings(votes: Sequence[Vote], temperatures: Sequence[float]) -> list[tuple[Vote, float | None]]:
    """Returns each vote with each temperature once; uniform votes have no temperature."""
    pairs = product(dict.fromkeys(votes), sorted(set(temperatures)))
    return list(dict.fromkeys((vote, None if vote == "uniform" else temperature) for vote, temperature in pairs))


def _summaries(
    kept: StoredNeighbours, classes: int, ks: Sequence[int], temperature: float | None
) -> Iterator[dict[str, Measure]]:
    for scores in neighbour_votes(kept.neighbours, kept.labels, classes, ks, temperature=temperature):
        yield with_intervals(metrics.all_metrics(scores, kept.truth, logits=True), len(kept.truth))


def _check(ks: Sequence[int], temperatures: Sequence[float]) -> None:
    if any(k < 1 for k in ks):
        raise UsageError(f"k = {min(ks)} is below 1", where="--ks", hint="--ks 1,5,20")
    if any(not temperature > 0 for temperature in temperatures):
        raise UsageError(
            f"temperature {min(temperatures)} is not above 0", where="--temperatures", hint="--temperatures 0.07,0.1"
        )
