"""All boards of a dataset in one table: a line for each backbone, a column for each protocol."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from probebench.board.pages.markdown import backbone_name, metric_name
from probebench.board.pages.text import EMPTY, link, percent, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from probebench.board.ranking import Board, RankedRow

LEGEND = (
    "Percent of the test images, mean over seeds, at the point and setting chosen on val. **Bold**: the best row of a "
    "protocol, and the rows that cannot be told apart from it. *Italics*: baselines. Within a line only the protocol "
    "changes. Intervals, points and records are on the boards."
)


def summary_tables(pages: Mapping[Path, Board], folder: Path) -> str:
    """Builds a table for each dataset, and a legend.

    Args:
        pages: Boards, by the file of each; those without rows are left out.
        folder: Where the text will be: links to boards are relative to it.
    """
    datasets: dict[str, list[tuple[Path, Board]]] = defaultdict(list)
    for path, board in pages.items():
        if board.ranked:
            datasets[board.newest.cell.dataset.title].append((path, board))
    parts = [part for group in datasets.values() for part in (_title(group[0][1]), _table(group, folder))]
    return "\n\n".join([*parts, LEGEND] if parts else ["No record can be ranked yet."])


def _title(board: Board) -> str:
    test = board.newest.parts["test"].count
    return f"**{board.newest.cell.dataset.title}**, {metric_name(board)} on {test:,} test images"


def _table(pages: Sequence[tuple[Path, Board]], folder: Path) -> str:
    columns = [{ranked.row.lowest_seed.backbone_key: ranked for ranked in board.ranked} for _, board in pages]
    lines: dict[str, list[RankedRow]] = defaultdict(list)
    for column in columns:
        for key, ranked in column.items():
            lines[key].append(ranked)
    headers = ["Backbone", *(link(board.newest.protocol.name, path, folder) for path, board in pages)]
    cells = [
        [backbone_name(lines[key][0]), *(_cell(column.get(key)) for column in columns)]
        for key in sorted(lines, key=lambda key: _order(lines[key]))
    ]
    return table(headers, cells, left=("Backbone",))


def _order(line: Sequence[RankedRow]) -> tuple[bool, float, str]:
    """Sorts baselines last, and both kinds by their best value under any protocol."""
    return line[0].row.backbone.baseline, -max(ranked.row.value for ranked in line), line[0].label


def _cell(ranked: RankedRow | None) -> str:
    if ranked is None:
        return EMPTY
    value = percent(ranked.row.value)
    return f"**{value}**" if ranked.rank == 1 else value
