"""`probebench store ls`, `probebench store verify` and `probebench store gc`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from probebench.util.defaults import default_store
from probebench.util.errors import UsageError

app = typer.Typer(help="List, verify and clean the feature store", no_args_is_help=True)

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Folder of the store; by default $PROBEBENCH_STORE, or the user's cache", show_default=False
    ),
]


@app.command("ls", help="List stored features, neighbours and generated images, the last used first")
def list_entries(store: StoreOption = None) -> None:
    """Lists the stored features, neighbours and generated images, the last used first."""
    from tabulate import tabulate

    from probebench.store.maintenance import stored_items

    root = store or default_store()
    found = stored_items(root)
    if not found:
        typer.echo(f"{root} holds no features yet")
        return
    rows = [
        (
            one.key[:12],
            one.backbone,
            one.split,
            one.point,
            one.rows,
            "unfinished" if one.dim is None else one.dim or "",
            format_size(one.size),
            datetime.fromtimestamp(one.used, tz=UTC).strftime("%Y-%m-%d %H:%M"),
        )
        for one in found
    ]
    headers = ("key", "backbone", "split", "point", "rows", "dim", "size", "last used (UTC)")
    typer.echo(tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True))
    typer.echo(f"\n{len(found)} entries, {format_size(sum(one.size for one in found))}, in {root}")


@app.command("verify", help="Read every stored file, and list damaged files")
def verify_entries(store: StoreOption = None) -> None:
    """Reads every stored file and lists damaged files; the next run that needs them computes them again."""
    from probebench.store.maintenance import verify

    root = store or default_store()
    damaged = verify(root)
    for path, fault in damaged:
        typer.echo(f"{path} {fault}")
    if damaged:
        raise typer.Exit(1)
    typer.echo(f"no file in {root} is damaged")


@app.command("gc", help="Remove temporary files, shards of no entry, and entries unfinished for a day")
def gc(
    store: StoreOption = None,
    max_size: Annotated[
        str | None,
        typer.Option(help="Also remove the least recently used entries until the store fits, such as 5GB"),
    ] = None,
) -> None:
    """Removes temporary files, shards that no entry lists, and entries that are unfinished for a day."""
    from probebench.store.maintenance import collect_garbage

    limit = None if max_size is None else parse_size(max_size)
    root = store or default_store()
    removed = collect_garbage(root, max_size=limit)
    typer.echo(f"removed {removed.files} files, {format_size(removed.size)}, from {root}")


def parse_size(text: str) -> int:
    """Parses ``5GB``, ``500MB`` or ``1.5G`` to bytes; a kilobyte is 1000 bytes.

    Raises:
        UsageError: The text does not have this form.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a size", where="--max-size", hint="write a number with KB, MB, GB or TB, such as 5GB"
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


def format_size(size: int) -> str:
    """Returns a number of bytes with its unit: ``5.0 GB``."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= _UNITS[unit[0]]:
            return f"{size / _UNITS[unit[0]]:.1f} {unit}"
    return f"{size} B"
