"""`probebench score RECORD`: any k, temperature and vote, of the neighbours that were kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from probebench.cli.output import print_json, print_table
from probebench.util.defaults import default_store
from probebench.util.errors import UsageError, suggest
from probebench.util.parsing import parse_floats, parse_ints, parse_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from probebench.analysis.revote import Scored
    from probebench.records.schema import Record


def score(
    record: Annotated[Path, typer.Argument(help="A record, or a folder that holds one.", show_default=False)],
    ks: Annotated[str | None, typer.Option(help="Numbers of neighbours, such as 1,5,20.", show_default=False)] = None,
    temperatures: Annotated[str, typer.Option(help="Of votes by temperature.")] = "0.07",
    votes: Annotated[str, typer.Option(help="temperature, uniform or both.")] = "temperature",
    store: Annotated[Path | None, typer.Option(help="Folder of the feature store.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Counts the votes of kept neighbours anew: any k, temperature and vote, without features."""
    numbers = () if ks is None else parse_ints(ks, where="--ks")
    weights = parse_floats(temperatures, where="--temperatures")
    words = parse_words(votes, where="--votes")

    from probebench.analysis import revote
    from probebench.cli.commands.compare import record_in
    from probebench.records.files import read_record

    if unknown := [word for word in words if word not in get_args(revote.Vote)]:
        raise UsageError(f"no vote {unknown[0]!r}", where="--votes", hint=suggest(unknown[0], get_args(revote.Vote)))
    path = record_in(record)
    found_record = read_record(path)
    found = revote.score(
        found_record,
        path,
        store or default_store(),
        ks=numbers,
        temperatures=weights,
        votes=[vote for vote in get_args(revote.Vote) if vote in words],
    )
    best = revote.best_on_val(found)
    if as_json:
        print_json(_document(found_record, path, found, best))
    else:
        _print(found_record, found, best)


def _document(record: Record, path: Path, found: Sequence[Scored], best: Scored) -> dict[str, Any]:
    return {
        "record": str(path),
        "point": str(record.chosen.point) if record.chosen else None,
        "primary": record.primary,
        "selection": "best_on_val is chosen on val; to take another row by its test value is to select on test",
        "rows": [
            {
                "vote": one.setting.vote,
                "temperature": one.setting.temperature,
                "k": one.setting.k,
                "val": one.val,
                "test": {name: measure.model_dump(mode="json") for name, measure in one.test.items()},
                "best_on_val": one is best,
            }
            for one in found
        ],
    }


def _print(record: Record, found: Sequence[Scored], best: Scored) -> None:
    cell, parts, primary = record.cell, record.parts, record.primary or "top1"
    metric = {"top1": "top-1", "mean_per_class": "mean per class"}[primary]
    row = f"{cell.dataset.title}, {record.protocol.name}, {cell.backbone.title}, seed {cell.seed}"
    point = record.chosen.point if record.chosen else "?"
    typer.echo(f"{row}: {metric} in %, by vote of the neighbours kept at {point}")
    columns = ("vote", "temperature", "k", f"val ({parts['val'].count})", f"test ({parts['test'].count})", "interval")
    print_table((*columns, "top-5"), [_line(one, primary, starred=one is best) for one in found])
    typer.echo(
        "* best on val: only this row is a selection, and only at this point. To take another by its test value is to "
        "select on test."
    )


def _line(one: Scored, primary: str, *, starred: bool) -> list[str]:
    setting, test = one.setting, one.test[primary]
    interval = "" if test.low is None or test.high is None else f"{100 * test.low:.1f} to {100 * test.high:.1f}"
    return [
        setting.vote,
        "" if setting.temperature is None else f"{setting.temperature:g}",
        str(setting.k),
        f"{100 * one.val:.1f}{'*' if starred else ''}",
        f"{100 * test.value:.1f}",
        interval,
        f"{100 * one.test['top5'].value:.1f}",
    ]
