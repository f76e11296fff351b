"""`probebench plugins list` and `probebench plugins doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sized

app = typer.Typer(help="List the installed plugins, and find their problems", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document")]


@app.command("list", help="List the installed plugins, including those with problems")
def list_plugins(as_json: AsJson = False) -> None:
    """Lists the installed plugins, including those with problems."""
    from probebench.plugins.inventory import inventory
    from probebench.plugins.registry import installed

    rows = inventory(installed())
    if as_json:
        print_json({"plugins": rows})
        return
    print_table(
        ("distribution", "version", "entry point", "API", "components", "state"),
        [
            (
                row["distribution"],
                row["version"],
                row["entry_point"],
                row["api"] or "",
                ", ".join(item["name"] for item in row["components"]),
                f"{_count(row['problems'], 'problem')}: probebench plugins doctor" if row["problems"] else "ok",
            )
            for row in rows
        ],
    )


@app.command("doctor", help="Check every plugin, and measure how much its import slows every command")
def doctor(as_json: AsJson = False) -> None:
    """Checks every plugin. Exits with 3 if there is a problem.

    Each plugin's module is imported in a fresh process as well, to measure how much it slows every command. A slow
    import is a warning; something that does not work is a problem.
    """
    from probebench.plugins.import_cost import measure_import
    from probebench.plugins.inventory import inventory, shared_names
    from probebench.plugins.registry import installed
    from probebench.util.errors import PluginError

    registry = installed()
    rows = inventory(registry)
    for row in rows:
        cost = measure_import(row["module"]) if row["module"] else None
        row["import_seconds"] = cost and round(cost.seconds, 4)
        row["heavy"] = cost and list(cost.heavy)
    shared = shared_names(registry)
    problems = registry.discovery.problems
    if as_json:
        print_json({"plugins": rows, "shared_names": shared})
    else:
        for row in rows:
            _print(row)
        for item in shared:
            kind, name, owners = item["kind"], item["name"], item["distributions"]
            choices = " or ".join(f"{owner}/{name}" for owner in owners)
            typer.echo(f"note: several distributions have a {kind} called {name}; write {choices}")
        typer.echo(f"{_count(rows, 'plugin')}, {_count(problems, 'problem')}")
    if problems:
        raise typer.Exit(PluginError.exit_code)


def _count(items: Sized, noun: str) -> str:
    return f"{len(items)} {noun}" if len(items) == 1 else f"{len(items)} {noun}s"


def _print(row: dict[str, Any]) -> None:
    entry_point = f", entry point {row['entry_point']!r}" if row["entry_point"] else ""
    typer.echo(f"{row['distribution']} {row['version']}{entry_point}")
    if row["module"]:
        cost = "not measured" if row["import_seconds"] is None else f"imported in {1000 * row['import_seconds']:.0f} ms"
        typer.echo(f"  module {row['module']}, API {row['api']}, {cost}")
        names = [f"{item['kind']} {item['name']}" for item in row["components"]]
        typer.echo(f"  provides {', '.join(names) or 'no components'}")
    needs = {need["requirement"]: need for item in row["components"] for need in item["requires"]}
    for text, need in needs.items():
        installed = f"{need['installed']} is installed" if need["installed"] else "not installed"
        typer.echo(f"  requires {text}: {installed}")
    if row["heavy"]:
        typer.echo(
            f"  warning: its import loads {', '.join(row['heavy'])}, which slows every command; "
            "move these imports into the functions that use them"
        )
    for problem in row["problems"]:
        typer.echo(f"  PROBLEM ({problem['stage']}): {problem['error']}")
        if problem["hint"]:
            typer.echo(f"    try: {problem['hint']}")
    typer.echo()
