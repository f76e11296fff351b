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
    from probebench.board.ranking import Board, RankedRow

_DIGITS = 6  # of a share: far below any interval, and equal on machines whose last bits differ


def csv_text(board: Board, folder: Path) -> str:
    """Returns the ranked rows as CSV, one value a column. Shares are from 0 to 1."""
    lines = [_flat(_ranked_row(board, ranked, folder)) for ranked in board.ranked]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    if lines:
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()


def json_text(board: Board, folder: Path, published: Sequence[Published] = ()) -> str:
    """Returns the whole board as JSON: rows with seeds and heat maps, excluded records, published rows, and rules."""
    newest = board.newest
    document = {
        "dataset": newest.cell.dataset.model_dump(include={"title", "name", "version", "options", "fingerprints"}),
        "protocol": newest.protocol.model_dump(),
        "primary": newest.primary,
        "rules": rules(board),
        "rows": [
            {**_ranked_row(board, ranked, folder), "per_seed": _per_seed(ranked, folder), "heat": _heat(ranked)}
            for ranked in board.ranked
        ],
        "excluded": [
            {
                "backbone": excluded.loaded.record.cell.backbone.title,
                "seed": excluded.loaded.record.cell.seed,
                "reason": excluded.reason,
                "record": _relative(excluded.loaded.path, folder),
            }
            for excluded in board.excluded
        ],
        "published": [asdict(row) for row in published],
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _ranked_row(board: Board, ranked: RankedRow, folder: Path) -> dict[str, Any]:
    row = ranked.row
    generated = board.generated.get(row.lowest_seed.network_key, {})
    return {
        "rank": ranked.rank,
        "tie_group": ranked.tie_group,
        "backbone": ranked.label,
        "baseline": row.backbone.baseline,
        "value": _round(row.value),
        "low": _round(row.low),
        "high": _round(row.high),
        "sd": _round(row.sd),
        "seeds": list(row.seeds),
        "n": row.primary.n,
        "metrics": {name: _round(value) for name, value in row.metrics.items()},
        **({"drawn": {name: _round(one.value) for name, one in sorted(generated.items())}} if generated else {}),
        "tap": row.chosen.tap,
        "level": row.chosen.level,
        "pool": row.chosen.pool,
        **({"soft_vote": "+".join(row.averaged_levels)} if row.averaged_levels else {}),
        "chosen_by": row.chosen_by,
        "sigma": _round(row.chosen.sigma),
        "dim": row.chosen.dim,
        "parameters": row.backbone.parameters,
        "cost": _round(row.cost),
        "precision": row.lowest_seed.record.cell.precision,
        "seconds_per_1000_images": _round(row.seconds),
        "record": _relative(row.lowest_seed.path, folder),
    }


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {}
    for name, value in document.items():
        if name in ("metrics", "drawn"):
            line |= dict(sorted(value.items()))
        elif name == "seeds":
            line[name] = " ".join(map(str, value))
        else:
            line[name] = str(value).lower() if isinstance(value, bool) else value
    return line


def _per_seed(ranked: RankedRow, folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "seed": loaded.record.cell.seed,
            "value": _round(loaded.record.metrics[loaded.record.primary or ""].value),
            "point": str(loaded.record.chosen.point) if loaded.record.chosen else None,
            "record": _relative(loaded.path, folder),
        }
        for loaded in ranked.row.records
    ]


def _heat(ranked: RankedRow) -> list[dict[str, Any]]:
    return [{"tap": tap, "level": level, "value": _round(value)} for (tap, level), value in ranked.row.heat.items()]


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder).replace(os.sep, "/")


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
