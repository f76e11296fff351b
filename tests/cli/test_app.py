"""How the command line starts, and how it ends when something is wrong."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import typer

from probebench import __version__
from probebench.cli import app, main
from probebench.util import errors


@pytest.fixture
def command(monkeypatch):
    """Registers a command `boom` that runs a function."""

    def register(action):
        monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
        app.command("boom")(action)

    return register


def test_the_version_is_printed(cli):
    answer = cli("--version")
    assert (answer.code, answer.out) == (0, f"probebench {__version__}\n")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_lists_the_commands(cli, word):
    answer = cli(word)
    assert answer.code == 0
    assert all(name in answer.out for name in ("list", "show", "plugins"))


def test_a_group_without_a_command_prints_its_help_and_is_bad_usage(cli):
    answer = cli("plugins")
    assert answer.code == 2
    assert "doctor" in answer.out
    assert answer.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lst"], "error: No such command 'lst'. Did you mean 'list'?\n  try: probebench --help\n"),
        (
            ["plugins", "docto"],
            "error: No such command 'docto'. Did you mean 'doctor'?\n  try: probebench plugins --help\n",
        ),
        (["show"], "error: Missing argument 'SPEC'.\n  try: probebench show --help\n"),
    ],
)
def test_bad_usage_is_reported_in_two_lines(cli, arguments, message):
    answer = cli(*arguments)
    assert (answer.code, answer.out, answer.err) == (2, "", message)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DataError, 1),
        (errors.UsageError, 2),
        (errors.PluginError, 3),
        (errors.StaleBoardError, 4),
    ],
)
def test_an_error_for_the_user_has_its_message_and_its_exit_code(cli, command, error, code):
    def boom() -> None:
        raise error("it is wrong", where="here", hint="that")

    command(boom)
    answer = cli("boom")
    assert (answer.code, answer.out) == (code, "")
    assert answer.err == "error: it is wrong\n  in: here\n  try: that\n"


@pytest.mark.parametrize("words", [["--debug", "boom"], ["boom", "--debug"]])
def test_debug_shows_the_traceback_and_the_cause(cli, command, words):
    def boom() -> None:
        try:
            1 / 0  # noqa: B018 - the test needs an exception
        except ZeroDivisionError as error:
            raise errors.PluginError("it is wrong") from error

    command(boom)
    answer = cli(*words)
    assert answer.code == 3
    assert "Traceback" in answer.err
    assert "ZeroDivisionError: division by zero" in answer.err
    assert answer.err.endswith("error: it is wrong\n")


def test_an_unexpected_error_is_one_line_and_a_request(cli, command):
    def boom() -> None:
        raise KeyError("x")

    command(boom)
    answer = cli("boom")
    assert answer.code == 1
    assert (
        answer.err
        == "internal error: KeyError: 'x'\n  try: run the command again with --debug, and report what it prints\n"
    )
    assert "Traceback" in cli("boom", "--debug").err


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, typer.Abort])
def test_an_interrupt_ends_as_shells_expect(cli, command, interrupt):
    def boom() -> None:
        raise interrupt

    command(boom)
    answer = cli("boom")
    assert answer.code == 130
    assert "Traceback" not in answer.err


def test_a_command_may_choose_its_exit_code(cli, command):
    def boom() -> None:
        raise typer.Exit(3)

    command(boom)
    assert cli("boom").code == 3


def test_a_warning_for_the_user_is_one_line_whatever_the_command(cli, command):
    def boom() -> None:
        for _ in range(2):
            warnings.warn("k is clamped to 54", errors.ProbebenchWarning, stacklevel=1)
        with pytest.warns(FutureWarning, match="soon gone"):
            warnings.warn("soon gone", FutureWarning, stacklevel=1)
        typer.echo("done")

    command(boom)
    answer = cli("boom")
    assert (answer.code, answer.out, answer.err) == (0, "done\n", "warning: k is clamped to 54\n")


def test_main_reads_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["probebench", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "probebench", "lst"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: No such command 'lst'")
