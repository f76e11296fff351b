"""A study in one command: trainings, series, boards and figures. After a kill it ends with the same results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from probebench.records import files as records

STUDY = """
backbone = ["ddpm:run=runs/on,epochs=all", "ddpm:run=runs/off,epochs=1"]
dataset = ["digits"]
probe = ["knn"]
taps = ["mid", "up.0"]
levels = ["t=10", "t=100"]
results = "study/records"
store = "study/store"
boards = "study/boards"
plots = "study/plots"

[[train]]
backbone = "ddpm:widths=8+8+8+8"
dataset = "digits"
epochs = 2
recipe = "batch_size=256,save_every=1"
out = "runs/on"

[[train]]
backbone = "ddpm:widths=8+8+8+8,attention=false"
dataset = "digits"
epochs = 1
recipe = "batch_size=256,save_every=1"
out = "runs/off"
"""


def laid_out(folder):
    """Writes the study to a folder, and returns the environment it is run in."""
    folder.mkdir(exist_ok=True)
    (folder / "study.toml").write_text(STUDY)
    # Without git the records do not say whether the tree has changes; with changes, boards would leave them out.
    return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": str(folder)}


@pytest.fixture
def start(forks):
    """Starts the study in another process."""
    return lambda folder: forks.probebench("run", "--config", "study.toml", folder=folder, environment=laid_out(folder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study without an interruption, in a new interpreter."""
    folder = tmp_path_factory.mktemp("study") / "whole"
    environment = laid_out(folder)
    command = [sys.executable, "-m", "probebench", "run", "--config", "study.toml"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def outcome(folder):
    """Returns what a study must reproduce: numbers, figures and weights."""
    paths = sorted((folder / "study/records").rglob("*.json"))
    results = {path.relative_to(folder): records.comparable(records.read_record(path)) for path in paths}
    files = [*(folder / "study/plots").rglob("*.*"), *(folder / "runs").rglob("*.safetensors")]
    return results, {path.relative_to(folder): path.read_bytes() for path in files}


def test_it_trains_probes_and_reports(whole):
    folder, printed = whole
    lines = printed.splitlines()
    assert [line for line in lines if line.startswith("trained: ")] == [
        "trained: runs/on/epoch-0002",
        "trained: runs/off/epoch-0001",
    ]
    assert "wrote study/boards/digits/knn.md" in lines
    assert "wrote study/plots/digits/knn/epochs-ddpm.svg" in lines
    found = [records.read_record(path) for path in (folder / "study/records").rglob("*.json")]
    provenance = {record.cell.backbone.title: record.cell.backbone.trained for record in found}
    assert {title: trained and trained.epoch for title, trained in provenance.items()} == {
        "ddpm:checkpoint=runs/on/epoch-0001": 1,
        "ddpm:checkpoint=runs/on/epoch-0002": 2,
        "ddpm:checkpoint=runs/off/epoch-0001,attention=false": 1,
        "ddpm:checkpoint=runs/on/epoch-0001,weights=random": None,
        "ddpm:checkpoint=runs/off/epoch-0001,attention=false,weights=random": None,
        "pixels": None,
    }, "one untrained network for each series, not for each of its members"


def test_killed_twice_it_ends_with_the_same_results(start, whole, tmp_path):
    folder = tmp_path / "killed"
    for moment in ("runs/on/epoch-0001", "study/records/**/*.json"):
        process = start(folder)
        process.wait_for(folder, moment)
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    process = start(folder)
    assert process.wait() == 0, process.stderr
    results, files = outcome(folder)
    expected, expected_files = outcome(whole[0])
    assert results == expected
    assert files.keys() == expected_files.keys()
    assert [path for path, data in files.items() if data != expected_files[path]] == []


def test_a_finished_study_does_nothing(start, whole):
    folder, _ = whole
    before = {path: path.stat().st_mtime_ns for path in (folder / "study").rglob("*.*") if path.is_file()}
    process = start(folder)
    assert process.wait() == 0, process.stderr
    assert "wrote" not in process.stdout
    written = {path for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert not [path for path in written if "store" not in path.parts]
