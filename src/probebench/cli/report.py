"""The report of a run: heat maps on val, results on test, and the next command."""

from __future__ import annotations

import shlex
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import typer

from probebench.board.rows import mean_interval
from probebench.cli.output import METRICS, print_table
from probebench.cli.report_samples import print_measures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.harness.cells import CellResult
    from probebench.harness.runner import RunResult
    from probebench.records.schema import Record

_SPREAD = ["sd over seeds", "t-interval over seeds"]

_OPTIMISM = ["best on test", "optimism"]


def print_report(outcome: RunResult) -> None:
    """Prints the results of a run, one section for each dataset and protocol."""
    sections: dict[tuple[str, str], list[CellResult]] = {}
    for cell in outcome.cells:
        if cell.record.status == "success":
            sections.setdefault((cell.record.cell.dataset.title, cell.record.protocol.name), []).append(cell)
    for (dataset, protocol), cells in sections.items():
        if cells[0].record.generation:
            print_measures(dataset, protocol, [cell.record for cell in cells])
        else:
            _print_section(dataset, protocol, cells)
    _print_warnings(outcome.cells)
    _print_footer(outcome)


def _print_section(dataset: str, protocol: str, cells: Sequence[CellResult]) -> None:
    rows: dict[str, list[Record]] = {}
    for cell in cells:
        rows.setdefault(cell.record.cell.backbone.title, []).append(cell.record)
    first = cells[0].record
    counts = ", ".join(f"{first.parts[name].count} {name}" for name in ("train", "val", "test"))
    notes = [*(["smoke run"] if first.smoke else []), *([] if first.frozen else ["backbone trained, not frozen"])]
    noted = f" ({', '.join(notes)})" if notes else ""
    typer.echo(f"{dataset}, {protocol}: {counts} images{noted}")
    for backbone, records in rows.items():
        if len(records[0].grid_points()) > 1:
            typer.echo()
            _print_heat_map(backbone, records)
    typer.echo()
    metric = METRICS[first.primary or "top1"]
    seeds = sorted({len(records) for records in rows.values()})
    mean = f", mean of {' to '.join(map(str, seeds))} seeds" if _several(rows) else ""
    typer.echo(f"On test, measured once at the point chosen on val ({metric} in %{mean}, 95 % interval):")
    ranked = sorted(rows.items(), key=lambda row: -_mean(row[1], first.primary or "top1"))
    headers = ["backbone", "point", metric, "interval", "top-5", *(_SPREAD if _several(rows) else [])]
    lines = [_line(backbone, records, spread=_several(rows)) for backbone, records in ranked]
    optimism = any(record.optimism for _, records in ranked for record in records)
    if optimism:
        headers += _OPTIMISM
        lines = [line + _optimism(records) for line, (_, records) in zip(lines, ranked, strict=True)]
    print_table(headers, lines)
    if optimism:
        typer.echo(
            "optimism: how much higher the value would be if point and setting were chosen on test; it ranks nothing"
        )
    typer.echo()


def _several(rows: dict[str, list[Record]]) -> bool:
    return any(len(records) > 1 for records in rows.values())


def _print_heat_map(backbone: str, records: Sequence[Record]) -> None:
    """Prints the best value on val by tap and level, mean over seeds; a star marks the chosen points."""
    metric = METRICS[records[0].primary or "top1"]
    typer.echo(f"{backbone}: {metric} on val in %, by tap and noise level (* chosen)")
    best = [record.best_trials() for record in records]
    chosen = {record.chosen.point for record in records if record.chosen}
    levels = list(dict.fromkeys(point.level for point in best[0]))
    taps = list(dict.fromkeys(point.tap for point in best[0]))
    lines = []
    for tap in taps:
        line = [tap]
        for level in levels:
            point = next(point for point in best[0] if (point.tap, point.level) == (tap, level))
            value = fmean(trials[point].value for trials in best)
            line.append(f"{100 * value:5.1f}{'*' if point in chosen else ' '}")
        lines.append(line)
    print_table(["tap", *levels], lines)


def _mean(records: Sequence[Record], metric: str) -> float:
    return fmean(record.metrics[metric].value for record in records)


def _line(backbone: str, records: Sequence[Record], *, spread: bool) -> list[str]:
    primary = records[0].primary or "top1"
    measures = [record.metrics[primary] for record in records]
    value = _mean(records, primary)
    interval = mean_interval(measures)
    points = list(dict.fromkeys(record.point_label for record in records))
    marks = ["baseline"] * records[0].cell.backbone.baseline + [records[0].readout] * bool(records[0].soft_vote)
    line = [
        f"{backbone} ({', '.join(marks)})" if marks else backbone,
        points[0] if len(points) == 1 else f"{points[0]} and {len(points) - 1} more",
        f"{100 * value:.1f}",
        f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "",
        f"{100 * _mean(records, 'top5'):.1f}",
    ]
    return line + _spread([measure.value for measure in measures]) if spread else line


def _spread(values: Sequence[float]) -> list[str]:
    """Returns the cells below `_SPREAD`, which are empty for one seed."""
    if len(values) < 2:
        return ["", ""]
    from probebench.stats.intervals import t_interval

    low, high = t_interval(values)
    return [f"{100 * stdev(values):.2f}", f"{100 * low:.1f} to {100 * high:.1f}"]


def _optimism(records: Sequence[Record]) -> list[str]:
    """Returns the cells below `_OPTIMISM`, mean over seeds; they are empty if a record was made without it."""
    found = [record.optimism for record in records if record.optimism]
    if len(found) < len(records):
        return ["", ""]
    return [f"{100 * fmean(one.best for one in found):.1f}", f"{100 * fmean(one.value for one in found):+.1f}"]


def _print_warnings(cells: Sequence[CellResult]) -> None:
    for warning in dict.fromkeys(text for cell in cells for text in cell.record.warnings):
        typer.echo(f"warning: {warning}", err=True)


def _print_footer(outcome: RunResult) -> None:
    images = sum(outcome.forwarded.values())
    failed, done = len(outcome.failed), sum(not cell.fresh for cell in outcome.cells)
    run = len(outcome.cells) - failed - done
    counts = f"{run} {'cell' if run == 1 else 'cells'} run, {done} already done" + (f", {failed} failed" * bool(failed))
    typer.echo(f"{counts}; {images} images forwarded; {outcome.seconds:.1f} s")
    contenders = [c for c in outcome.cells if c.record.status == "success" and not c.record.cell.backbone.baseline]
    shown = contenders or [cell for cell in outcome.cells if cell.record.status == "success"]
    if not shown:
        return
    typer.echo(f"record: {shown[0].path}")
    root = shown[0].path.parents[2]
    boards = (
        root.parent / f"{root.resolve().name}-boards"
    )  # not below the records: the JSON files of boards are not records
    command = ["probebench", "leaderboard", "build", "--records", str(root), "--out", str(boards)]
    typer.echo(f"next:   {shlex.join(command)}")
