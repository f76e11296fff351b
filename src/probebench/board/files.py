"""The files of the boards: what they should hold, writing them, and checking those that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.board.collect import load
from probebench.board.generation import GenerationTable, generation_tables
from probebench.board.index import index, insert
from probebench.board.pages.csv_json import csv_text, json_text
from probebench.board.pages.generation_page import generation_csv, generation_page
from probebench.board.pages.markdown import page
from probebench.board.pages.summary import side_by_side
from probebench.board.pages.text import MARK, slug
from probebench.board.published import FILE, beside, read_published
from probebench.board.ranking import boards
from probebench.util.errors import RecordError, StaleBoardError, UsageError
from probebench.util.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from probebench.board.collect import LoadedRecord
    from probebench.board.ranking import Board


def outputs(records: Path, out: Path, readme: Path | None = None) -> dict[Path, str]:
    """Every file that the records give, with its text. Equal records give equal text, whenever and wherever.

    Args:
        records: Folder of the records.
        out: Folder of the boards. Its ``published.csv``, if there is one, is shown on them.
        readme: A file whose marked part becomes a summary of the boards.

    Raises:
        UsageError: There are no records, the readme cannot take the summary, or a published row is wrong.
        RecordError: A record is not valid, or two datasets would share a board's file.
    """
    entries = load(records)
    pages = _pages(boards(entries), out)
    drawn = _drawn_pages(entries, pages, out)
    published = read_published(out / FILE)
    files: dict[Path, str] = {}
    for path, board in pages.items():
        others = beside(published, board.newest)
        files[path] = page(board, path.parent, others)
        files[path.with_suffix(".csv")] = csv_text(board, path.parent)
        files[path.with_suffix(".json")] = json_text(board, path.parent, others)
    for path, tables in drawn.items():
        files[path] = generation_page(tables, path.parent)
        files[path.with_suffix(".csv")] = generation_csv(tables, path.parent)
    titles = {path: tables[0].newest.cell.dataset.title for path, tables in drawn.items()}
    files[out / "README.md"] = index(pages, titles, out)
    if readme is not None:
        files[readme] = insert(_text(readme), side_by_side(pages, readme.parent), readme)
    return files


def write(files: Mapping[Path, str], out: Path) -> list[Path]:
    """Writes what differs, and removes boards that no record stands behind.

    Returns:
        The files that were written or removed.

    Raises:
        UsageError: A file cannot be written.
    """
    changed = [path for path, text in files.items() if not _holds(path, text)]
    abandoned = _abandoned(files, out)
    try:
        for path in changed:
            write_bytes(path, files[path].encode())
        for path in abandoned:
            path.unlink()
    except OSError as error:
        raise UsageError(f"cannot write: {error.strerror or error}", where=str(error.filename or out)) from error
    return changed + abandoned


def check(files: Mapping[Path, str], out: Path, command: str) -> None:
    """Compares the files that are there with those that the records give.

    Args:
        files: From `outputs`.
        out: Folder of the boards.
        command: The command that mends a difference.

    Raises:
        StaleBoardError: Names the first file that is missing, differs, or has no record behind it.
    """
    for path, text in files.items():
        if not path.exists():
            raise StaleBoardError("a leaderboard is missing", where=str(path), hint=command)
        if not _holds(path, text):
            raise StaleBoardError("a leaderboard is not what its records give", where=str(path), hint=command)
    for path in _abandoned(files, out):
        raise StaleBoardError("no record stands behind a leaderboard", where=str(path), hint=command)


def _pages(found: Sequence[Board], out: Path) -> dict[Path, Board]:
    pages: dict[Path, Board] = {}
    for board in sorted(found, key=lambda board: (board.newest.cell.dataset.title, board.newest.protocol.name)):
        dataset = board.newest.cell.dataset
        path = out / slug(dataset.title) / f"{slug(board.newest.protocol.name)}.md"
        if path in pages:
            other = pages[path].newest.cell.dataset
            raise RecordError(
                f"two boards would be one file: {other.title} ({other.name}) and {dataset.title} ({dataset.name})",
                where=str(path),
                hint="keep the records of one of them elsewhere",
            )
        pages[path] = board
    return pages


def _drawn_pages(
    entries: Sequence[LoadedRecord], pages: Mapping[Path, Board], out: Path
) -> dict[Path, tuple[GenerationTable, ...]]:
    """The page of drawn images of each dataset that has some."""
    found: dict[Path, tuple[GenerationTable, ...]] = {}
    for tables in generation_tables(entries).values():
        dataset = tables[0].newest.cell.dataset
        path = out / slug(dataset.title) / "generation.md"
        if path in pages or path in found:
            raise RecordError(
                f"two boards would be one file: that of {dataset.title} ({dataset.name}) and another",
                where=str(path),
                hint="keep the records of one of them elsewhere",
            )
        found[path] = tables
    return found


def _abandoned(files: Mapping[Path, str], out: Path) -> list[Path]:
    """Files of boards of former builds; only a page with our mark makes its neighbours ours."""
    pages = [path for path in sorted(out.glob("*/*.md")) if path not in files and _text(path).startswith(MARK)]
    three = [path.with_suffix(suffix) for path in pages for suffix in (".md", ".csv", ".json")]
    return [path for path in three if path.exists()]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cannot read the file", where=str(path)) from error
