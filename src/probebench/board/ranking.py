"""Ranks the rows of a board by their primary metric; rows that cannot be told apart share a rank."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from probebench.board.collect import Excluded, board_records
from probebench.board.generation import GenerationValue, dataset_key, generation_tables, primary_values
from probebench.board.rows import Row, rows, speeds
from probebench.records.schema import Record  # noqa: TC001 - annotations of dataclasses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from probebench.board.collect import BoardRecords, LoadedRecord


@dataclass(frozen=True)
class RankedRow:
    """A row with its rank on the board.

    Attributes:
        rank: From 1; rows of one tie group share the rank of its first row.
        tie_group: From 1.
        tied: Whether another row shares the rank.
        label: The backbone's title, with its fingerprint where two rows would otherwise have the same label.
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
        ranked: The ranked rows, best first.
        excluded: Records left out, by backbone, seed and path.
        generated: How well each network (`LoadedRecord.network_key`) generates, by name of the metric; it decides no
            rank.
    """

    newest: Record
    ranked: tuple[RankedRow, ...]
    excluded: tuple[Excluded, ...]
    generated: Mapping[str, Mapping[str, GenerationValue]] = field(default_factory=dict)

    @property
    def record_count(self) -> int:
        """Number of records behind the ranked rows."""
        return sum(len(ranked.row.records) for ranked in self.ranked)


def boards(records: Sequence[LoadedRecord]) -> list[Board]:
    """Builds the boards of some records, one for each dataset and protocol name."""
    speed = speeds(records)
    generated = {key: primary_values(tables) for key, tables in generation_tables(records).items()}
    return [
        _board(group, speed, generated.get(dataset_key(group.newest.cell.dataset), {}))
        for group in board_records(records)
    ]


def _board(
    group: BoardRecords, speed: dict[str, float], generated: Mapping[str, Mapping[str, GenerationValue]]
) -> Board:
    complete, incomplete = _split_complete(rows(group.kept, speed))
    ranked = _rank(sorted(complete, key=_order), group.correct)
    excluded = sorted((*group.excluded, *incomplete), key=_backbone_seed_path)
    return Board(group.newest, tuple(ranked), tuple(excluded), generated)


def _order(row: Row) -> tuple[float, str, str]:
    value = -row.value if row.primary.higher_is_better else row.value
    return (value, row.backbone.title, row.lowest_seed.backbone_key)


def _backbone_seed_path(excluded: Excluded) -> tuple[str, int, str]:
    cell = excluded.loaded.record.cell
    return (cell.backbone.title, cell.seed, excluded.loaded.path.as_posix())


def _split_complete(candidates: Sequence[Row]) -> tuple[list[Row], list[Excluded]]:
    """Separates the rows that lack a seed which more than half of the rows have.

    Means over different numbers of seeds are not comparable. A seed that only a few rows have is not required.
    """
    counts = Counter(seed for row in candidates for seed in row.seeds)
    expected = {seed for seed, count in counts.items() if 2 * count > len(candidates)}
    complete, excluded = [], []
    for row in candidates:
        missing = sorted(expected - set(row.seeds))
        if not missing:
            complete.append(row)
            continue
        reason = f"incomplete: no seed {', '.join(map(str, missing))}"
        excluded += [Excluded(loaded, reason) for loaded in row.records]
    return complete, excluded


def _rank(ordered: Sequence[Row], correct: dict[Path, NDArray[np.bool_]]) -> list[RankedRow]:
    from probebench.stats.significance import holm, mcnemar, tie_groups

    pairs = list(combinations(range(len(ordered)), 2))
    p_values = []
    for first, second in pairs:
        one, other = _compared_records(ordered[first], ordered[second])
        p_values.append(mcnemar(correct[one.path], correct[other.path]))
    # A board makes all comparisons at once: without the adjustment, one pair in twenty equal rows would differ.
    adjusted = dict(zip(pairs, holm(p_values), strict=True))
    groups = tie_groups(len(ordered), lambda first, second: adjusted[first, second])
    return [
        RankedRow(1 + groups.index(group), group, groups.count(group) > 1, label, row)
        for group, label, row in zip(groups, _labels(ordered), ordered, strict=True)
    ]


def _compared_records(one: Row, other: Row) -> tuple[LoadedRecord, LoadedRecord]:
    """Returns the records to compare: of the lowest seed that both rows have, or else of each row's lowest.

    The test images are the same for every seed, so the second case is a paired comparison as well.
    """
    common = set(one.seeds) & set(other.seeds)
    if not common:
        return one.lowest_seed, other.lowest_seed
    seed = min(common)
    return one.records[one.seeds.index(seed)], other.records[other.seeds.index(seed)]


def _labels(ordered: Sequence[Row]) -> list[str]:
    def shown(row: Row) -> tuple[object, ...]:
        return row.backbone.title, row.lowest_seed.record.cell.precision, row.averaged_levels

    counts = Counter(map(shown, ordered))
    return [
        row.backbone.title
        if counts[shown(row)] == 1
        else f"{row.backbone.title} #{(row.backbone.fingerprint or '')[:8]}"
        for row in ordered
    ]
