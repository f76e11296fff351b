"""`probebench run`."""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table, quiet_stdout
from probebench.config import (
    DEFAULT_BACKBONE,
    DEFAULT_DATASET,
    DEFAULT_PROBE,
    DEFAULT_RESULTS,
    default_store,
    load_config,
    parse_ints,
    parse_words,
)
from probebench.errors import ProbebenchWarning, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from probebench.harness import CellResult, PlannedCell, RunResult
    from probebench.plan import Request

_KEYS: dict[str, type] = {
    "backbone": list,
    "dataset": list,
    "probe": list,
    "protocol": list,
    "taps": list,
    "levels": list,
    "pool": str,
    "seeds": list,
    "limit": int,
    "noise_seed": int,
    "precision": str,
    "device": str,
    "baselines": bool,
    "results": str,
    "store": str,
}
"""What a config file may hold: the options of the command, lists as TOML lists."""

_TYPE_NAMES = {str: "a text", int: "a whole number", bool: "true or false"}


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
    results: Annotated[Path | None, typer.Option(help="Folder of the records.")] = None,
    store: Annotated[Path | None, typer.Option(help="Folder of the feature store.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of these options; the command line wins.")] = None,
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
        "results": results,
        "store": store,
    }
    settings = _from_file(config) if config else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    request = _request(settings)
    with quiet_stdout(as_json), _told_warnings():
        if dry_run:
            cells = _plan(request)
        else:
            if download:
                _download(request)
            outcome = _execute(request)
    if dry_run:
        _show_plan(cells, as_json=as_json)
    else:
        _show_outcome(outcome, as_json=as_json, debug=bool(context.obj))


def _from_file(path: Path) -> dict[str, Any]:
    settings = load_config(path, _KEYS)
    for name, value in settings.items():
        if _KEYS[name] is list and not isinstance(value, list):
            settings[name] = [value]
        elif not isinstance(value, _KEYS[name]) or (_KEYS[name] is int and isinstance(value, bool)):
            raise UsageError(f"{name} = {value!r} is not {_TYPE_NAMES[_KEYS[name]]}", where=str(path))
    if "levels" in settings:
        settings["levels"] = [str(level) for level in settings["levels"]]
    if any(not isinstance(seed, int) or isinstance(seed, bool) for seed in settings.get("seeds", [])):
        raise UsageError("seeds are whole numbers", where=str(path), hint="seeds = [0, 1, 2]")
    for name in ("backbone", "dataset", "probe", "protocol", "taps"):
        if any(not isinstance(text, str) for text in settings.get(name, [])):
            raise UsageError(f"{name} is not a list of texts", where=str(path), hint=f'{name} = ["...", "..."]')
    return settings


def _request(settings: dict[str, Any]) -> Request:
    from probebench.plan import Request

    return Request(
        backbones=tuple(settings.get("backbone", [DEFAULT_BACKBONE])),
        datasets=tuple(settings.get("dataset", [DEFAULT_DATASET])),
        probes=tuple(settings.get("probe", [] if settings.get("protocol") else [DEFAULT_PROBE])),
        protocols=tuple(settings.get("protocol", [])),
        results=Path(settings.get("results", DEFAULT_RESULTS)),
        store=Path(settings.get("store", default_store())),
        seeds=tuple(settings.get("seeds", [0])),
        taps=tuple(settings.get("taps", [])),
        levels=tuple(settings.get("levels", [])),
        pool=settings.get("pool", ""),
        limit=settings.get("limit"),
        noise_seed=settings.get("noise_seed", 0),
        precision=settings.get("precision", "auto"),
        device=settings.get("device", "auto"),
        baselines=settings.get("baselines", True),
    )


@contextlib.contextmanager
def _told_warnings() -> Iterator[None]:
    """Tells a person of broken files in the store, in one line each; Python's way shows our source code as well."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, ProbebenchWarning):
            typer.echo(f"warning: {message}", err=True)
        else:
            pythons_way(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", ProbebenchWarning)
        pythons_way, warnings.showwarning = warnings.showwarning, show
        yield


def _download(request: Request) -> None:
    from probebench.fetching import fetch_missing
    from probebench.registry import resolve
    from probebench.series import expand

    fetch_missing(resolve("dataset", text) for text in request.datasets)
    fetch_missing(backbone for text in request.backbones for backbone in expand(text))


def _plan(request: Request) -> list[PlannedCell]:
    from probebench.harness import plan

    return [cell for group in plan(request) for cell in group]


def _execute(request: Request) -> RunResult:
    from probebench.harness import run as execute

    try:
        return execute(request, argv=sys.argv[1:])
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command goes on where it was", err=True)
        raise typer.Exit(130) from None


def _show_plan(cells: list[PlannedCell], *, as_json: bool) -> None:
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
    if as_json:
        print_json({"cells": lines})
    else:
        # In the column of probes stands the protocol: for a probe without one, that is the probe's title.
        columns = ("dataset", "backbone", "protocol", "seed", "points", "state")
        texts = [["" if line[column] is None else line[column] for column in columns] for line in lines]
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
        raise typer.Exit(1)


def _cell_document(cell: CellResult) -> dict[str, Any]:
    return {"path": str(cell.path), "fresh": cell.fresh, "record": cell.record.model_dump(mode="json")}
