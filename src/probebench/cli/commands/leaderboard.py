"""`probebench leaderboard build` and `probebench leaderboard check`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Build the leaderboards from records, or check that they are up to date", no_args_is_help=True)

_OUT = Path("leaderboards")
_RECORDS = _OUT / "records"

Records = Annotated[Path, typer.Option(help="Folder of the records, with its subfolders")]
Out = Annotated[Path, typer.Option(help="Folder of the boards")]
Readme = Annotated[
    Path | None,
    typer.Option(help="File for a summary, between its markers <!-- probebench:leaderboard -->"),
]


@app.command("build", help="Write a board for each dataset and protocol, as markdown, CSV and JSON, and an index")
def build(records: Records = _RECORDS, out: Out = _OUT, readme: Readme = None) -> None:
    """Writes a board for each dataset and protocol, as markdown, CSV and JSON, and an index."""
    from probebench.board.files import outputs, write

    changed = write(outputs(records, out, readme), out)
    for path in changed:
        typer.echo(f"{'wrote' if path.exists() else 'removed'} {path}")
    if not changed:
        typer.echo("all leaderboards are up to date")


@app.command("check", help="Check that all boards agree with their records; the exit code is 4 if one does not")
def check(records: Records = _RECORDS, out: Out = _OUT, readme: Readme = None) -> None:
    """Checks that all boards agree with their records. Exits with 4 if one does not."""
    from probebench.board.files import check as check_files
    from probebench.board.files import outputs

    files = outputs(records, out, readme)
    check_files(files, out, _build_command(records, out, readme))
    typer.echo(f"{len(files)} files agree with their records")


def _build_command(records: Path, out: Path, readme: Path | None) -> str:
    words = ["probebench", "leaderboard", "build"]
    words += ["--records", str(records)] * (records != _RECORDS)
    words += ["--out", str(out)] * (out != _OUT)
    words += ["--readme", str(readme)] * (readme is not None)
    return shlex.join(words)
