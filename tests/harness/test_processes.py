"""Runs in separate processes: killed at any moment, two at once, and with the installed components."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from probebench.store.maintenance import verify

TRAIN, TEST = 1300, 60
SHARDS = 2 + 1

LIGHT = """
from probebench.api import *
PROBEBENCH_API = 1

@hookimpl
def probebench_backbones():
    yield BackboneSpec(name="net", factory="toys_parts:Net", summary="a toy")

@hookimpl
def probebench_datasets():
    yield DatasetSpec(name="shades", factory="toys_parts:Shades", summary="a toy")

@hookimpl
def probebench_probes():
    yield ProbeSpec(name="means", factory="toys_parts:Means", summary="a toy")
"""

PARTS = f"""
import hashlib, os, time
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe, ToySplit

PAUSE = float(os.environ.get("TOY_PAUSE", 0))

class Net(ToyBackbone):
    batch_size = 256

    def extract(self, batch, points, *, seed):
        time.sleep(PAUSE)
        return super().extract(batch, points, seed=seed)

class Split(ToySplit):
    def fingerprint(self):
        return hashlib.sha256(self.name.encode()).hexdigest()

class Shades(ToyDataset):
    def split(self, name):
        return Split(name, {{"train": {TRAIN}, "test": {TEST}}}[name])

class Means(ToyProbe):
    def search(self, train, val, *, metric, seed):
        time.sleep(PAUSE)
        if os.environ.get("TOY_MOOD") == "bad":
            raise ValueError("bad mood")
        return super().search(train, val, metric=metric, seed=seed)
"""

ARGUMENTS = ["--backbone", "net", "--dataset", "shades", "--probe", "means", "--seeds", "0,1", "--taps", "late"]
ARGUMENTS += ["--levels", "t=10", "--precision", "fp32", "--device", "cpu"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The toys, installed for other processes."""
    site = tmp_path_factory.mktemp("site")
    (site / "toys.py").write_text(LIGHT)
    (site / "toys_parts.py").write_text(PARTS)
    info = site / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[probebench]\nmain = toys\n")
    # Nothing on PATH: no git either, so that a commit made while the tests run is no difference between two runs.
    return {**os.environ, "PYTHONPATH": str(site), "PROBEBENCH_PLUGINS": "toys", "PATH": "", "OMP_NUM_THREADS": "1"}


def command(place, *more):
    """Returns the command of the run, with its folders below this one."""
    return ["run", *ARGUMENTS, "--results", str(place / "results"), "--store", str(place / "store"), *more]


@pytest.fixture
def start(forks, environment):
    """Starts the run in a separate process."""
    return lambda place, *more, **mood: forks.probebench(*command(place, *more), environment=environment | mood)


