"""The boards' table of contents, and the place of a summary in a README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.board.pages.markdown import metric_name, name_of, point_of
from probebench.board.pages.summary import side_by_side
from probebench.board.pages.text import MARK, NONE, link, table, with_interval
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from probebench.board.ranking import Board, Place

BEGIN, END = "<!-- probebench:leaderboard -->", "<!-- /probebench:leaderboard -->"


def index(pages: Mapping[Path, Board], drawn: Mapping[Path, str], folder: Path) -> str:
    """The page that lists all boards, each with its best row, and the pages of drawn images.

    Args:
        pages: Boards, by the file of each.
        drawn: Titles of datasets, by the page of drawn images that each has.
        folder: Where the index will be.
    """
    headers = ["Board", "Best backbone", "Metric", "Test (95 % interval)", "Point", "Rows", "Not ranked"]
    rows = [
        [
            link(f"{board.newest.cell.dataset.title}: {board.newest.protocol.name}", path, folder),
            *_best(board),
            str(len(board.places)),
            str(len(board.excluded)),
        ]
        for path, board in pages.items()
    ]
    left = ("Board", "Best backbone", "Metric", "Point")
    intro = "One board for each dataset and protocol. A name in *italics* is a baseline. Percent."
    parts = [MARK, "# Leaderboards", intro, table(headers, rows, left)]
    if len(pages) > 1:
        parts += ["## Protocols side by side", side_by_side(pages, folder)]
    if drawn:
        pages_of = ", ".join(link(title, path, folder) for path, title in drawn.items())
        parts.append(f"How well backbones generate: {pages_of}.")
    return "\n\n".join(parts) + "\n"


def insert(text: str, summary: str, where: Path) -> str:
    """A README's text with the summary between its two markers.

    Raises:
        UsageError: The markers are not there, each once and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError("no place for the leaderboard", where=str(where), hint=f"add the lines {BEGIN} and {END}")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{summary}\n\n{END}{rest.split(END)[1]}"


def _best(board: Board) -> list[str]:
    return _cells(board, board.places[0]) if board.places else [NONE] * 4


def _cells(board: Board, place: Place) -> list[str]:
    row = place.row
    return [
        name_of(place),
        metric_name(board),
        with_interval(row.value, row.low, row.high),
        point_of(row),
    ]
