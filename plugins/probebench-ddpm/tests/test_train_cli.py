"""`probebench train ddpm` from the command line to a checkpoint that `ddpm` reads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from probebench_ddpm.backbone import DDPM
from probebench_ddpm.options import DDPMOptions


def train(out, *arguments):
    command = [
        *(sys.executable, "-m", "probebench", "train", "ddpm:widths=8+8+8+8,attention=false"),
        *("--dataset", "digits", "--epochs", "1", "--out", str(out), *arguments),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "run"
    return out, train(out, "--recipe", "batch_size=256,lr=1e-3")


def test_it_trains_and_says_what_to_do_next(trained):
    out, ended = trained
    assert ended.returncode == 0, ended.stderr
    checkpoint = out / "epoch-0001"
    spec = f"ddpm:widths=8+8+8+8,attention=false,checkpoint={checkpoint}"
    assert ended.stdout.splitlines() == [
        f"checkpoint: {checkpoint}",
        f"next:       probebench run --backbone {spec} --dataset digits",
    ]
    assert ended.stderr == "", "no progress bar into a pipe, and no warning"


def test_the_checkpoint_is_read(trained, batch, at):
    out, _ = trained
    options = DDPMOptions(checkpoint=str(out / "epoch-0001"), attention=False, widths=(8, 8, 8, 8))
    features = DDPM(options).extract(batch(size=8), at(["up.1"]), seed=0)
    assert all(vectors.isfinite().all() for vectors in features.values())
    assert len((out / "loss.csv").read_text().splitlines()) == 2


def test_another_recipe_is_refused_in_three_lines(trained):
    out, _ = trained
    ended = train(out, "--recipe", "batch_size=256,lr=1e-2")
    assert ended.returncode == 2
    assert "another recipe.lr" in ended.stderr
    assert len(ended.stderr.splitlines()) <= 3
    assert ended.stdout == ""
