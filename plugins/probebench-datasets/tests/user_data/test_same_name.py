"""Two datasets of one name would overwrite each other's records."""

from __future__ import annotations


def test_two_folders_of_one_name_are_refused_before_anything_is_run(forks, tmp_path, write_tree):
    first = write_tree(tmp_path / "here" / "pets", {"cat": 5, "dog": 5})
    second = write_tree(tmp_path / "there" / "pets", {"cat": 5, "dog": 5}, first=100)
    datasets = [f"--dataset=imagefolder:path={folder}" for folder in (first, second)]
    places = [f"--results={tmp_path / 'results'}", f"--store={tmp_path / 'store'}"]
    done = forks.probebench("run", "--backbone", "pixels", *datasets, *places)
    assert done.wait() == 2
    assert "two datasets would be called 'pets'" in done.stderr
    assert "name=" in done.stderr
    assert not (tmp_path / "results").exists()
    renamed = forks.probebench("run", "--backbone", "pixels", datasets[0], f"{datasets[1]},name=other-pets", *places)
    assert renamed.wait() == 0, renamed.stderr
    titles = {path.name for path in (tmp_path / "results").iterdir()}
    assert titles == {"pets", "other-pets"}
