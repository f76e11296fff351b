"""The page of the metrics of generated images of one dataset, in markdown and as CSV."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING, Any

from probebench.board.pages.text import EMPTY, MARK, code, link, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probebench.board.generation import GenerationRow, GenerationTable, GenerationValue

_DIGITS = 4

_RULES = {
    "Order": "By the first metric of each table, best first. There are no ranks: `sd`, the standard deviation over "
    "seeds, shows how much values differ by chance, where several sets of images were generated.",
    "Name": "METRIC@N/REFERENCE[EXTRACTOR]: N images were generated and compared with all images of that split, by "
    "the features of that network. Values with different names, or under different protocols, are not comparable.",
    "Real images": "The same metric of N real images of the other split of the dataset: what a perfect generator "
    "would reach, apart from chance. For a metric whose bias depends on N, compare with this value instead of zero.",
    "Left out": "Failed cells, smoke runs (`--limit`), records made from uncommitted source, and records that are "
    "stale or superseded.",
}


def generation_page(tables: Sequence[GenerationTable], folder: Path) -> str:
    """Builds the page.

    Args:
        tables: Of one dataset.
        folder: Where the page will be: links to records are relative to it.
    """
    dataset = tables[0].newest.cell.dataset
    intro = (
        f"How close generated images are to the images of {code(dataset.title)}. One table for each protocol. "
        "*Italics*: the network with random weights, or another baseline."
    )
    parts = [MARK, f"# {dataset.title}: generated images", intro]
    for one in tables:
        parts += [f"## {code(one.newest.protocol.name)}", *_section(one, folder)]
    parts += ["## How to read this", "\n".join(f"- **{title}.** {text}" for title, text in _RULES.items())]
    return "\n\n".join(parts) + "\n"


def _section(one: GenerationTable, folder: Path) -> list[str]:
    parts = [f"Protocol hash `{one.newest.protocol.hash[:16]}`."]
    if one.rows:
        parts.append(_rows(one, folder))
    if one.excluded:
        lines = [
            [
                code(excluded.loaded.record.cell.backbone.title),
                str(excluded.loaded.record.cell.seed),
                excluded.reason,
                link("record", excluded.loaded.path, folder),
            ]
            for excluded in one.excluded
        ]
        headers = ["Left out", "Seed", "Reason", "Record"]
        parts.append(table(headers, lines, left=("Left out", "Reason", "Record")))
    return parts


def _rows(one: GenerationTable, folder: Path) -> str:
    names = list(one.rows[0].values)
    headers = ["Backbone"]
    for name in names:
        better = "higher" if one.rows[0].values[name].higher_is_better else "lower"
        headers += [f"{code(name)} ({better} is better)", "Real images", "sd"]
    headers += ["Seeds", "Sampling", "Precision", "Record"]
    lines = [
        [
            _name(row),
            *(cell for name in names for cell in _cells(row.values[name])),
            str(len(row.records)),
            _sampling(row),
            row.lowest_seed.record.cell.precision,
            link(f"seed {row.lowest_seed.record.cell.seed}", row.lowest_seed.path, folder),
        ]
        for row in one.rows
    ]
    return table(headers, lines, left=("Backbone", "Sampling", "Precision", "Record"))


def _name(row: GenerationRow) -> str:
    backbone = row.lowest_seed.record.cell.backbone
    return f"*{code(backbone.title)}*" if backbone.baseline else code(backbone.title)


def _cells(value: GenerationValue) -> list[str]:
    return [four_digits(value.value), four_digits(value.real_images), four_digits(value.sd)]


def four_digits(value: float | None) -> str:
    """Returns a number of any size and sign with four significant digits."""
    return EMPTY if value is None else f"{value:.{_DIGITS}g}"


def _sampling(row: GenerationRow) -> str:
    samples = row.lowest_seed.record.samples
    options = samples.sampling if samples else {}
    return code(", ".join(f"{name}={value}" for name, value in options.items() if value is not None))


def generation_csv(tables: Sequence[GenerationTable], folder: Path) -> str:
    """Returns the tables as CSV, one line for each backbone, protocol and metric."""
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


def _line(one: GenerationTable, row: GenerationRow, name: str, value: GenerationValue, folder: Path) -> dict[str, Any]:
    cell = row.lowest_seed.record.cell
    return {
        "protocol": one.newest.protocol.name,
        "metric": name,
        "backbone": cell.backbone.title,
        "baseline": str(cell.backbone.baseline).lower(),
        "value": f"{value.value:.6g}",
        "floor": "" if value.real_images is None else f"{value.real_images:.6g}",
        "sd": "" if value.sd is None else f"{value.sd:.6g}",
        "higher_is_better": str(value.higher_is_better).lower(),
        "seeds": " ".join(str(loaded.record.cell.seed) for loaded in row.records),
        "precision": cell.precision,
        "record": os.path.relpath(row.lowest_seed.path, folder).replace(os.sep, "/"),
    }
