"""`probebench run`."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.commands.train import report_signal
from probebench.cli.output import print_json, print_table, quiet_stdout
from probebench.cli.settings import from_file, given_options, study_of
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from probebench.harness.cells import CellResult, PlannedCell
    from probebench.harness.runner import RunResult
    from probebench.harness.study import Study


def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with these options, runs and trainings; the command line overrides it"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document: the records, and the number of forwarded images")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, every cell with its state, and run nothing")
    ] = False,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="First download missing datasets and weights; without it, nothing is downloaded"
        ),
    ] = False,
    **options: Any,  # noqa: ANN401 - one parameter for each option of a run, see cli/settings.py
) -> None:
    """Probes the features of backbones on datasets: every combination without a record."""
    study = study_of(from_file(config) if config else {}, given_options(options))
    if dry_run:
        with quiet_stdout(as_json):
            cells = _plan(study)
        _show_plan(cells, study, as_json=as_json)
        return
    with quiet_stdout(as_json):
        _prepare(study, download=download)
        outcome = _execute(study)
    _show_outcome(outcome, as_json=as_json, debug=bool(context.obj))
    with quiet_stdout(as_json):
        _report(study)
    if outcome.failed:
        raise typer.Exit(1)


def _prepare(study: Study, *, download: bool) -> None:
    """Does everything before the run: downloads and trainings."""
    from probebench.harness import study as studies
    from probebench.planning.jobs import jobs
    from probebench.planning.series import expand
    from probebench.plugins.downloads import fetch_missing
    from probebench.plugins.registry import resolve

    studies.check(study)
    if download:
        data = [text for request in study.requests for text in request.dataset]
        data += [one.dataset for one in study.trainings]
        fetch_missing(resolve("dataset", text) for text in dict.fromkeys(data))
    for one, ended in studies.train(study, report_signal):
        typer.echo(f"trained: {ended.checkpoint}")
        if ended.stopped_at:
            typer.echo(f"stopped: {one.out} at {ended.stopped_at}; run the same command again to resume", err=True)
            raise typer.Exit(128 + (ended.signal or 0))
    if download:
        backbones = dict.fromkeys(text for request in study.requests for text in request.backbone)
        fetch_missing(backbone for text in backbones for backbone in expand(text))
        extractors = (job.extractor for request in study.requests for job in jobs(request))
        fetch_missing(dict.fromkeys(extractor.component for extractor in extractors if extractor))


def _report(study: Study) -> None:
    from probebench.harness import study as studies

    if study.requests[0].limit is None:
        for path in studies.report(study):
            typer.echo(f"{'wrote' if path.exists() else 'removed'} {path}")
    elif study.boards or study.plots:
        typer.echo("a smoke run (--limit) builds no boards and no figures", err=True)


def _plan(study: Study) -> list[PlannedCell]:
    from probebench.harness import study as studies

    studies.check(study)
    try:
        cells = studies.planned(study)
    except UsageError as error:
        if not study.trainings:
            raise
        missing = error
    else:
        errors = [cell.error for cell in cells if isinstance(cell.error, UsageError)]
        if not study.trainings or not errors:
            return cells
        missing = errors[0]
    # The checkpoints of a training that has not run do not exist yet.
    reason = f"they need checkpoints of trainings that have not run ({missing.what})"
    typer.echo(f"the cells are not listed, because {reason}", err=True)
    return []


def _execute(study: Study) -> RunResult:
    from probebench.harness import study as studies

    try:
        return studies.run(study, argv=sys.argv[1:])
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again to resume (at most 1,024 images are read again)", err=True)
        raise typer.Exit(130) from None


def _show_plan(cells: list[PlannedCell], study: Study, *, as_json: bool) -> None:
    lines = [
        {
            "dataset": cell.file.job.dataset.title,
            "backbone": cell.file.job.backbone.title,
            "probe": cell.file.probe.title,
            "protocol": cell.file.ruled.protocol.name,
            "seed": cell.file.seed,
            "points": cell.points,
            "state": "done" if cell.done else "cannot run" if cell.error else "to run",
            "error": str(cell.error) if cell.error else None,
        }
        for cell in cells
    ]
    trainings = [{"backbone": one.backbone, "epochs": one.epochs, "out": str(one.out)} for one in study.trainings]
    if as_json:
        print_json({"trainings": trainings, "cells": lines})
    else:
        for one in trainings:
            typer.echo(f"train {one['backbone']} to epoch {one['epochs']} in {one['out']}")
        # The column shows the protocol, whose name is the probe's title where no protocol is named.
        columns = ("dataset", "backbone", "protocol", "seed", "points", "state")
        texts = [["" if line[column] is None else line[column] for column in columns] for line in lines]
        if texts:
            print_table(("dataset", "backbone", "probe", "seed", "points", "state"), texts)
    errors = dict.fromkeys(line["error"] for line in lines if line["error"])
    for error in errors:
        typer.echo(f"error: {error}", err=True)
    if errors:
        raise typer.Exit(1)


def _show_outcome(outcome: RunResult, *, as_json: bool, debug: bool) -> None:
    from probebench.cli.report import print_report

    if as_json:
        print_json(
            {
                "cells": [_cell_document(cell) for cell in outcome.cells],
                "forwarded": [
                    {"backbone": backbone, "dataset": dataset, "images": images}
                    for (backbone, dataset), images in outcome.forwarded.items()
                ],
                "seconds": round(outcome.seconds, 3),
            }
        )
    else:
        print_report(outcome)
    for message, error in {str(cell.error): cell.error for cell in outcome.failed}.items():
        if debug:
            traceback.print_exception(error)
        typer.echo(f"error: {message}", err=True)
    if outcome.failed:
        cells = "cell" if len(outcome.cells) == 1 else "cells"
        reason = "its record holds" if len(outcome.failed) == 1 else "their records hold"
        typer.echo(f"{len(outcome.failed)} of {len(outcome.cells)} {cells} failed; {reason} the reason", err=True)


def _cell_document(cell: CellResult) -> dict[str, Any]:
    return {"path": str(cell.path), "fresh": cell.fresh, "record": cell.record.model_dump(mode="json")}
