from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from pydantic import TypeAdapter
from typer.testing import CliRunner

from probebench.cli.commands.leaderboard import app as leaderboard
from probebench.cli.commands.schema import schema
from probebench.records.schema import Record
from probebench.util.errors import StaleBoardError, UsageError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.add_typer(leaderboard, name="leaderboard")
    app.command()(schema)

    def call(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def default_folder(tmp_path):
    return tmp_path / "leaderboards" / "records"


def test_build_then_check(run, save_record, default_folder, tmp_path):
    save_record(folder=default_folder)
    built = run("leaderboard", "build")
    assert built.exit_code == 0
    assert "wrote leaderboards/scattered-digits/knn.md" in built.stdout
    assert (tmp_path / "leaderboards" / "README.md").exists()
    assert "4 files agree with their records" in run("leaderboard", "check").stdout
    assert "up to date" in run("leaderboard", "build").stdout


def test_a_stale_board_is_an_error_with_the_command_that_updates_it(run, save_record, default_folder, tmp_path):
    save_record(folder=default_folder)
    with pytest.raises(StaleBoardError, match="a leaderboard is missing") as caught:
        run("leaderboard", "check")
    assert caught.value.exit_code == 4
    assert str(caught.value).splitlines()[1:] == [
        "  in: leaderboards/scattered-digits/knn.md",
        "  try: probebench leaderboard build",
    ]


def test_the_updating_command_is_complete(run, save_record, tmp_path):
    save_record(folder=tmp_path / "my records")
    (tmp_path / "README.md").write_text("<!-- probebench:leaderboard -->\n<!-- /probebench:leaderboard -->\n")
    options = ("--records", "my records", "--out", "boards", "--readme", "README.md")
    with pytest.raises(StaleBoardError) as caught:
        run("leaderboard", "check", *options)
    expected = "probebench leaderboard build --records 'my records' --out boards --readme README.md"
    assert caught.value.hint == expected
    assert run("leaderboard", "build", *options).exit_code == 0
    assert run("leaderboard", "check", *options).exit_code == 0


def test_an_abandoned_board_is_reported_as_removed(run, save_record, default_folder):
    save_record(folder=default_folder)
    gone = save_record(folder=default_folder, probe="linear")
    run("leaderboard", "build")
    gone.unlink()
    assert "removed leaderboards/scattered-digits/linear.md" in run("leaderboard", "build").stdout


@pytest.mark.parametrize("command", ["build", "check"])
def test_no_records(run, command):
    with pytest.raises(UsageError, match="there are no records"):
        run("leaderboard", command)


def test_the_schema_is_json_schema_of_a_record(run):
    document = json.loads(run("schema").stdout)
    assert document["title"] == "Record"
    assert document["properties"]["schema_version"]["const"] == 3
    assert document == TypeAdapter(Record).json_schema()
    described = {name for name, field in document["$defs"]["Cell"]["properties"].items() if "description" in field}
    assert {"seed", "noise_seed", "precision", "device", "limit"} <= described


@pytest.mark.parametrize("module", ["leaderboard", "schema", "compare"])
def test_the_commands_are_light_to_import(module):
    script = (
        f"import sys, probebench.cli.commands.{module};"
        "print([name for name in ('numpy', 'scipy', 'torch', 'pydantic', 'tabulate') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_building_boards_loads_no_torch(save_record, tmp_path):
    save_record()
    script = (
        "import sys; from pathlib import Path; from probebench.board import files as board;"
        "board.outputs(Path(sys.argv[1]), Path(sys.argv[2])); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, tmp_path / "records", tmp_path / "out"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
