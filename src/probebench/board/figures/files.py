"""The files of the figures: builds them from records, and writes them."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from probebench.board.collect import load, unusable
from probebench.board.figures import compare, epochs, heatmap, style
from probebench.board.figures.data import figure_data
from probebench.board.pages.text import slug
from probebench.util.errors import UsageError
from probebench.util.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

    from probebench.board.figures.data import FigureData


_KINDS = " or ".join(f".{kind}" for kind in sorted(style.KINDS))


def require_matplotlib() -> None:
    """Checks that matplotlib is installed, without importing it.

    Raises:
        UsageError: It is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("figures need matplotlib, which is not installed", hint="pip install 'probebench[plot]'")


def outputs(records: Path, out: Path) -> dict[Path, bytes]:
    """Plots every figure of the records, as SVG and as PNG. Equal records give equal bytes with one matplotlib.

    Args:
        records: Folder of the records.
        out: Folder of the figures, which are in ``DATASET/PROTOCOL`` below it.

    Raises:
        UsageError: There are no records, matplotlib is missing, or the ranked records give no figure.
        RecordError: A record is not valid.
    """
    require_matplotlib()
    loaded_records = load(records)
    files: dict[Path, bytes] = {}
    with style.styled():
        for data in figure_data(loaded_records):
            folder = out / slug(data.newest.cell.dataset.title) / slug(data.newest.protocol.name)
            for name, plot in _figures(data):
                path = _unused(folder / slug(name), files)
                for kind in style.KINDS:
                    # Plotted for each kind: the layout of a figure depends on what was rendered before.
                    files[path.with_name(f"{path.name}.{kind}")] = style.render(plot(), kind)
    if not files:
        reasons = sorted({reason for loaded in loaded_records if (reason := unusable(loaded.record))})
        raise UsageError(
            "the records give no figure: " + ("; ".join(reasons) or "they hold one row with one tap or level"),
            where=str(records),
            hint="run several backbones, taps, levels or epochs, from committed source and without --limit",
        )
    return files


def write(files: Mapping[Path, bytes]) -> list[Path]:
    """Writes the figures that differ from the existing files.

    Returns:
        The files that were written.

    Raises:
        UsageError: A file cannot be written.
    """
    changed = [path for path, data in files.items() if not path.is_file() or path.read_bytes() != data]
    try:
        for path in changed:
            write_bytes(path, files[path])
    except OSError as error:
        raise UsageError(
            f"the figure cannot be written: {error.strerror or error}",
            where=str(error.filename or path),
            hint="use another path for --out",
        ) from error
    return changed


def check_file(path: Path) -> None:
    """Checks the name of a figure's file, before anything is computed for it.

    Raises:
        UsageError: Figures are not written in the format of its suffix, or matplotlib is missing.
    """
    if path.suffix.lower().removeprefix(".") not in style.KINDS:
        raise UsageError(
            f"figures cannot be written in the format of {path.name!r}",
            where=str(path),
            hint=f"use a file name that ends in {_KINDS}",
        )
    require_matplotlib()


def write_one(path: Path, plot: Callable[[], Figure]) -> None:
    """Plots one figure and writes it, in the format of the file's suffix.

    Raises:
        UsageError: As `check_file`, or the file cannot be written.
    """
    check_file(path)
    with style.styled():
        data = style.render(plot(), path.suffix.lower().removeprefix("."))
    write({path: data})


def _figures(data: FigureData) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Yields the name of each figure, and the function that plots it."""
    for curve in data.curves:
        for metric in ["", *epochs.generation_metrics(curve)]:
            name = " ".join(["epochs", curve.label, metric])
            yield name, partial(epochs.plot_epochs, data, curve, metric)
    if len(data.curves) > 1:
        yield "compare epochs", partial(compare.plot_epochs, data)
    for family in compare.families(data):
        yield "compare blocks", partial(compare.plot_blocks, data, family)
    for final in data.backbones:
        for row in filter(heatmap.has_grid, final.rows):
            trained = row.backbone.trained
            label = f"{final.label}, seed {trained.seed}" if trained and len(final.rows) > 1 else final.label
            yield f"levels {label}", partial(heatmap.plot_heat_map, data, label, row)


def _unused(path: Path, taken: Mapping[Path, bytes]) -> Path:
    """Returns the path, with a number where another figure has it."""
    number, unused = 1, path
    while any(unused.with_name(f"{unused.name}.{kind}") in taken for kind in style.KINDS):
        number += 1
        unused = path.with_name(f"{path.name}-{number}")
    return unused
