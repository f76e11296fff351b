"""How figures look: in print, in grey, and to readers who see few colours."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence  # noqa: TC003 - used in annotations of constants
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, GREY = "#000000", "#666666"
COLOURS: Sequence[str] = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
"""Okabe and Ito, Color Universal Design (2008), without its yellow, which white paper swallows, and its black."""

MARKERS: Sequence[str] = ("o", "s", "^", "D", "v", "P", "X")
COLUMN, PAGE = 3.5, 7.0
"""Widths of a column and of a page, in inches."""

BRIGHT = 0.47
"""Of the colour map: black numbers from there on, white ones below, each with a contrast of 4.4 or more."""

KINDS: Sequence[str] = ("svg", "png")
_DPI = 200
_SMALL = 7.0

_RC: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
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
    "svg.hashsalt": "probebench",  # names of clip paths are random without it
    "svg.fonttype": "path",
    "image.cmap": "cividis",  # perceptually uniform, and made for readers who see few colours
}


def styled() -> Any:  # noqa: ANN401 - matplotlib's context manager
    """The context in which figures are drawn and rendered; the user's own settings play no part."""
    import matplotlib as mpl

    return mpl.rc_context({**mpl.rcParamsDefault, "backend": "agg", **_RC})


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, of a size in inches. No window system and no global state are involved."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def render(figure: Figure, kind: str) -> bytes:
    """The bytes of a figure's file: the same whenever it is drawn, with the same matplotlib."""
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=metadata)
    return file.getvalue()


def dark(colour: str) -> str:
    """A colour's darker twin, for letters, which are thin."""
    from matplotlib.colors import to_hex, to_rgb

    darker: str = to_hex([0.7 * part for part in to_rgb(colour)])
    return darker


def line_of(position: int, name: str, names: Sequence[str]) -> dict[str, Any]:
    """Colour, marker and dashes of one of several lines.

    Taps that belong together by name, such as those before and behind the middle of a U-Net, are dashed alike.
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
    """The vertical axis of shares, in percent."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    axes.set_ylabel(f"{label} (%)")


def logarithmic_axis(axes: Axes) -> None:
    """A vertical axis in powers, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def epoch_axis(axes: Axes, epochs: Sequence[int]) -> None:
    """The horizontal axis of epochs: logarithmic where the first ones lie close together."""
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
    """Names lines where they end, at the right, and moves names apart that would lie on each other.

    Args:
        axes: With its lines drawn.
        ends: Height of a line's end, its name and its colour.
        x: Where the names begin, in widths of the axes.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    height = axes.bbox.height * 72 / _DPI * 0.85  # in points; the layout will take some of it for the words around
    gap = 1.15 * _SMALL / height * (high - low)
    ordered = sorted(ends)
    places = [y for y, _, _ in ordered]
    for _ in range(200):
        moved = False
        for i in range(len(places) - 1):
            if (overlap := gap - (places[i + 1] - places[i])) > gap / 1000:
                places[i], places[i + 1], moved = places[i] - overlap / 2, places[i + 1] + overlap / 2, True
        if not moved:
            break
    leads = any(abs(place - y) > gap / 3 for place, (y, _, _) in zip(places, ordered, strict=True))
    for place, (y, name, colour) in zip(places, ordered, strict=True):
        axes.annotate(
            name,
            (x - 0.007 if leads else x, y),
            (x + 0.03 * leads, place),
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
            if leads
            else None,
        )


def floors(axes: Axes, values: Sequence[tuple[str, float]]) -> list[tuple[float, str, str]]:
    """Horizontal lines of what a network has to beat; gives their ends, to be named."""
    for _, value in values:
        axes.axhline(value, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    return [(value, name, GREY) for name, value in values]


def note(figure: Figure, text: str) -> None:
    """A line below a figure that says what is drawn."""
    figure.supxlabel(text, fontsize=6, color=GREY, x=0.01, ha="left")
