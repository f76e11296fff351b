"""A board as CSV and as JSON, for programs."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from probebench.board.pages.markdown import rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probebench.board.published import Published
    from probebench.board.ranking import Board, Place

_DIGITS = 6  # of a share: far below any interval, and equal on machines whose last bits differ


def csv_text(board: Board, folder: Path) -> str:
    """The ranked rows as CSV, one column a value. Shares are from 0 to 1."""
    rows = [_flat(_place(board, place, folder)) for place in board.places]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    if rows:
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def json_text(board: Board, folder: Path, published: Sequence[Published] = ()) -> str:
    """The whole board as JSON: rows with their seeds and heat maps, what was left out, others' rows, and the rules."""
    newest = board.newest
    document = {
        "dataset": newest.cell.dataset.model_dump(include={"title", "name", "version", "options", "fingerprints"}),
        "protocol": newest.protocol.model_dump(),
        "primary": newest.primary,
        "rules": rules(board),
        "rows": [
            {**_place(board, place, folder), "per_seed": _per_seed(place, folder), "heat": _heat(place)}
            for place in board.places
        ],
        "excluded": [
            {
                "backbone": excluded.entry.record.cell.backbone.title,
                "seed": excluded.entry.record.cell.seed,
                "reason": excluded.reason,
                "record": _relative(excluded.entry.path, folder),
            }
            for excluded in board.excluded
        ],
        "published": [asdict(row) for row in published],
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _place(board: Board, place: Place, folder: Path) -> dict[str, Any]:
    row = place.row
    drawn = board.drawn.get(row.lowest.network_key, {})
    return {
        "rank": place.rank,
        "tie_group": place.tie_group,
        "backbone": place.label,
        "baseline": row.backbone.baseline,
        "value": _round(row.value),
        "low": _round(row.low),
        "high": _round(row.high),
        "sd": _round(row.sd),
        "seeds": list(row.seeds),
        "n": row.primary.n,
        "metrics": {name: _round(value) for name, value in row.metrics.items()},
        **({"drawn": {name: _round(one.value) for name, one in sorted(drawn.items())}} if drawn else {}),
        "tap": row.chosen.tap,
        "level": row.chosen.level,
        "pool": row.chosen.pool,
        **({"soft_vote": "+".join(row.voting)} if row.voting else {}),
        "chosen_by": row.votes,
        "sigma": _round(row.chosen.sigma),
        "dim": row.chosen.dim,
        "parameters": row.backbone.parameters,
        "cost": _round(row.cost),
        "precision": row.lowest.record.cell.precision,
        "seconds_per_1000_images": _round(row.seconds),
        "record": _relative(row.lowest.path, folder),
    }


def _flat(place: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in place.items():
        if name in ("metrics", "drawn"):
            row |= dict(sorted(value.items()))
        elif name == "seeds":
            row[name] = " ".join(map(str, value))
        else:
            row[name] = str(value).lower() if isinstance(value, bool) else value
    return row


def _per_seed(place: Place, folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "seed": entry.record.cell.seed,
            "value": _round(entry.record.metrics[entry.record.primary or ""].value),
            "point": str(entry.record.chosen.point) if entry.record.chosen else None,
            "record": _relative(entry.path, folder),
        }
        for entry in place.row.entries
    ]


def _heat(place: Place) -> list[dict[str, Any]]:
    return [{"tap": tap, "level": level, "value": _round(value)} for (tap, level), value in place.row.heat.items()]


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder).replace(os.sep, "/")


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
