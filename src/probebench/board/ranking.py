"""Ranks: rows in order of their primary metric, with one rank for rows that cannot be told apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from probebench.board.collect import Excluded, groups
from probebench.board.generation import Value, beside_features, dataset_key, generation_tables
from probebench.board.rows import Row, rows, speeds
from probebench.records.schema import Record  # noqa: TC001 - annotations of dataclasses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from probebench.board.collect import Group, LoadedRecord


@dataclass(frozen=True)
class Place:
    """A row on its board.

    Attributes:
        rank: From 1; rows of one tie group share the rank of the first of them.
        tie_group: From 1.
        tied: Whether another row shares the rank.
        label: The backbone's title, with its fingerprint where two rows would read the same.
        row: The row.
    """

    rank: int
    tie_group: int
    tied: bool
    label: str
    row: Row


@dataclass(frozen=True)
class Board:
    """The leaderboard of one dataset under one protocol.

    Attributes:
        newest: The newest usable record; the board is for its protocol, dataset and test images.
        places: The ranked rows, best first.
        excluded: Records left out, by backbone, seed and path.
        drawn: How well a network (`LoadedRecord.network_key`) generates, by the name of the measure; ranks nothing.
    """

    newest: Record
    places: tuple[Place, ...]
    excluded: tuple[Excluded, ...]
    drawn: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Number of records behind the ranked rows."""
        return sum(len(place.row.entries) for place in self.places)


def boards(entries: Sequence[LoadedRecord]) -> list[Board]:
    """The boards that records give, one for each dataset and protocol name."""
    speed, tables = speeds(entries), generation_tables(entries)
    drawn = {key: beside_features(found) for key, found in tables.items()}
    return [_board(group, speed, drawn.get(dataset_key(group.newest.cell.dataset), {})) for group in groups(entries)]


def _board(group: Group, speed: dict[str, float], drawn: Mapping[str, Mapping[str, Value]]) -> Board:
    complete, excluded = _split_complete(rows(group.kept, speed))
    ranked = sorted(complete, key=_order)
    left_out = sorted((*group.excluded, *excluded), key=_where)
    return Board(group.newest, tuple(_places(ranked, group.correct)), tuple(left_out), drawn)


def _order(row: Row) -> tuple[float, str, str]:
    value = -row.value if row.primary.higher_is_better else row.value
    return (value, row.backbone.title, row.lowest.backbone_key)


def _where(excluded: Excluded) -> tuple[str, int, str]:
    cell = excluded.entry.record.cell
    return (cell.backbone.title, cell.seed, excluded.entry.path.as_posix())


def _split_complete(found: Sequence[Row]) -> tuple[list[Row], list[Excluded]]:
    """Takes out rows that lack a seed which more than half of the rows have.

    A mean over fewer seeds is not worth the same; a seed that few rows have is an extra, and asked of nobody.
    """
    having = Counter(seed for row in found for seed in row.seeds)
    expected = {seed for seed, count in having.items() if 2 * count > len(found)}
    complete, excluded = [], []
    for row in found:
        missing = sorted(expected - set(row.seeds))
        if not missing:
            complete.append(row)
            continue
        reason = f"incomplete: no seed {', '.join(map(str, missing))}"
        excluded += [Excluded(entry, reason) for entry in row.entries]
    return complete, excluded


def _places(ranked: Sequence[Row], correct: dict[Path, NDArray[np.bool_]]) -> list[Place]:
    from probebench.stats.significance import holm, mcnemar, tie_groups

    pairs = list(combinations(range(len(ranked)), 2))
    found = []
    for first, second in pairs:
        one, other = _paired(ranked[first], ranked[second])
        found.append(mcnemar(correct[one.path], correct[other.path]))
    # A board makes all comparisons at once: unadjusted, one pair in twenty equals would be told apart.
    adjusted = dict(zip(pairs, holm(found), strict=True))
    ties = tie_groups(len(ranked), lambda first, second: adjusted[first, second])
    labels = _labels(ranked)
    return [
        Place(1 + ties.index(tie), tie, ties.count(tie) > 1, label, row)
        for tie, label, row in zip(ties, labels, ranked, strict=True)
    ]


def _paired(one: Row, other: Row) -> tuple[LoadedRecord, LoadedRecord]:
    """The records to compare: of the lowest seed both have, or else of each row's lowest.

    The test images are the same for every seed, so the second case is a paired comparison too.
    """
    common = set(one.seeds) & set(other.seeds)
    if not common:
        return one.lowest, other.lowest
    seed = min(common)
    return one.entries[one.seeds.index(seed)], other.entries[other.seeds.index(seed)]


def _labels(ranked: Sequence[Row]) -> list[str]:
    def name(row: Row) -> tuple[object, ...]:
        return row.backbone.title, row.lowest.record.cell.precision, row.voting

    times = Counter(name(row) for row in ranked)
    return [
        row.backbone.title if times[name(row)] == 1 else f"{row.backbone.title} #{(row.backbone.fingerprint or '')[:8]}"
        for row in ranked
    ]
