"""`probebench score RECORD`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from probebench.cli.output import METRICS, print_json, print_table
from probebench.util.defaults import default_store
from probebench.util.errors import UsageError, suggest
from probebench.util.parsing import parse_floats, parse_ints, parse_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from probebench.analysis.revote import VoteResult
    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import Record


def score(
    record: Annotated[
        Path, typer.Argument(help="The file of a record, or a folder that holds one record", show_default=False)
    ],
    ks: Annotated[str | None, typer.Option(help="Numbers of neighbours, such as 1,5,20", show_default=False)] = None,
    temperatures: Annotated[str, typer.Option(help="Temperatures of the weights")] = "0.07",
    votes: Annotated[str, typer.Option(help="Kinds of votes: temperature, uniform or both")] = "temperature",
    store: Annotated[Path | None, typer.Option(help="Folder of the feature store", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document")] = False,
) -> None:
    """Counts the votes of stored neighbours with any k, temperature and vote, without features."""
    numbers = () if ks is None else parse_ints(ks, where="--ks")
    weights = parse_floats(temperatures, where="--temperatures")
    words = parse_words(votes, where="--votes")

    from probebench.analysis import revote
    from probebench.board.collect import load_one

    kinds = get_args(revote.Vote)
    if unknown := [word for word in words if word not in kinds]:
        raise UsageError(f"no kind of votes is called {unknown[0]!r}", where="--votes", hint=suggest(unknown[0], kinds))
    loaded = load_one(record)
    results = revote.score(
        loaded,
        store or default_store(),
        ks=numbers,
        temperatures=weights,
        votes=[kind for kind in kinds if kind in words],
    )
    best = revote.best_on_val(results)
    if as_json:
        print_json(_document(loaded, results, best))
    else:
        _print(loaded.record, results, best)


def _document(loaded: LoadedRecord, results: Sequence[VoteResult], best: VoteResult) -> dict[str, Any]:
    record = loaded.record
    return {
        "record": str(loaded.path),
        "point": str(record.chosen.point) if record.chosen else None,
        "primary": record.primary,
        "selection": "best_on_val is chosen on val; choosing another row by its test value is selection on test",
        "rows": [
            {
                "vote": one.setting.vote,
                "temperature": one.setting.temperature,
                "k": one.setting.k,
                "val": one.val,
                "test": {name: measure.model_dump(mode="json") for name, measure in one.test.items()},
                "best_on_val": one is best,
            }
            for one in results
        ],
    }


def _print(record: Record, results: Sequence[VoteResult], best: VoteResult) -> None:
    cell, parts, primary = record.cell, record.parts, record.primary or "top1"
    row = f"{cell.dataset.title}, {record.protocol.name}, {cell.backbone.title}, seed {cell.seed}"
    point = record.chosen.point if record.chosen else "?"
    typer.echo(f"{row}: {METRICS[primary]} in %, by vote of the neighbours stored for {point}")
    columns = ("vote", "temperature", "k", f"val ({parts['val'].count})", f"test ({parts['test'].count})", "interval")
    print_table((*columns, "top-5"), [_line(one, primary, starred=one is best) for one in results])
    typer.echo(
        "* best on val: the only row that is a valid selection, and only at this point. Choosing another row by its "
        "test value is selection on test."
    )


def _line(result: VoteResult, primary: str, *, starred: bool) -> list[str]:
    setting, test = result.setting, result.test[primary]
    interval = "" if test.low is None or test.high is None else f"{100 * test.low:.1f} to {100 * test.high:.1f}"
    return [
        setting.vote,
        "" if setting.temperature is None else f"{setting.temperature:g}",
        str(setting.k),
        f"{100 * result.val:.1f}{'*' if starred else ''}",
        f"{100 * test.value:.1f}",
        interval,
        f"{100 * result.test['top5'].value:.1f}",
    ]
