"""Options of `probebench run`: each is declared once, for flags, config files and the table of docs/cli.md."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from probebench.api import UsageError
from probebench.cli import app
from probebench.cli.settings import OPTIONS, from_file, given_options, study_of
from probebench.planning.request import Request

MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"

COMMAND = typer.main.get_command(app).commands["run"]

WRITTEN = {
    "specs": (["a:x=1", "b"], ["a:x=1", "b"], ("a:x=1", "b")),
    "words": (["a", "b"], "a, b", ("a", "b")),
    "integers": ([3, 4], "3,4", (3, 4)),
    "integer": (5, 5, 5),
    "text": ("some", "some", "some"),
    "path": ("a/folder", Path("a/folder"), Path("a/folder")),
}
"""By form of an option: its value in a config file, its value on the command line, and its value in a request."""


def written(declared):
    """Returns a value that is not the default, in the forms of `WRITTEN`."""
    if declared.form == "switch":
        return (not getattr(Request(), declared.name),) * 3
    return WRITTEN[declared.form]


def table() -> list[str]:
    """Returns the rows of the table in docs/cli.md."""
    rows = []
    for parameter in COMMAND.params:
        flags = ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))
        default = OPTIONS[parameter.name].default if parameter.name in OPTIONS else ""
        rows.append(f"| {flags} | {default} | {parameter.help} |".replace("|  |", "| |"))
    return rows


def read(folder, text, **given):
    path = folder / "run.toml"
    path.write_text(text)
    return study_of(from_file(path), given)


every_option = pytest.mark.parametrize("declared", OPTIONS.values(), ids=OPTIONS)


def test_every_field_of_a_request_is_declared_as_an_option_unless_it_is_derived():
    assert [field.name for field in fields(Request) if field.name not in OPTIONS] == ["only_contender"]
    assert {parameter.name for parameter in COMMAND.params} == {*OPTIONS, "config", "as_json", "dry_run", "download"}


def test_help_shows_every_option_with_its_text_and_default(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    lines = cli("run", "--help").out.splitlines()
    for declared in OPTIONS.values():
        (line,) = [line for line in lines if line.split()[1:2] == [declared.flag]]
        assert declared.help in line
        assert (f"--no-{declared.flag[2:]}" in line.split()) is (declared.form == "switch")
        assert ("[default: " in line) is bool(declared.default)
        assert declared.default.replace("`", "") in line


@every_option
def test_an_option_is_a_flag_and_a_key_of_a_config_file(tmp_path, declared):
    in_file, on_command_line, expected = written(declared)
    text = f"{declared.name} = {json.dumps(in_file)}\n"
    [request] = read(tmp_path, text).requests
    assert getattr(request, declared.name) == expected != getattr(Request(), declared.name)
    given = given_options(
        {declared.name: on_command_line, "config": None, **dict.fromkeys(OPTIONS.keys() - {declared.name})}
    )
    assert given.keys() == {declared.name}
    [request] = read(tmp_path, "", **given).requests
    assert getattr(request, declared.name) == expected


@every_option
def test_a_table_of_one_run_has_the_options_that_do_not_hold_for_all_runs(tmp_path, declared):
    in_file, _, expected = written(declared)
    text = f"[[run]]\n[[run]]\n{declared.name} = {json.dumps(in_file)}\n"
    if declared.per_run:
        first, second = read(tmp_path, text).requests
        assert getattr(first, declared.name) == getattr(Request(), declared.name)
        assert getattr(second, declared.name) == expected
        return
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert str(caught.value).splitlines() == [
        f"{declared.name!r} cannot be set inside [[run]], because all runs share it",
        f"  in: [[run]] 2 of {tmp_path / 'run.toml'}",
        f"  try: move the line {declared.name} = ... above the first table",
    ]


@pytest.mark.parametrize(
    "name", sorted(OPTIONS.keys() - {"levels"})
)  # a level may be a number, and is looked up as text
def test_a_value_of_another_type_is_refused(tmp_path, name):
    wrong = {"switch": "1", "integer": "true", "integers": '["1"]', "text": "[]", "path": "0.5"}
    with pytest.raises(UsageError, match=f"{name} .*is not "):
        read(tmp_path, f"{name} = {wrong.get(OPTIONS[name].form, '{}')}\n")


def test_the_table_of_the_manual_is_that_of_the_declarations():
    section = MANUAL.read_text(encoding="utf-8").partition("\n## probebench run\n")[2].partition("\n## ")[0]
    found = re.search(r"\n\| option \| default \| meaning \|\n\|:---\|:---\|:---\|\n((?:\|.*\n)+)", section)
    assert found, "the table has no heading"
    assert found[1].splitlines() == table()
