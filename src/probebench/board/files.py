"""The files of the boards: builds their texts from records, writes them, and checks the existing files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.board.collect import load
from probebench.board.generation import generation_tables
from probebench.board.index import index_page, insert_summary
from probebench.board.pages.csv_json import csv_text, json_text
from probebench.board.pages.generation_page import generation_csv, generation_page
from probebench.board.pages.markdown import board_page
from probebench.board.pages.summary import summary_tables
from probebench.board.pages.text import MARK, slug
from probebench.board.published import FILE, published_for, read_published
from probebench.board.ranking import boards
from probebench.util.errors import RecordError, StaleBoardError, UsageError
from probebench.util.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from probebench.board.collect import LoadedRecord
    from probebench.board.generation import GenerationTable
    from probebench.board.ranking import Board

_SAME_FILE = "move the records of one of them to another folder, and build its boards with --records and --out"


def outputs(records: Path, out: Path, readme: Path | None = None) -> dict[Path, str]:
    """Builds the text of every file from the records. Equal records give equal texts on every machine.

    Args:
        records: Folder of the records.
        out: Folder of the boards. Its ``published.csv``, if it exists, is shown on them.
        readme: A file with two markers; the text between them becomes a summary of the boards.

    Raises:
        UsageError: There are no records, the readme lacks the markers, or a published row is wrong.
        RecordError: A record is not valid, or two boards would have the same file.
    """
    loaded_records = load(records)
    pages = _board_pages(boards(loaded_records), out)
    generation = _generation_pages(loaded_records, pages, out)
    published = read_published(out / FILE)
    files: dict[Path, str] = {}
    for path, board in pages.items():
        rows = published_for(published, board.newest)
        files[path] = board_page(board, path.parent, rows)
        files[path.with_suffix(".csv")] = csv_text(board, path.parent)
        files[path.with_suffix(".json")] = json_text(board, path.parent, rows)
    for path, tables in generation.items():
        files[path] = generation_page(tables, path.parent)
        files[path.with_suffix(".csv")] = generation_csv(tables, path.parent)
    titles = {path: tables[0].newest.cell.dataset.title for path, tables in generation.items()}
    files[out / "README.md"] = index_page(pages, titles, out)
    if readme is not None:
        files[readme] = insert_summary(_text(readme), summary_tables(pages, readme.parent), readme)
    return files


def write(files: Mapping[Path, str], out: Path) -> list[Path]:
    """Writes the files that differ, and removes boards that no longer have records.

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
        raise UsageError(
            f"the leaderboard cannot be written: {error.strerror or error}",
            where=str(error.filename or out),
            hint="use another folder for --out",
        ) from error
    return changed + abandoned


def check(files: Mapping[Path, str], out: Path, command: str) -> None:
    """Compares the existing files with those that the records give.

    Args:
        files: From `outputs`.
        out: Folder of the boards.
        command: The command that updates the boards.

    Raises:
        StaleBoardError: Names the first file that is missing, differs, or has no records.
    """
    for path, text in files.items():
        if not path.exists():
            raise StaleBoardError("a leaderboard is missing", where=str(path), hint=command)
        if not _holds(path, text):
            raise StaleBoardError("a leaderboard differs from what its records give", where=str(path), hint=command)
    for path in _abandoned(files, out):
        raise StaleBoardError("a leaderboard has no records", where=str(path), hint=command)


def _board_pages(found: Sequence[Board], out: Path) -> dict[Path, Board]:
    pages: dict[Path, Board] = {}
    for board in sorted(found, key=lambda board: (board.newest.cell.dataset.title, board.newest.protocol.name)):
        dataset = board.newest.cell.dataset
        path = out / slug(dataset.title) / f"{slug(board.newest.protocol.name)}.md"
        if path in pages:
            other = pages[path].newest.cell.dataset
            raise RecordError(
                "two boards would have the same file: "
                f"{other.title} ({other.name}) and {dataset.title} ({dataset.name})",
                where=str(path),
                hint=_SAME_FILE,
            )
        pages[path] = board
    return pages


def _generation_pages(
    records: Sequence[LoadedRecord], pages: Mapping[Path, Board], out: Path
) -> dict[Path, tuple[GenerationTable, ...]]:
    """Returns the tables of generated images, by the file of each dataset's page."""
    found: dict[Path, tuple[GenerationTable, ...]] = {}
    for tables in generation_tables(records).values():
        dataset = tables[0].newest.cell.dataset
        path = out / slug(dataset.title) / "generation.md"
        if path in pages or path in found:
            raise RecordError(
                "two boards would have the same file: "
                f"the generated images of {dataset.title} ({dataset.name}) and another board",
                where=str(path),
                hint=_SAME_FILE,
            )
        found[path] = tables
    return found


def _abandoned(files: Mapping[Path, str], out: Path) -> list[Path]:
    """Returns the files of boards of former builds: pages with our mark, and the CSV and JSON files beside them."""
    pages = [path for path in sorted(out.glob("*/*.md")) if path not in files and _text(path).startswith(MARK)]
    paths = [path.with_suffix(suffix) for path in pages for suffix in (".md", ".csv", ".json")]
    return [path for path in paths if path.exists()]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the file cannot be read: {error}", where=str(path), hint="name an existing text file in UTF-8"
        ) from error
