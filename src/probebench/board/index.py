"""The table of contents of the boards, and their summary in a README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.board.pages.markdown import backbone_name, metric_name, point_name
from probebench.board.pages.summary import summary_tables
from probebench.board.pages.text import EMPTY, MARK, link, table, with_interval
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from probebench.board.ranking import Board

BEGIN, END = "<!-- probebench:leaderboard -->", "<!-- /probebench:leaderboard -->"


def index_page(pages: Mapping[Path, Board], generation: Mapping[Path, str], folder: Path) -> str:
    """Builds the page that lists all boards, each with its best row, and the pages of generated images.

    Args:
        pages: Boards, by the file of each.
        generation: Titles of datasets, by the page of generated images of each.
        folder: Where the index will be.
    """
    headers = ["Board", "Best backbone", "Metric", "Test (95 % interval)", "Point", "Rows", "Not ranked"]
    rows = [
        [
            link(f"{board.newest.cell.dataset.title}: {board.newest.protocol.name}", path, folder),
            *_best(board),
            str(len(board.ranked)),
            str(len(board.excluded)),
        ]
        for path, board in pages.items()
    ]
    left = ("Board", "Best backbone", "Metric", "Point")
    intro = "One board for each dataset and protocol. A name in *italics* is a baseline. Values are in percent."
    parts = [MARK, "# Leaderboards", intro, table(headers, rows, left)]
    if len(pages) > 1:
        parts += ["## Protocols side by side", summary_tables(pages, folder)]
    if generation:
        links = ", ".join(link(title, path, folder) for path, title in generation.items())
        parts.append(f"How well backbones generate: {links}.")
    return "\n\n".join(parts) + "\n"


def insert_summary(text: str, summary: str, where: Path) -> str:
    """Returns a README's text with the summary between its two markers.

    Raises:
        UsageError: The text does not hold both markers, each once and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(
            "the markers of the leaderboard's summary are missing, repeated or in the wrong order",
            where=str(where),
            hint=f"write the line {BEGIN} once and, below it, the line {END} once",
        )
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{summary}\n\n{END}{rest.split(END)[1]}"


def _best(board: Board) -> list[str]:
    if not board.ranked:
        return [EMPTY] * 4
    best = board.ranked[0]
    row = best.row
    return [backbone_name(best), metric_name(board), with_interval(row.value, row.low, row.high), point_name(row)]
