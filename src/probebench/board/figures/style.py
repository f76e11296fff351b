"""The style of the figures: for print, readable in grey and with a colour vision deficiency."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence  # noqa: TC003 - used in annotations of constants
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, GREY = "#000000", "#666666"
COLOURS: Sequence[str] = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
"""Okabe and Ito, Color Universal Design (2008), without yellow, which is invisible on white paper, and black."""

MARKERS: Sequence[str] = ("o", "s", "^", "D", "v", "P", "X")
COLUMN, PAGE = 3.5, 7.0
"""Widths of a column and of a page, in inches."""

BRIGHT = 0.47
"""Share of the colour map where numbers change from white to black; the contrast is at least 4.4 on both sides."""

KINDS: Sequence[str] = ("svg", "png")
_DPI = 200
_SMALL = 7.0

_RC: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans"],  # a part of matplotlib: the same on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "xtick.labelsize": _SMALL,
    "ytick.labelsize": _SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": _SMALL,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "errorbar.capsize": 2,
    "svg.hashsalt": "probebench",  # without it, names of clip paths are random
    "svg.fonttype": "path",
    "image.cmap": "cividis",  # perceptually uniform, and readable with a colour vision deficiency
}


def styled() -> Any:  # noqa: ANN401 - matplotlib's context manager
    """Returns the context for plotting and rendering; it ignores the user's own settings."""
    import matplotlib as mpl

    return mpl.rc_context({**mpl.rcParamsDefault, "backend": "agg", **_RC})


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure, with its size in inches, without a window system or global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def render(figure: Figure, kind: str) -> bytes:
    """Returns the bytes of a figure's file, which are always the same with the same matplotlib."""
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=metadata)
    return file.getvalue()


def dark(colour: str) -> str:
    """Returns a darker shade of a colour, for text."""
    from matplotlib.colors import to_hex, to_rgb

    darker: str = to_hex([0.7 * part for part in to_rgb(colour)])
    return darker


def line_of(position: int, name: str, names: Sequence[str]) -> dict[str, Any]:
    """Returns colour, marker and line style of one of several lines.

    Taps with a common prefix, such as those before and after the middle block of a U-Net, have the same line style.
    """
    families = list(dict.fromkeys(other.partition(".")[0] for other in names))
    family = families.index(name.partition(".")[0])
    dashes = "-" if family == len(families) - 1 else "--" if family == 0 else ":"
    return {
        "color": COLOURS[position % len(COLOURS)],
        "marker": MARKERS[position % len(MARKERS)],
        "linestyle": dashes,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }


def percent_axis(axes: Axes, label: str) -> None:
    """Formats the vertical axis of shares in percent."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    axes.set_ylabel(f"{label} (%)")


def logarithmic_axis(axes: Axes) -> None:
    """Makes the vertical axis logarithmic, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def epoch_axis(axes: Axes, epochs: Sequence[int]) -> None:
    """Formats the horizontal axis of epochs: logarithmic if the last epoch is at least ten times the first."""
    from matplotlib.ticker import FixedLocator, NullLocator

    logarithmic = epochs[-1] >= 10 * epochs[0]
    if logarithmic:
        axes.set_xscale("log")
    span, kept = epochs[-1] / epochs[0] if logarithmic else epochs[-1] - epochs[0], list[int]()
    for epoch in epochs:
        gap = epoch / kept[-1] if kept and logarithmic else epoch - kept[-1] if kept else span
        if gap >= (span ** (1 / 16) if logarithmic else span / 16):
            kept.append(epoch)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.set_xlabel("epoch")


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], x: float = 1.01) -> None:
    """Writes the names of lines at their right ends, and moves overlapping names apart.

    Args:
        axes: Axes with all their lines.
        ends: Height of each line's end, its name and its colour.
        x: Left edge of the names, in widths of the axes.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    height = axes.bbox.height * 72 / _DPI * 0.85  # in points; titles and labels take a part of it
    gap = 1.15 * _SMALL / height * (high - low)
    ordered = sorted(ends)
    positions = [y for y, _, _ in ordered]
    for _ in range(200):
        moved = False
        for i in range(len(positions) - 1):
            if (overlap := gap - (positions[i + 1] - positions[i])) > gap / 1000:
                positions[i], positions[i + 1], moved = positions[i] - overlap / 2, positions[i + 1] + overlap / 2, True
        if not moved:
            break
    leader_lines = any(abs(position - y) > gap / 3 for position, (y, _, _) in zip(positions, ordered, strict=True))
    for position, (y, name, colour) in zip(positions, ordered, strict=True):
        axes.annotate(
            name,
            (x - 0.007 if leader_lines else x, y),
            (x + 0.03 * leader_lines, position),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=_SMALL,
            color=dark(colour),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            }
            if leader_lines
            else None,
        )


def baseline_lines(axes: Axes, values: Sequence[tuple[str, float]]) -> list[tuple[float, str, str]]:
    """Plots horizontal lines of baselines, and returns their ends for `label_ends`."""
    for _, value in values:
        axes.axhline(value, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    return [(value, name, GREY) for name, value in values]


def note(figure: Figure, text: str) -> None:
    """Adds a caption below a figure."""
    figure.supxlabel(text, fontsize=6, color=GREY, x=0.01, ha="left")
