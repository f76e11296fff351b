"""The files that a backbone reads, as the core asks for them before it builds anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from probebench_ddpm.latent import autoencoder
from probebench_ddpm.loading import layout
from probebench_ddpm.loading.checkpoint import bundled_names
from probebench_ddpm.loading.layout import files_of, locate
from probebench_ddpm.options import DDPMOptions


@pytest.mark.parametrize("name", ["none", *bundled_names()])
def test_bundled_checkpoints_are_part_of_the_package(name):
    assert files_of(DDPMOptions(checkpoint=name)) == ()


def test_the_cache_of_the_hub_is_not_known():
    assert files_of(DDPMOptions(checkpoint="hub:google/ddpm-cifar10-32")) is None


@pytest.mark.parametrize("checkpoint", ["run", "run/unet", "run/unet/diffusion_pytorch_model.safetensors"])
def test_every_file_that_is_read_is_covered(tmp_path, checkpoint):
    unet = tmp_path / "run" / "unet"
    unet.mkdir(parents=True)
    for path in (
        unet / "config.json",
        unet / "diffusion_pytorch_model.safetensors",
        tmp_path / "run" / "manifest.json",
    ):
        path.touch()
    (tmp_path / "run" / "scheduler").mkdir()
    (tmp_path / "run" / "scheduler" / "scheduler_config.json").touch()
    covered = files_of(DDPMOptions(checkpoint=str(tmp_path / checkpoint)))
    for path in locate(tmp_path / checkpoint, "ema"):
        assert any(path == other or other in path.parents for other in covered), path


def test_the_folders_of_an_autoencoder_are_covered():
    assert autoencoder.AUTOENCODER_FOLDERS is layout.AUTOENCODER_FOLDERS
    covered = files_of(DDPMOptions(checkpoint="pipeline"))
    for name in (*layout.AUTOENCODER_FOLDERS, "text_encoder", "tokenizer"):
        assert Path.cwd() / name in covered


def test_listing_them_imports_no_torch():
    code = (
        "import sys; from probebench_ddpm.loading.layout import files_of;"
        "from probebench_ddpm.options import DDPMOptions;"
        "files_of(DDPMOptions()); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