def finish(process):
    """Returns the output of a process, which must succeed."""
    assert process.wait() == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def undisturbed(environment, tmp_path_factory):
    """The folder of a run that was not interrupted, in a fresh process."""
    place = tmp_path_factory.mktemp("undisturbed")
    words = [sys.executable, "-m", "probebench", *command(place)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def assert_as_undisturbed(undisturbed, comparable, files):
    """Checks that records, predictions and features are those of the undisturbed run, and that nothing else exists."""

    def check(place):
        assert comparable(place / "results") == comparable(undisturbed / "results")
        found, expected = files(place), files(undisturbed)
        lasting = {name for name in found if not name.endswith(".tmp")}  # what a killed writer left is for `store gc`
        assert lasting == set(expected)
        assert all(found[name] == expected[name] for name in expected if not name.endswith(".json"))
        assert verify(place / "store") == []

    return check


KILLER = """
import os, signal, shutil, sys
from pathlib import Path
import toys_parts
from probebench.cli import main

def run(place, kill_at=0, mood=""):
    '''Exit code of the run in a process that dies at its n-th fsync: before a file gets its name, or just after.'''
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.environ["TOY_MOOD"] = mood
    count = 0

    def fsync(handle):
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync
    try:
        main([*sys.argv[2:], "--results", str(place / "results"), "--store", str(place / "store")])
    except SystemExit as end:
        os._exit(end.code)

root = Path(sys.argv[1])
assert run(root / "failed", mood="bad") == 1
moment = 1
while True:
    place = root / f"{moment:03}"
    shutil.copytree(root / "failed" / "results", place / "results")
    code = run(place, kill_at=moment)
    if code != -signal.SIGKILL:
        break
    assert run(place) == 0, place
    moment += 1
print(code, moment - 1)
"""


def test_killed_before_or_after_any_file_the_same_command_ends_in_the_same_files(
    forks, environment, assert_as_undisturbed, tmp_path
):
    """Both cells have records of an earlier failure."""
    killer = forks.python(KILLER, tmp_path, "run", *ARGUMENTS, environment=environment)
    code, kills = map(int, finish(killer).split()[-2:])
    assert code == 0
    written = 2 + SHARDS + 2 + 2 * 2  # keys, shards, manifests; predictions and record of each cell
    assert kills == 2 * written  # the file, then its folder
    for moment in range(1, kills + 1):
        assert_as_undisturbed(tmp_path / f"{moment:03}")


@pytest.mark.parametrize(
    ("sign", "most_forwarded"),
    [("store/**/000000-*.safetensors", TRAIN + TEST - 1024), ("results/**/*.json", 0)],
    ids=["while features are read", "between two cells"],
)
def test_killed_from_outside_the_same_command_resumes(start, assert_as_undisturbed, tmp_path, sign, most_forwarded):
    process = start(tmp_path, TOY_PAUSE="0.3")
    process.wait_for(tmp_path, sign)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    document = json.loads(finish(start(tmp_path, "--json")))
    assert sum(item["images"] for item in document["forwarded"]) <= most_forwarded
    assert_as_undisturbed(tmp_path)


def test_two_processes_with_one_store_and_one_results_folder(start, assert_as_undisturbed, tmp_path):
    both = [start(tmp_path, TOY_PAUSE="0.05") for _ in range(2)]
    for process in both:
        finish(process)
    assert_as_undisturbed(tmp_path)


NET = "ddpm:checkpoint=none,widths=8+8+8+8"
SCENES = "scattered-digits:train=300,test=100"
REAL = ["--backbone", NET, "--backbone", "pixels", "--dataset", SCENES]
REAL += ["--probe", "knn", "--probe", "linear:epochs=3", "--levels", "10", "--precision", "fp32", "--device", "cpu"]


@pytest.fixture
def real(forks, tmp_path):
    """Runs of the installed components, without a terminal: in a fresh process or in a fork, which starts sooner."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PROBEBENCH_STORE": str(tmp_path / "store")}
    environment.pop("PROBEBENCH_PLUGINS", None)

    def run(*arguments, fresh=False):
        words = ["run", *REAL, *arguments]
        if not fresh:
            fork = forks.probebench(*words, folder=tmp_path, environment=environment)
            return subprocess.CompletedProcess(words, fork.wait(), fork.stdout, fork.stderr)
        words = [sys.executable, "-m", "probebench", *words]
        return subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def test_real_components_from_nothing_to_a_report(real, tmp_path):
    done = real(fresh=True)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""
    for text in (f"{SCENES}, knn: ", "down.0", "up.3", "pixels (baseline)"):
        assert text in done.stdout
    assert f"{2 * (300 + 100)} images forwarded" in done.stdout
    again = json.loads(real("--json").stdout)
    assert again["forwarded"] == []
    assert [cell["fresh"] for cell in again["cells"]] == [False] * 4
    records = [cell["record"] for cell in again["cells"]]
    by_title = {(record["cell"]["backbone"]["title"], record["protocol"]["name"]): record for record in records}
    assert by_title[NET, "knn"]["candidates"]["taps"] == [
        *(f"down.{n}" for n in range(4)),
        "mid",
        *(f"up.{n}" for n in range(4)),
    ]
    record = by_title["pixels", "linear:epochs=3"]
    assert record["metrics"]["top1"]["n"] == 100
    assert set(record["provenance"]["plugins"]) == {"probebench-datasets", "probebench-probes"}


def test_real_components_with_an_image_size_they_cannot_take(real):
    done = real("--dataset", "digits", "--backbone", "ddpm")
    assert done.returncode == 1
    assert "pixels (baseline)" in done.stdout, "an error of one backbone does not stop the others"
    error, where, hint, last = done.stderr.splitlines()
    assert error == "error: the checkpoint was trained on 16x16 images, these are 8x8"
    assert (where[:6], hint[:7]) == ("  in: ", "  try: ")
    assert last == "4 of 16 cells failed; their records hold the reason"
