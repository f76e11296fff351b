"""The page of a dataset's measures of drawn images, in markdown and as CSV."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING, Any

from probebench.board.pages.text import MARK, NONE, code, link, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probebench.board.generation import GenerationRow, GenerationTable, Value

_FIGURES = 4

_RULES = {
    "Order": "By the first number of each table, the best first. There are no ranks: how far two numbers lie apart by "
    "chance is seen in `sd`, the standard deviation over seeds, where several sets of images were drawn.",
    "Name": "MEASURE@N/REFERENCE[EXTRACTOR]: N images were drawn and held against all images of that split, by the "
    "features of that network. Numbers of other names, or under another protocol, do not compare.",
    "Real images": "The same measure of N real images of the other split of the dataset: what a perfect generator "
    "would reach, give or take chance. Of a measure that is biased in N it is the only fair zero.",
    "Left out": "Failed cells, smoke runs (`--limit`), records made from uncommitted source, and records that are "
    "stale or superseded.",
}


def generation_page(tables: Sequence[GenerationTable], folder: Path) -> str:
    """The page.

    Args:
        tables: Of one dataset.
        folder: Where the page will be: links to records are relative to it.
    """
    dataset = tables[0].newest.cell.dataset
    intro = (
        f"How near drawn images come to those of {code(dataset.title)}. One table for each protocol. *Italics*: the "
        "network with random weights, or another baseline."
    )
    parts = [MARK, f"# {dataset.title}: drawn images", intro]
    for one in tables:
        parts += [f"## {code(one.newest.protocol.name)}", *_section(one, folder)]
    parts += ["## How to read this", "\n".join(f"- **{title}.** {text}" for title, text in _RULES.items())]
    return "\n\n".join(parts) + "\n"


def _section(one: GenerationTable, folder: Path) -> list[str]:
    parts = [f"Protocol hash `{one.newest.protocol.hash[:16]}`."]
    if one.rows:
        parts.append(_ranking(one, folder))
    if one.excluded:
        lines = [
            [
                code(excluded.entry.record.cell.backbone.title),
                str(excluded.entry.record.cell.seed),
                excluded.reason,
                link("record", excluded.entry.path, folder),
            ]
            for excluded in one.excluded
        ]
        headers = ["Left out", "Seed", "Reason", "Record"]
        parts.append(table(headers, lines, left=("Left out", "Reason", "Record")))
    return parts


def _ranking(one: GenerationTable, folder: Path) -> str:
    names = list(one.rows[0].values)
    headers = ["Backbone"]
    for name in names:
        arrow = "higher" if one.rows[0].values[name].higher_is_better else "lower"
        headers += [f"{code(name)} ({arrow} is better)", "Real images", "sd"]
    headers += ["Seeds", "Sampling", "Precision", "Record"]
    lines = [
        [
            _name(row),
            *(cell for name in names for cell in _cells(row.values[name])),
            str(len(row.entries)),
            _sampling(row),
            row.lowest.cell.precision,
            link(f"seed {row.lowest.cell.seed}", row.entries[0].path, folder),
        ]
        for row in one.rows
    ]
    return table(headers, lines, left=("Backbone", "Sampling", "Precision", "Record"))


def _name(row: GenerationRow) -> str:
    backbone = row.lowest.cell.backbone
    return f"*{code(backbone.title)}*" if backbone.baseline else code(backbone.title)


def _cells(value: Value) -> list[str]:
    return [number(value.value), number(value.floor), number(value.sd)]


def number(value: float | None) -> str:
    """A number of any size and sign, to four figures."""
    return NONE if value is None else f"{value:.{_FIGURES}g}"


def _sampling(row: GenerationRow) -> str:
    options = row.lowest.samples.sampling if row.lowest.samples else {}
    return code(", ".join(f"{name}={value}" for name, value in options.items() if value is not None))


def generation_csv(tables: Sequence[GenerationTable], folder: Path) -> str:
    """One line for each backbone, protocol and number."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for one in tables:
        for row in one.rows:
            for name, value in row.values.items():
                line = _line(one, row, name, value, folder)
                if writer is None:
                    writer = csv.DictWriter(text, list(line), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(line)
    return text.getvalue()


def _line(one: GenerationTable, row: GenerationRow, name: str, value: Value, folder: Path) -> dict[str, Any]:
    return {
        "protocol": one.newest.protocol.name,
        "metric": name,
        "backbone": row.lowest.cell.backbone.title,
        "baseline": str(row.lowest.cell.backbone.baseline).lower(),
        "value": f"{value.value:.6g}",
        "floor": "" if value.floor is None else f"{value.floor:.6g}",
        "sd": "" if value.sd is None else f"{value.sd:.6g}",
        "higher_is_better": str(value.higher_is_better).lower(),
        "seeds": " ".join(str(entry.record.cell.seed) for entry in row.entries),
        "precision": row.lowest.cell.precision,
        "record": os.path.relpath(row.entries[0].path, folder).replace(os.sep, "/"),
    }
