"""Formats numbers, names and tables of a board in markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence  # noqa: TC003 - used in annotations that tools evaluate
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from pathlib import Path

MARK = "<!-- Written by `probebench leaderboard build` from the records; changes by hand are lost. -->"

METRICS: Mapping[str, str] = {
    "top1": "top-1",
    "top3": "top-3",
    "top5": "top-5",
    "mean_per_class": "mean/class",
}
"""Printed names of the metrics, in the order of the columns."""

EMPTY = "–"  # noqa: RUF001 - the sign for an empty cell


def slug(text: str) -> str:
    """Returns a name for a file: lower-case letters, digits, dots and single hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def link(label: str, target: Path, folder: Path) -> str:
    """Returns a markdown link from a file in a folder to another file."""
    relative = os.path.relpath(target, folder).replace(os.sep, "/")
    return f"[{label}]({quote(relative, safe='/=,@+')})"


def code(text: str) -> str:
    """Returns a text as a code span, so that signs of markdown in it have no effect."""
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def percent(value: float) -> str:
    """Returns a share in percent with one decimal: ``71.3``."""
    return f"{100 * value:.1f}"


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """Returns a share in percent with its interval: ``71.3 (69.3 to 73.2)``."""
    return percent(value) if low is None or high is None else f"{percent(value)} ({percent(low)} to {percent(high)})"


def size(number: int | None) -> str:
    """Returns a count in thousands, millions or billions: ``35.7 M``."""
    if number is None:
        return EMPTY
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return str(number)


def three_digits(value: float | None) -> str:
    """Returns a positive number with three significant digits and without an exponent."""
    if value is None:
        return EMPTY
    if value >= 100:
        return f"{value:,.0f}"
    if value < 0.001:
        return "0" if value == 0 else "< 0.001"
    return f"{value:.3g}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]) -> str:
    """Returns a markdown table; columns that `left` does not name are aligned to the right."""
    from tabulate import tabulate

    align = ["left" if header in left else "right" for header in headers]
    return tabulate(rows, headers=headers, tablefmt="pipe", colalign=align, disable_numparse=True)
