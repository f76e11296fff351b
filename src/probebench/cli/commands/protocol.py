"""`probebench protocol list`, `probebench protocol show` and `probebench protocol diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table
from probebench.util.errors import PluginError

if TYPE_CHECKING:
    from probebench.planning.protocol import Named

app = typer.Typer(
    help="List, show and compare protocols: named settings of probes, with their sources", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document")]
NameOfProtocol = Annotated[str, typer.Argument(metavar="NAME", help="NAME or NAME:PROBE", show_default=False)]

_ABSENT = "-"
_LEFT_TO_RUN = "left to the run"
_POINTS = ("pool", "taps", "levels")


@app.command("list", help="List the installed protocols")
def list_protocols(as_json: AsJson = False) -> None:
    """Lists the installed protocols. Exits with 3 if a document is not valid."""
    from probebench.planning.protocol import find, known

    rows, errors = [], []
    for label, owner, version, _ in known():
        row: dict[str, Any] = {"name": label, "distribution": owner, "distribution_version": version}
        try:
            named = find(label)
        except PluginError as error:
            rows.append({**row, "probes": {}, "summary": "", "error": str(error)})
            errors.append(error)
            continue
        versions = {probe: rules.version for probe, rules in named.document.probes.items()}
        rows.append({**row, "probes": versions, "summary": named.document.summary, "error": None})
    if as_json:
        print_json({"protocols": rows})
    else:
        print_table(
            ("protocol", "probes", "from", ""),
            [
                (
                    row["name"],
                    ", ".join(f"{probe} v{version}" for probe, version in row["probes"].items()),
                    f"{row['distribution']} {row['distribution_version']}",
                    row["summary"] or "cannot be read",
                )
                for row in rows
            ]
            or [("(none)", "", "", "")],
        )
    if errors:
        raise errors[0]


@app.command("show", help="Show a protocol: settings, source, open choices, and departures from the source")
def show(name: NameOfProtocol, as_json: AsJson = False) -> None:
    """Shows a protocol: settings, source, choices that the source leaves open, and departures from the source."""
    from probebench.planning.protocol import find

    named = find(name)
    ruled = named.ruled(None)
    if as_json:
        document = named.document.model_dump(mode="json")
        document["probes"] = {probe: document["probes"][probe] for probe in named.probes}
        hashes = {probe: each.protocol.hash for probe, each in zip(named.probes, ruled, strict=True)}
        print_json({"origin": named.origin, "document": document, "hashes": hashes})
        return
    _print(named)
    typer.echo()
    names = (each.protocol for each in ruled)
    print_table(("protocol in records", "hash"), [(protocol.name, protocol.hash[:16]) for protocol in names])


def _print(named: Named) -> None:
    from probebench.planning.protocol import FINAL_FIT, MEASURED, VAL_FRACTION

    document = named.document
    typer.echo(f"protocol {named.label}: {document.summary}")
    facts = {
        "from": named.origin,
        "source": document.source.work,
        "section": document.source.section,
        "code": " ".join(text for text in (document.source.repository, document.source.file) if text),
        "val": f"the official split, or else {100 * VAL_FRACTION:g} % of train; point and setting are chosen on it",
        "fit": f"{FINAL_FIT}; measured {MEASURED}",
    }
    for key, value in facts.items():
        if value:
            typer.echo(f"  {key + ':':<9}{value}")
    typer.echo()
    opened = {choice.field for choice in document.open}
    settings = _settings(named)
    points = {name: _LEFT_TO_RUN for name in _POINTS if name not in settings}
    rows = [
        (field, value, "open in the source" if field in opened else "") for field, value in (settings | points).items()
    ]
    print_table(("setting", "value", ""), rows)
    if document.open:
        typer.echo()
        print_table(
            ("open in the source", "our choice", "reason"),
            [(choice.field, choice.reading, choice.reason) for choice in document.open],
        )
    if document.departures:
        typer.echo()
        print_table(
            ("departure", "source", "here", "reason"),
            [(item.field, item.source, item.here, item.reason) for item in document.departures],
        )


@app.command("diff", help="Compare the settings of two protocols, field by field")
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="NAME or NAME:PROBE", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="NAME or NAME:PROBE", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Compares the settings of two protocols, field by field. A star marks the settings that differ."""
    from probebench.planning.protocol import find

    names, columns = [], []
    for text in (first, second):
        named = find(text)
        named.ruled(None)  # checks that the probes have these settings
        names.append(text)
        columns.append(dict.fromkeys(_POINTS, _LEFT_TO_RUN) | _settings(named))
    fields = dict.fromkeys([*columns[0], *columns[1]])
    rows = [(field, *(column.get(field) for column in columns)) for field in fields]
    if as_json:
        print_json({"fields": [{"field": field, "a": a, "b": b, "same": a == b} for field, a, b in rows]})
        return
    shown = [("" if a == b else "*", field, a or _ABSENT, b or _ABSENT) for field, a, b in rows]
    print_table(("", "setting", *names), shown)


def _settings(named: Named) -> dict[str, str]:
    """Returns the settings of the requested probes."""
    from probebench.planning.protocol_files import settings

    prefixes = tuple(f"probes.{probe}." for probe in named.probes)
    return {
        name: value
        for name, value in settings(named.document).items()
        if name.startswith(prefixes) or not name.startswith("probes.")
    }
