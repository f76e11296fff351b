"""The files of the figures: what records give, and writing it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from probebench.board.collect import load, unfit
from probebench.board.figures import compare, epochs, heatmap, style
from probebench.board.figures.data import sheets
from probebench.board.pages.text import slug
from probebench.util.errors import UsageError
from probebench.util.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

    from probebench.board.figures.data import Sheet


_KINDS = " or ".join(f".{kind}" for kind in sorted(style.KINDS))


def require_matplotlib() -> None:
    """Finds out whether figures can be drawn, without an import.

    Raises:
        UsageError: They cannot.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("figures are drawn by matplotlib, which is not installed", hint="pip install probebench[plot]")


def outputs(records: Path, out: Path) -> dict[Path, bytes]:
    """Every figure that the records give, as SVG and as PNG. Equal records give equal bytes, with one matplotlib.

    Args:
        records: Folder of the records.
        out: Folder of the figures: a folder in it for each dataset, and one in that for each protocol.

    Raises:
        UsageError: There are no records, matplotlib is missing, or nothing that boards rank can be drawn.
        RecordError: A record is not valid.
    """
    require_matplotlib()
    entries = load(records)
    files: dict[Path, bytes] = {}
    with style.styled():
        for sheet in sheets(entries):
            folder = out / slug(sheet.newest.cell.dataset.title) / slug(sheet.newest.protocol.name)
            for name, draw in _figures(sheet):
                path = _free(folder / slug(name), files)
                for kind in style.KINDS:
                    # Drawn for each: how a figure is laid out depends on what has been rendered before.
                    files[path.with_name(f"{path.name}.{kind}")] = style.render(draw(), kind)
    if not files:
        reasons = sorted({reason for entry in entries if (reason := unfit(entry.record))})
        raise UsageError(
            "the records give no figure: " + ("; ".join(reasons) or "a row alone, with one tap or level"),
            where=str(records),
            hint="several backbones, taps, levels or epochs, in a run that boards rank",
        )
    return files


def write(files: Mapping[Path, bytes]) -> list[Path]:
    """Writes the figures that differ from what is there.

    Returns:
        Their files.

    Raises:
        UsageError: A file cannot be written.
    """
    changed = [path for path, data in files.items() if not path.is_file() or path.read_bytes() != data]
    try:
        for path in changed:
            write_bytes(path, files[path])
    except OSError as error:
        raise UsageError(f"cannot write: {error.strerror or error}", where=str(error.filename or path)) from error
    return changed


def check_file(path: Path) -> None:
    """Checks the name of a figure's file, before anything is computed for it.

    Raises:
        UsageError: It says of no format that it is written in, or matplotlib is missing.
    """
    if path.suffix.lower().removeprefix(".") not in style.KINDS:
        raise UsageError(f"{path.name!r} names no format that figures are written in", where=str(path), hint=_KINDS)
    require_matplotlib()


def write_one(path: Path, draw: Callable[[], Figure]) -> None:
    """Draws one figure and writes it, in the format of the file's ending.

    Raises:
        UsageError: As `check_file`, or the file cannot be written.
    """
    check_file(path)
    with style.styled():
        data = style.render(draw(), path.suffix.lower().removeprefix("."))
    write({path: data})


def _figures(sheet: Sheet) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Name and drawing of each."""
    for training in sheet.trainings:
        for distance in ["", *epochs.distances(training)]:
            name = " ".join(["epochs", training.label, distance])
            yield name, lambda one=training, other=distance: epochs.draw(sheet, one, other)  # type: ignore[misc]
    if len(sheet.trainings) > 1:
        yield "compare epochs", lambda: compare.epochs(sheet)
    for family in compare.families(sheet):
        yield "compare blocks", lambda one=family: compare.blocks(sheet, one)  # type: ignore[misc]
    for final in sheet.finals:
        for row in filter(heatmap.can_draw, final.rows):
            trained = row.backbone.trained
            label = f"{final.label}, seed {trained.seed}" if trained and len(final.rows) > 1 else final.label
            yield f"levels {label}", lambda one=label, other=row: heatmap.draw(sheet, one, other)  # type: ignore[misc]


def _free(path: Path, taken: Mapping[Path, bytes]) -> Path:
    """The path, or with a number where another figure has it."""
    number, free = 1, path
    while any(free.with_name(f"{free.name}.{kind}") in taken for kind in style.KINDS):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
