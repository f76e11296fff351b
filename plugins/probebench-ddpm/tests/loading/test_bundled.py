"""The bundled checkpoints."""

from __future__ import annotations

import csv
import json
import os
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from probebench.plugins.registry import resolve
from probebench_ddpm.backbones.ddpm import DDPM, FAMILY
from probebench_ddpm.export import training_command
from probebench_ddpm.loading import checkpoint
from probebench_ddpm.loading.layout import WEIGHTS_FILE
from probebench_ddpm.options import DDPMOptions, DDPMRecipe

SHARED = Path(os.environ.get("PROBEBENCH_SHARED", Path(__file__).parents[5] / "shared"))
BUNDLED = [(name, attention) for name in checkpoint.bundled_names() for attention in (True, False)]


def test_the_default_is_a_bundled_checkpoint():
    assert DDPMOptions().checkpoint in checkpoint.bundled_names()


@pytest.fixture(params=BUNDLED, ids=lambda bundled: f"{bundled[0]}-{'attention' if bundled[1] else 'no-attention'}")
def bundled(request):
    """Options and folder of each bundled checkpoint."""
    name, attention = request.param
    return DDPMOptions(checkpoint=name, attention=attention), checkpoint.find(name, attention=attention)


def test_its_features_are_finite(bundled, batch, at):
    options, _ = bundled
    backbone = DDPM(options)
    taps = [tap.id for tap in backbone.taps(backbone.image_size) if tap.default]
    assert len(taps) == 9
    features = backbone.extract(batch(4, backbone.image_size[0]), at(taps, ["t=0", "t=10"]), seed=0)
    assert len(features) == 18
    assert all(vectors.isfinite().all() and vectors.std() > 0 for vectors in features.values())


def dataset_of(name):
    """Returns the dataset that a bundled network was trained on."""
    if name == "scattered-digits":
        return resolve("dataset", name).build()
    if not (SHARED / "data" / name).is_dir():
        pytest.skip(f"needs PROBEBENCH_SHARED=folder with data/{name}")
    return resolve("dataset", f"parquet:path={SHARED / 'data' / name}").build()


def test_it_predicts_noise(bundled):
    """A trained network predicts most of the noise at a high level; the error of a random one is 1."""
    options, folder = bundled
    test = dataset_of(options.checkpoint).split("test")
    images = torch.stack([test.image(index) for index in range(32)]).float() / 127.5 - 1
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    loaded = checkpoint.load(folder, options, FAMILY)
    steps = torch.full((len(images),), 500)
    with torch.inference_mode():
        predicted = loaded.network.eval()(loaded.scheduler.add_noise(images, noise, steps), steps).sample
    assert float((predicted - noise).square().mean()) < 0.1


def test_it_is_small_and_in_fp16(bundled):
    _, folder = bundled
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6 * 2**20
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".csv", ".md"}, "no pickles"
    assert not (folder / "unet_raw").exists()
    tensors = load_file(folder / "unet" / WEIGHTS_FILE)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_its_manifest_describes_the_training(bundled):
    options, folder = bundled
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["weights"] == {"unet": "ema, fp16"}
    assert manifest["network"]["add_attention"] is options.attention
    assert manifest["input_range"] == [-1.0, 1.0]
    assert manifest["flips"] is (options.checkpoint != "scattered-digits"), "mirrored digits are no digits"
    assert manifest["schedule"]["steps"] == 1000
    assert manifest["step"] >= manifest["epoch"] > 0
    assert set(manifest["versions"]) == {"probebench", "probebench-ddpm", "torch", "diffusers"}
    assert DDPMRecipe(**manifest["recipe"]).identity() == manifest["recipe"]
    config = json.loads((folder / "unet" / "config.json").read_text())
    assert {key: config[key] for key in manifest["network"]} == manifest["network"]


def test_its_manifest_has_the_training_command(bundled):
    options, folder = bundled
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["command"] == training_command(manifest)
    words = shlex.split(manifest["command"])
    assert words[:2] == ["probebench", "train"]
    assert f"attention={'true' if options.attention else 'false'}" in words[2]
    assert words[words.index("--epochs") + 1] == str(manifest["epoch"])
    assert words[words.index("--seed") + 1] == str(manifest["seed"])


def test_the_dataset_has_not_changed_since_its_training(bundled):
    options, folder = bundled
    manifest = json.loads((folder / "manifest.json").read_text())
    train = dataset_of(options.checkpoint).split("train")
    assert manifest["dataset"] == {"name": options.checkpoint, "train": train.fingerprint(), "images": len(train)}


def test_its_loss_curve_is_in_its_folder(bundled):
    _, folder = bundled
    manifest = json.loads((folder / "manifest.json").read_text())
    with (folder / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, manifest["epoch"] + 1))
    assert int(rows[-1]["step"]) == manifest["step"]
    losses = [float(row["loss"]) for row in rows]
    assert min(losses) > 0
    assert losses[-1] < 0.5 * losses[0]
