"""`probebench plugins list` and `probebench plugins doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table

if TYPE_CHECKING:
    from probebench.plugins.discovery import Plugin, Problem
    from probebench.plugins.registry import Registry

app = typer.Typer(help="What is installed, and what is wrong with it.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def list_plugins(as_json: AsJson = False) -> None:
    """Lists the installed plugins, broken ones too."""
    from probebench.plugins.registry import installed

    rows = _rows(installed())
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
                f"{len(row['problems'])} problem(s): probebench plugins doctor" if row["problems"] else "ok",
            )
            for row in rows
        ],
    )


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Examines every plugin. Exits with 3 when there is a problem.

    Each plugin's module is imported once more in a fresh process, to see what it costs every command. A slow one is a
    warning; a problem is something that does not work.
    """
    from probebench.plugins.import_cost import measure
    from probebench.plugins.registry import installed
    from probebench.util.errors import PluginError

    registry = installed()
    rows = _rows(registry)
    for row in rows:
        footprint = measure(row["module"]) if row["module"] else None
        row["import_seconds"] = footprint and round(footprint.seconds, 4)
        row["heavy"] = footprint and list(footprint.heavy)
    shared = _shared_names(registry)
    if as_json:
        print_json({"plugins": rows, "shared_names": shared})
    else:
        for row in rows:
            _print(row)
        for kind, name, owners in ((item["kind"], item["name"], item["distributions"]) for item in shared):
            typer.echo(f"note: {kind} {name} is given by {' and '.join(owners)}: write DISTRIBUTION/{name}")
        typer.echo(f"{len(rows)} plugins, {len(registry.discovery.problems)} problems")
    if registry.discovery.problems:
        raise typer.Exit(PluginError.exit_code)


def _rows(registry: Registry) -> list[dict[str, Any]]:
    """One row for each entry point, loaded or not; problems of a whole distribution have a row of their own."""
    discovery = registry.discovery
    plugins = {(plugin.distribution, plugin.entry_point): plugin for plugin in discovery.plugins}
    problems: dict[tuple[str, str], list[Problem]] = {}
    for problem in discovery.problems:
        problems.setdefault((problem.distribution, problem.entry_point), []).append(problem)
    return [_row(key, plugins.get(key), problems.get(key, [])) for key in sorted({*plugins, *problems})]


def _row(key: tuple[str, str], plugin: Plugin | None, problems: list[Problem]) -> dict[str, Any]:
    from probebench.cli.commands.listing import problem_document
    from probebench.plugins import requirements
    from probebench.plugins.discovery import kind_of

    row: dict[str, Any] = {
        "distribution": key[0],
        "version": plugin.version if plugin else problems[0].version,
        "entry_point": key[1],
        "module": plugin and plugin.module,
        "api": plugin and plugin.api,
        "components": [],
        "problems": [problem_document(problem) for problem in problems],
    }
    for spec in plugin.specs if plugin else ():
        needs = [
            {"requirement": requirement.text, "installed": requirement.installed or None, "met": requirement.met}
            for requirement in requirements.check(spec.requires)
        ]
        row["components"].append({"kind": kind_of(spec), "name": spec.name, "requires": needs})
    for card in plugin.protocols if plugin else ():
        row["components"].append({"kind": "protocol", "name": card.name, "requires": []})
    return row


def _shared_names(registry: Registry) -> list[dict[str, Any]]:
    """Short names that several distributions give: each is usable under its qualified name only."""
    from probebench.plugins.registry import KINDS

    shared = []
    for kind in KINDS:
        entries = [entry for entry in registry.entries(kind) if not entry.unique]
        for name in sorted({entry.spec.name for entry in entries}):
            owners = [entry.distribution for entry in entries if entry.spec.name == name]
            shared.append({"kind": kind, "name": name, "distributions": owners})
    return shared


def _print(row: dict[str, Any]) -> None:
    entry_point = f", entry point {row['entry_point']!r}" if row["entry_point"] else ""
    typer.echo(f"{row['distribution']} {row['version']}{entry_point}")
    if row["module"]:
        cost = "not measured" if row["import_seconds"] is None else f"imported in {1000 * row['import_seconds']:.0f} ms"
        typer.echo(f"  module {row['module']}, API {row['api']}, {cost}")
        names = [f"{item['kind']} {item['name']}" for item in row["components"]]
        typer.echo(f"  gives {', '.join(names) or 'nothing'}")
    needs = {need["requirement"]: need for item in row["components"] for need in item["requires"]}
    for text, need in needs.items():
        typer.echo(f"  needs {text}: {'found ' + need['installed'] if need['installed'] else 'missing'}")
    if row["heavy"]:
        typer.echo(f"  warning: it imports {', '.join(row['heavy'])}, which slows every command; import them later")
    for problem in row["problems"]:
        typer.echo(f"  PROBLEM ({problem['stage']}): {problem['error']}")
        if problem["hint"]:
            typer.echo(f"    try: {problem['hint']}")
    typer.echo()
