"""The report of metrics of generated images: each value beside that of as many real images."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import TYPE_CHECKING

import typer

from probebench.cli.output import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.records.schema import Measure, Record

_DIGITS = 4


def print_measures(dataset: str, protocol: str, records: Sequence[Record]) -> None:
    """Prints the results of one protocol on one dataset, a row for each backbone and metric.

    Args:
        dataset: Title of the dataset.
        protocol: Name of the protocol.
        records: Finished records of generation, in the order of the run.
    """
    first = records[0]
    reference, count = first.parts["reference"], first.samples.count if first.samples else 0
    typer.echo(
        f"{dataset}, {protocol}: {count} generated images, compared with {reference.count} images of {reference.split}"
        f"{' (smoke run)' if first.smoke else ''}"
    )
    rows: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        for name in record.metrics:
            rows.setdefault((name, record.cell.backbone.title), []).append(record)
    several = any(len(found) > 1 for found in rows.values())
    typer.echo()
    headers = ["metric", "better", "backbone", "value", "real images", *(["sd over seeds"] if several else [])]
    print_table(headers, [_line(*key, found, sd=several) for key, found in sorted(rows.items(), key=_metric_first)])
    typer.echo()


def _metric_first(row: tuple[tuple[str, str], list[Record]]) -> tuple[int, float]:
    """Sorts metrics in the probe's order, and the backbones of a metric from the best."""
    (name, _), records = row
    measures = [record.metrics[name] for record in records]
    value = fmean(measure.value for measure in measures)
    return list(records[0].metrics).index(name), -value if measures[0].higher_is_better else value


def _line(name: str, backbone: str, records: Sequence[Record], *, sd: bool) -> list[str]:
    measures: list[Measure] = [record.metrics[name] for record in records]
    values = [measure.value for measure in measures]
    real_images = [measure.floor for measure in measures if measure.floor is not None]
    line = [
        name,
        "higher" if measures[0].higher_is_better else "lower",
        f"{backbone}{' (baseline)' if records[0].cell.backbone.baseline else ''}",
        _number(fmean(values)),
        _number(fmean(real_images)) if real_images else "",
    ]
    if sd:
        line.append(_number(stdev(values)) if len(values) > 1 else "")
    return line


def _number(value: float) -> str:
    return f"{value:.{_DIGITS}g}"
