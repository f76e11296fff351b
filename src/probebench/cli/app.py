"""The application, the global options, and the exit codes."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from probebench import __version__
from probebench.cli.output import show_warnings
from probebench.util.errors import ProbebenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="probebench",
    help="Measure how good the features of a frozen backbone are, by tap and by noise level",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"probebench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks; allowed after every command")] = False,
) -> None:
    """Declares the global options for `--help`: `main` handles `--debug`, and the callback handles `--version`."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and ends the process.

    Exit codes: 0 success, 1 a failed cell or an unexpected error, 2 wrong usage, 3 a problem of a plugin or a failed
    check, 4 a stale board, 130 interrupted.

    Args:
        arguments: The words after the program's name; by default those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_run([word for word in words if word != "--debug"], debug=debug))


def _run(words: list[str], *, debug: bool) -> int:
    try:
        command = typer.main.get_command(app)
        with show_warnings():
            status = command.main(args=words, prog_name="probebench", standalone_mode=False, obj=debug)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost frame: every error ends in a message and an exit code
        if debug:
            traceback.print_exc()
        return _report(error)
    return status if isinstance(status, int) else 0


def _report(error: Exception) -> int:
    if isinstance(error, ProbebenchError):
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    # Usage errors of Typer: their class is in click or in a private module, depending on the version.
    format_message, exit_code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if callable(format_message) and isinstance(exit_code, int):
        if message := format_message():  # empty if Typer has printed the help of a group instead
            context = getattr(error, "ctx", None)
            typer.echo(f"error: {message}", err=True)
            typer.echo(f"  try: {context.command_path if context else 'probebench'} --help", err=True)
        return exit_code
    typer.echo(f"internal error: {type(error).__name__}: {error}", err=True)
    typer.echo("  try: run the command again with --debug, and report what it prints", err=True)
    return 1
