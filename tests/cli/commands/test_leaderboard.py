from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata

import pytest
import typer
from pydantic import TypeAdapter
from typer.testing import CliRunner

from probebench.cli.commands.compare import compare
from probebench.cli.commands.leaderboard import app as leaderboard
from probebench.cli.commands.schema import schema
from probebench.records.files import read_record
from probebench.records.schema import Record
from probebench.stats.significance import mcnemar
from probebench.util.errors import RecordError, StaleBoardError, UsageError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.add_typer(leaderboard, name="leaderboard")
    app.command()(schema)
    app.command()(compare)

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


def test_compare_counts_the_four_cases(run, save_record, images):
    one, other = images(range(120)), images(range(20, 130))
    a = save_record("first", correct=one)
    b = save_record("second", correct=other)
    document = json.loads(run("compare", a, b, "--json").stdout)
    assert (document["both_right"], document["only_a"], document["only_b"], document["both_wrong"]) == (100, 20, 10, 70)
    assert document["n"] == 200
    assert document["difference"] == pytest.approx(0.05)
    assert document["p"] == pytest.approx(mcnemar(one, other))
    assert document["a"]["backbone"] == "first"


def test_compare_prints_a_table_that_can_be_read(run, save_record, images):
    a, b = save_record("first", correct=images(150)), save_record("second", correct=images(100))
    lines = run("compare", a, b).stdout.splitlines()
    assert lines[0] == (
        "scattered-digits: top-1 in percent on 200 test images, with 95 % interval "
        "(of the difference: paired bootstrap)"
    )
    assert lines[1] == "A  first   knn  seed 0  75.0 (68.6 to 80.5)"
    assert lines[5:7] == ["-------  ---------  ---------", "A right        100         50"]
    assert lines[7] == "A wrong          0         50"
    assert verdict(lines) == (25.0, "A is better by 25.0 points", "exact McNemar p < 0.001", "50 images against 0")


def verdict(lines):
    """The last line in its parts, the first of them with its interval read: it holds the difference."""
    first, *others = lines[-1].split("; ")
    match = re.fullmatch(r"(.*?([+-]?\d+\.\d) points) \(([+-]?\d+\.\d) to ([+-]?\d+\.\d)\)", first)
    value, low, high = map(float, match.groups()[1:])
    assert low < value < high
    return (value, match[1], *others)


def test_the_better_record_is_named_whatever_the_order(run, save_record, images):
    worse, better = images(range(30)), images(range(18, 72))
    a, b = save_record("worse", correct=worse), save_record("better", correct=better)
    test = f"exact McNemar p = {mcnemar(worse, better):.3f}"
    for first, second, name in ((a, b, "B"), (b, a, "A")):
        assert verdict(run("compare", first, second).stdout.splitlines()) == (
            12.0,
            f"{name} is better by 12.0 points",
            test,
            "42 images against 18",
        )


def test_rows_that_are_alike_cannot_be_told_apart(run, save_record, images):
    a, b = save_record("first", correct=images(100)), save_record("second", correct=images(101))
    assert run("compare", a, b).stdout.splitlines()[-1] == (
        "A and B cannot be told apart: A - B = -0.5 points (-1.5 to +0.0); exact McNemar p = 1.000; "
        "1 of 200 images decides (0 for A, 1 for B)"
    )
    assert run("compare", a, a).stdout.endswith("0 of 200 images decide (0 for A, 0 for B)\n")


def test_compare_takes_folders_of_one_record(run, save_record, tmp_path):
    save_record("first", folder=tmp_path / "a")
    save_record("second", folder=tmp_path / "b" / "deeper")
    assert run("compare", "a", "b").exit_code == 0


def test_compare_of_a_folder_of_many_is_refused(run, save_record, tmp_path):
    path = save_record("first", folder=tmp_path / "a")
    save_record("second", folder=tmp_path / "a")
    with pytest.raises(UsageError) as caught:
        run("compare", "a", path)
    assert str(caught.value).splitlines() == [
        "the folder holds 2 records: first-scattered-digits-knn-s0.json, second-scattered-digits-knn-s0.json",
        "  in: a",
        "  try: name one, such as a/first-scattered-digits-knn-s0.json",
    ]


def test_compare_of_a_folder_of_none_is_refused(run, save_record, tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="there are no records"):
        run("compare", "a", save_record("first"))


@pytest.mark.parametrize("changes", [{"images_fingerprint": "other"}, {"test_indices": "other"}])
def test_compare_refuses_other_test_images(run, save_record, changes):
    a, b = save_record("first"), save_record("second", **changes)
    with pytest.raises(UsageError, match="not measured on the same test images"):
        run("compare", a, b)


def test_compare_of_a_failed_cell_is_refused(run, save_record):
    with pytest.raises(RecordError, match="the record has no predictions"):
        run("compare", save_record("first", failure="DataError"), save_record("second"))


def test_a_record_may_be_of_an_absent_plugin(save_record, run):
    path = save_record("absent")
    installed = {distribution.name for distribution in metadata.distributions()}
    assert read_record(path).cell.backbone.name.split("/")[0] not in installed
    assert run("compare", path, path).exit_code == 0


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
