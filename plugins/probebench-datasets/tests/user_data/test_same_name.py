"""Two datasets with the same name would overwrite each other's records."""

from __future__ import annotations

import re

import pytest

from probebench.cli import main


def run(*arguments: str) -> int:
    """Runs `probebench run` in this process, and returns its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(("run", "--backbone", "pixels", *arguments))
    return int(ended.value.code or 0)


def test_two_folders_with_the_same_name_are_refused_before_the_run(tmp_path, write_folders, capsys):
    first = write_folders(tmp_path / "here" / "pets", {"cat": 5, "dog": 5})
    second = write_folders(tmp_path / "there" / "pets", {"cat": 5, "dog": 5}, first=100)
    datasets = [f"--dataset=imagefolder:path={folder}" for folder in (first, second)]
    outputs = [f"--results={tmp_path / 'results'}", f"--store={tmp_path / 'store'}"]
    assert run(*datasets, *outputs) == 2
    error = capsys.readouterr().err
    assert re.search("two datasets .* 'pets'", error)  # the words are the core's
    assert "name=" in error
    assert not (tmp_path / "results").exists()
    assert run(datasets[0], f"{datasets[1]},name=other-pets", *outputs) == 0, capsys.readouterr().err
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"pets", "other-pets"}
