"""`python -m probebench_ddpm.export`: a small checkpoint to share, with the command that trains it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import DDPMPipeline
from safetensors.torch import load_file

from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.export import main
from probebench_ddpm.options import DDPMOptions
from probebench_ddpm.training.trainer import train

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def _trained(job_in, tmp_path_factory):
    done = job_in(tmp_path_factory.mktemp("export") / "run", epochs=2, recipe={"lr": 1e-4, "warmup": 0})
    train(done)
    return done.out


@pytest.fixture
def run(_trained, tmp_path):
    """The folder of a run of two epochs, the first of which is exported."""
    return shutil.copytree(_trained, tmp_path / "run")


@pytest.fixture
def exported(run, tmp_path):
    out = tmp_path / "exported"
    assert main([str(run / "epoch-0001"), str(out)]) == 0
    return out


def test_the_averaged_weights_in_fp16(run, exported):
    full, half = load_file(run / "epoch-0001" / WEIGHTS), load_file(exported / WEIGHTS)
    assert full.keys() == half.keys()
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    assert all(torch.equal(half[name], tensor.half()) for name, tensor in full.items())
    assert not (exported / "unet_raw").exists()


def test_features_are_those_of_the_checkpoint_up_to_rounding(run, exported, batch, at, blocks):
    images, points = batch(size=8), at(blocks)
    full, half = (
        DDPM(DDPMOptions(checkpoint=str(folder))).extract(images, points, seed=0)
        for folder in (run / "epoch-0001", exported)
    )
    for point in points:
        assert float((half[point] - full[point]).norm() / full[point].norm()) < 2e-3, str(point)


def test_a_checkpoint_inside_an_epoch_is_refused(run, tmp_path, capsys):
    inside = run / "epoch-0001-step-3"
    (run / "epoch-0001").rename(inside)
    assert main([str(inside), str(tmp_path / "exported")]) == 2
    assert "the checkpoint was saved inside an epoch" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()


def test_diffusers_reads_it(exported):
    assert DDPMPipeline.from_pretrained(exported).unet.config.sample_size == 8


def test_the_loss_curve_ends_at_its_epoch(run, exported):
    curve = (run / "loss.csv").read_text().splitlines()
    assert (exported / "loss.csv").read_text().splitlines() == curve[:2]


def test_the_manifest_has_the_weights_and_the_command(run, exported):
    before = json.loads((run / "epoch-0001" / "manifest.json").read_text())
    after = json.loads((exported / "manifest.json").read_text())
    assert after.pop("weights") == {"unet": "ema, fp16"}
    assert after.pop("command") == (
        "probebench train ddpm:attention=true,widths=8+8+8+8 --dataset stand-in --epochs 1 --seed 0 --precision fp32 "
        "--recipe batch_size=8,warmup=0 --out runs/again"
    )
    del before["weights"]
    assert after == before


def test_wrong_arguments(run, exported, capsys):
    assert main([str(run)]) == 2
    assert "usage: python -m probebench_ddpm.export CHECKPOINT OUT" in capsys.readouterr().err
    assert main([str(run), str(run.parent / "new")]) == 2
    assert "the folder is not a checkpoint of a training run" in capsys.readouterr().err
    assert main([str(run / "epoch-0001"), str(exported)]) == 2
    assert "the output folder exists already" in capsys.readouterr().err
