"""All boards of a dataset in one table: a line for each backbone, a column for each protocol."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from probebench.board.pages.markdown import metric_name, name_of
from probebench.board.pages.text import NONE, link, percent, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from probebench.board.ranking import Board, Place

LEGEND = (
    "Percent of the test images, mean over seeds, at the point and setting that val chose. **Bold**: the best under a "
    "protocol, and whatever cannot be told apart from it. *Italics*: baselines. Along a line nothing but the protocol "
    "changes. Intervals, points and records are on the boards."
)


def side_by_side(pages: Mapping[Path, Board], folder: Path) -> str:
    """A table for each dataset, and how to read them.

    Args:
        pages: Boards with rows or without, by the file of each.
        folder: Where the text will be: links to boards are relative to it.
    """
    datasets: dict[str, list[tuple[Path, Board]]] = defaultdict(list)
    for path, board in pages.items():
        if board.places:
            datasets[board.newest.cell.dataset.title].append((path, board))
    parts = [part for found in datasets.values() for part in (_title(found[0][1]), _table(found, folder))]
    return "\n\n".join([*parts, LEGEND] if parts else ["No record can be ranked yet."])


def _title(board: Board) -> str:
    test = board.newest.parts["test"].count
    return f"**{board.newest.cell.dataset.title}**, {metric_name(board)} on {test:,} test images"


def _table(found: Sequence[tuple[Path, Board]], folder: Path) -> str:
    columns = [{place.row.lowest.backbone_key: place for place in board.places} for _, board in found]
    lines: dict[str, list[Place]] = defaultdict(list)
    for column in columns:
        for key, place in column.items():
            lines[key].append(place)
    headers = ["Backbone", *(link(board.newest.protocol.name, path, folder) for path, board in found)]
    cells = [
        [name_of(lines[key][0]), *(_cell(column.get(key)) for column in columns)]
        for key in sorted(lines, key=lambda key: _order(lines[key]))
    ]
    return table(headers, cells, left=("Backbone",))


def _order(places: Sequence[Place]) -> tuple[bool, float, str]:
    """Contenders first, and each kind by the best value that any protocol gives."""
    return places[0].row.backbone.baseline, -max(place.row.value for place in places), places[0].label


def _cell(place: Place | None) -> str:
    if place is None:
        return NONE
    value = percent(place.row.value)
    return f"**{value}**" if place.rank == 1 else value
