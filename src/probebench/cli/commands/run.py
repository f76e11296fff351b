"""`probebench run`."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.commands.train import tell
from probebench.cli.output import print_json, print_table, quiet_stdout
from probebench.cli.settings import from_file, study_of
from probebench.util.errors import UsageError
from probebench.util.parsing import parse_ints, parse_words

if TYPE_CHECKING:
    from probebench.harness.runner import CellResult, PlannedCell, RunResult
    from probebench.harness.study import Study


def run(
    context: typer.Context,
    backbone: Annotated[list[str] | None, typer.Option(help="Backbone spec; repeat it for several.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Dataset spec; repeat it for several.")] = None,
    probe: Annotated[list[str] | None, typer.Option(help="Probe spec; repeat it for several.")] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Protocol NAME or NAME:PROBE; repeat it for several.")
    ] = None,
    taps: Annotated[str | None, typer.Option(help="Taps such as mid,up.1; all for fine ones as well.")] = None,
    levels: Annotated[str | None, typer.Option(help="Noise levels such as 0,10,50, where a backbone has them.")] = None,
    pool: Annotated[str | None, typer.Option(help="gap, gridN, max, cls or flat.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of val part and probe, such as 0,1,2.")] = None,
    limit: Annotated[int | None, typer.Option(help="Images per split: a smoke run, kept off the boards.")] = None,
    noise_seed: Annotated[int | None, typer.Option(help="Seed of the noise added to images.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16, of the backbone.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    baselines: Annotated[
        bool | None, typer.Option("--baselines/--no-baselines", help="Also run pixels and untrained networks.")
    ] = None,
    optimism: Annotated[
        bool | None, typer.Option("--optimism/--no-optimism", help="Also tell what choosing on test would have given.")
    ] = None,
    soft_vote: Annotated[
        bool | None,
        typer.Option("--soft-vote/--no-soft-vote", help="Average the probabilities of all levels at the chosen tap."),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Folder of the records.")] = None,
    store: Annotated[Path | None, typer.Option(help="Folder of the feature store.")] = None,
    boards: Annotated[Path | None, typer.Option(help="Folder of leaderboards to build of the records.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder of figures to draw of the records.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of these options and of trainings; the command line wins.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
    download: Annotated[bool, typer.Option("--download", help="First download data and weights not there.")] = False,
) -> None:
    """Probes the features of backbones on datasets: every combination that has no record yet."""
    given = {
        "backbone": backbone,
        "dataset": dataset,
        "probe": probe,
        "protocol": protocol,
        "taps": None if taps is None else list(parse_words(taps, where="--taps")),
        "levels": None if levels is None else list(parse_words(levels, where="--levels")),
        "pool": pool,
        "seeds": None if seeds is None else list(parse_ints(seeds, where="--seeds")),
        "limit": limit,
        "noise_seed": noise_seed,
        "precision": precision,
        "device": device,
        "baselines": baselines,
        "optimism": optimism,
        "soft_vote": soft_vote,
        "results": results,
        "store": store,
        "boards": boards,
        "plots": plots,
    }
    study = study_of(
        from_file(config) if config else {}, {name: value for name, value in given.items() if value is not None}
    )
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
    """Everything before the run: downloads and trainings."""
    from probebench.harness import study as studies
    from probebench.planning.jobs import jobs
    from probebench.planning.series import expand
    from probebench.plugins.downloads import fetch_missing
    from probebench.plugins.registry import resolve

    studies.check(study)
    if download:
        data = [text for request in study.requests for text in request.datasets]
        data += [one.dataset for one in study.trainings]
        fetch_missing(resolve("dataset", text) for text in dict.fromkeys(data))
    for one, ended in studies.train(study, tell):
        typer.echo(f"trained: {ended.checkpoint}")
        if ended.stopped_at:
            typer.echo(f"stopped: {one.out} at {ended.stopped_at}; the same command goes on where it was", err=True)
            raise typer.Exit(128 + (ended.signal or 0))
    if download:
        backbones = dict.fromkeys(text for request in study.requests for text in request.backbones)
        fetch_missing(backbone for text in backbones for backbone in expand(text))
        extractors = (job.extractor for request in study.requests for job in jobs(request))
        fetch_missing(dict.fromkeys(extractor.component for extractor in extractors if extractor))


def _report(study: Study) -> None:
    from probebench.harness import study as studies

    if study.requests[0].limit is None:
        for path in studies.report(study):
            typer.echo(f"{'wrote' if path.exists() else 'removed'} {path}")
    elif study.boards or study.plots:
        typer.echo("a smoke run has no boards and no figures", err=True)


def _plan(study: Study) -> list[PlannedCell]:
    from probebench.harness import study as studies

    studies.check(study)
    try:
        return studies.planned(study)
    except UsageError as error:
        if not study.trainings:
            raise
        # What is trained first cannot be looked at yet.
        typer.echo(f"the cells are known after the trainings: {error.what}", err=True)
        return []


def _execute(study: Study) -> RunResult:
    from probebench.harness import study as studies

    try:
        return studies.run(study, argv=sys.argv[1:])
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command goes on where it was", err=True)
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
        # In the column of probes stands the protocol: for a probe without one, that is the probe's title.
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
        typer.echo(f"{len(outcome.failed)} of {len(outcome.cells)} {cells} failed; their records say why", err=True)


def _cell_document(cell: CellResult) -> dict[str, Any]:
    return {"path": str(cell.path), "fresh": cell.fresh, "record": cell.record.model_dump(mode="json")}
