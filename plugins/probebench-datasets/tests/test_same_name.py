"""Two datasets of one name would overwrite each other's records."""

from __future__ import annotations

import subprocess
import sys


def test_two_folders_of_one_name_are_refused_before_anything_is_run(tmp_path, write_tree):
    first = write_tree(tmp_path / "here" / "pets", {"cat": 5, "dog": 5})
    second = write_tree(tmp_path / "there" / "pets", {"cat": 5, "dog": 5}, first=100)
    datasets = [f"--dataset=imagefolder:path={folder}" for folder in (first, second)]
    places = [f"--results={tmp_path / 'results'}", f"--store={tmp_path / 'store'}"]
    command = [sys.executable, "-m", "probebench", "run", "--backbone", "pixels", *datasets, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "two datasets would be called 'pets'" in done.stderr
    assert "name=" in done.stderr
    assert not (tmp_path / "results").exists()
    renamed = [*command[:6], datasets[0], f"{datasets[1]},name=other-pets", *places]
    subprocess.run(renamed, capture_output=True, check=True)
    titles = {path.name for path in (tmp_path / "results").iterdir()}
    assert titles == {"pets", "other-pets"}
