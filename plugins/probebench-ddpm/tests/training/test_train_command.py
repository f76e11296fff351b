"""`probebench train ddpm`: from the command line to a checkpoint that `ddpm` reads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from probebench.api import hash63
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.networks.unet import random_unet, unet_config
from probebench_ddpm.options import DDPMOptions

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(out, *arguments):
    return [
        *("train", "ddpm:widths=8+8+8+8,attention=false"),
        *("--dataset", "digits", "--epochs", "1", "--out", str(out), *arguments),
    ]


@pytest.fixture
def start(forks):
    """Starts a training in another process."""
    return lambda *arguments: forks.probebench(*command(*arguments), environment=ENVIRONMENT)


@pytest.fixture
def train(start):
    """Trains in another process."""

    def run(*arguments):
        process = start(*arguments)
        return subprocess.CompletedProcess(arguments, process.wait(), process.stdout, process.stderr)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training in a new interpreter."""
    out = tmp_path_factory.mktemp("train") / "run"
    words = [sys.executable, "-m", "probebench", *command(out, "--recipe", "batch_size=256,lr=1e-3")]
    return out, subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_it_trains_and_prints_the_next_command(trained):
    out, ended = trained
    assert ended.returncode == 0, ended.stderr
    checkpoint = out / "epoch-0001"
    spec = f"ddpm:widths=8+8+8+8,attention=false,checkpoint={checkpoint}"
    memory, *rest = ended.stdout.splitlines()
    assert re.fullmatch(
        r"memory:     \d\.\d MiB per image x 256 images \+ \d\.\d\d GiB for weights, optimiser, average and data = "
        r"\d\.\d\d GiB( \(\d+\.\d\d GiB free\))?",
        memory,
    )
    assert rest == [
        f"checkpoint: {checkpoint}",
        f"next:       probebench run --backbone {spec} --dataset digits",
    ]
    assert ended.stderr == "", "no progress bar in a pipe, and no warning"


def test_the_checkpoint_is_read(trained, batch, at):
    out, _ = trained
    options = DDPMOptions(checkpoint=str(out / "epoch-0001"), attention=False, widths=(8, 8, 8, 8))
    features = DDPM(options).extract(batch(size=8), at(["up.1"]), seed=0)
    assert all(vectors.isfinite().all() for vectors in features.values())
    assert len((out / "loss.csv").read_text().splitlines()) == 2


HASTE = """
import itertools, types
from probebench import stopping
from probebench.cli import main
stopping.time = types.SimpleNamespace(monotonic=itertools.count().__next__)
main()
"""
"""The command line with a clock that advances by a second whenever it is read, which is after each step."""


def test_time_is_up(forks, train, tmp_path, trained):
    """It prints where it stopped and the command that resumes; that ends as a run without a stop."""
    words = ("--recipe", "batch_size=256,lr=1e-3")
    out = tmp_path / "run"
    ended = forks.python(HASTE, *command(out, *words, "--max-time", "3s"), environment=ENVIRONMENT)
    assert ended.wait() == 0, ended.stderr
    *_, stopped, go_on = ended.stdout.splitlines()
    assert stopped == "stopped:    time is up at epoch 1 of 1, step 3 of 5"
    assert go_on == (
        "go on:      probebench train ddpm:widths=8+8+8+8,attention=false --dataset digits --epochs 1 "
        f"--out {out} --recipe batch_size=256,lr=1e-3 --max-time 3s"
    )
    ended = train(out, *words)
    assert ended.stdout.splitlines()[1] == f"checkpoint: {out / 'epoch-0001'}"
    weights = "epoch-0001/unet/diffusion_pytorch_model.safetensors"
    assert (out / weights).read_bytes() == (trained[0] / weights).read_bytes()


def test_two_processes_train_as_one(train, tmp_path, trained):
    """Images, noise and t are those of the whole batch; only the order in which gradients are added differs."""
    pytest.importorskip("accelerate", reason="needs pip install 'probebench-ddpm[accelerate]'")
    out = tmp_path / "run"
    ended = train(out, "--recipe", "batch_size=256,lr=1e-3", "--num-processes", "2")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "", "the second process prints nothing"
    assert ended.stdout.splitlines()[1] == f"checkpoint: {out / 'epoch-0001'}"
    assert len(ended.stdout.splitlines()) == 3
    network = unet_config(widths=(8, 8, 8, 8), attention=False, size=8)
    initial = random_unet(network, seed=hash63("weights", 0)).state_dict()
    for kind in ("unet", "unet_raw"):
        by_two, by_one = (
            load_file(folder / "epoch-0001" / kind / "diffusion_pytorch_model.safetensors")
            for folder in (out, trained[0])
        )
        difference = torch.cat([(by_two[name] - weight).flatten() for name, weight in by_one.items()]).norm()
        change = torch.cat([(weight - initial[name]).flatten() for name, weight in by_one.items()]).norm()
        # Adam divides a gradient by its size, so rounding can reverse the step of a weight whose gradient is near 0.
        # Such weights are few: the difference is 0.3 to 1.1 % of the change by training. With other noise it is 84 %.
        assert 0 < float(difference) < 0.05 * float(change)
    first, second = ((folder / "loss.csv").read_text().splitlines()[1].split(",") for folder in (out, trained[0]))
    assert float(first[2]) == pytest.approx(float(second[2]), abs=1e-4)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals end a process differently on this system")
def test_a_terminated_process_saves_first(start, tmp_path):
    out = tmp_path / "run"
    process = start(out, "--recipe", "batch_size=256,save_every=1000", "--epochs", "1000")
    process.wait_for(out, "loss.csv")
    process.send(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert process.stderr == "SIGTERM: saving after this step; once more ends it at once\n"
    lines = process.stdout.splitlines()
    assert lines[3].startswith("stopped:    interrupted at epoch ")
    assert Path(lines[1].removeprefix("checkpoint: ")).is_dir()
    assert len(list(out.glob("state-*"))) == 1


def test_another_recipe_is_refused_with_three_lines(train, trained):
    out, _ = trained
    ended = train(out, "--recipe", "batch_size=256,lr=1e-2")
    assert ended.returncode == 2
    assert "was started with lr=0.001\n" in ended.stderr
    assert len(ended.stderr.splitlines()) <= 3
    assert ended.stdout == ""
