"""`probebench check NAME|RECORD`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table, quiet_stdout
from probebench.util.errors import PluginError, UsageError

if TYPE_CHECKING:
    from probebench.testing import Result, Subject


def check(
    name: Annotated[
        str | None,
        typer.Argument(help="A backbone, dataset or probe, such as ddpm:attention=false; or the file of a record"),
    ] = None,
    list_checks: Annotated[bool, typer.Option("--list", help="Print every check with its requirement")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document")] = False,
) -> None:
    """Checks that a component fulfils its contract, or that a record is valid.

    Exits with 3 if a check fails, and with 1 if a record is not valid.
    """
    if list_checks:
        _list_checks(as_json=as_json)
    elif name is None:
        raise UsageError("there is nothing to check", hint="probebench check ddpm, or --list for the list of checks")
    elif _is_file(name):
        _check_record(Path(name), as_json=as_json)
    else:
        _check_component(name, as_json=as_json)


def _is_file(name: str) -> bool:
    return Path(name).is_file() or (name.endswith(".json") and "=" not in name)


def _list_checks(*, as_json: bool) -> None:
    from probebench.testing import CONTRACTS, checks_for

    laws = {kind: {check.name: check.requirement for check in checks_for(kind)} for kind in CONTRACTS}
    if as_json:
        print_json(laws)
        return
    for number, (kind, checks) in enumerate(laws.items()):
        if number:
            typer.echo()
        print_table((f"{kind} checks", "requirement"), list(checks.items()))


def _check_record(path: Path, *, as_json: bool) -> None:
    from probebench.records.files import read_record

    record = read_record(path)
    if as_json:
        print_json({"record": str(path), "valid": True, "id": record.id})
    else:
        typer.echo(f"{path} is a valid record (status: {record.status})")


def _check_component(name: str, *, as_json: bool) -> None:
    with quiet_stdout(as_json):
        results = [(subject, _run(subject)) for subject in _subjects(name)]
    counts = Counter(result.status for _, part in results for result in part)
    if as_json:
        print_json(_document(results, counts))
    else:
        for subject, part in results:
            print_table((f"{subject.name} ({subject.kind})", "", ""), [_row(result) for result in part])
        seconds = sum(result.seconds for _, part in results for result in part)
        summary = f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"
        typer.echo(f"\n{summary} in {seconds:.1f} s")
    if counts["failed"]:
        raise PluginError(
            f"{name} fails {counts['failed']} of {counts.total()} checks",
            hint="fix what the table shows as FAIL; probebench check --list explains every check",
        )


def _subjects(name: str) -> tuple[Subject, ...]:
    from probebench.testing import subjects

    found = subjects(name)
    for subject in found:
        subject.build()  # a component that cannot be built gives one error, not one for each check
    return found


def _run(subject: Subject) -> list[Result]:
    from probebench.testing import checks_for, run_check
    from probebench.util.progress import track

    return [run_check(subject, check) for check in track(checks_for(subject.kind), f"check {subject.name}")]


def _row(result: Result) -> tuple[str, str, str]:
    words = {"passed": "pass", "failed": "FAIL", "skipped": "skip"}
    return (result.check, words[result.status], result.message)


def _document(results: list[tuple[Subject, list[Result]]], counts: Counter[Any]) -> dict[str, Any]:
    return {
        "components": [
            {"name": subject.name, "kind": subject.kind, "checks": [asdict(result) for result in part]}
            for subject, part in results
        ],
        "passed": counts["passed"],
        "failed": counts["failed"],
        "skipped": counts["skipped"],
    }
