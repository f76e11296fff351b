"""Readers of a run's folder, and hooks that record what happens in a training."""

from __future__ import annotations

import csv
import shutil

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.module import register_module_forward_pre_hook

from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule
from probebench_ddpm.training.process_group import ProcessGroup
from probebench_ddpm.training.trainer import train


@pytest.fixture(scope="session")
def losses():
    """Reads the losses of a run by epoch."""

    def read(out):
        with (out / "loss.csv").open() as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    return read


@pytest.fixture(scope="session")
def weights():
    """Reads the weights of a checkpoint."""
    return lambda checkpoint, kind="unet": load_file(checkpoint / kind / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="session")
def same():
    """Returns whether two sets of weights are bit-identical."""

    def compare(first, second):
        return first.keys() == second.keys() and all(
            torch.equal(tensor, second[name]) for name, tensor in first.items()
        )

    return compare


@pytest.fixture
def noising(monkeypatch):
    """Records every call of `add_noise` for an optimiser step: clean images, noise and steps."""
    calls = []
    original = NoiseSchedule.add_noise

    def note(self, images, noise, t):
        if not torch.is_inference_mode_enabled():
            calls.append((images.clone(), noise.clone(), t.clone()))
        return original(self, images, noise, t)

    monkeypatch.setattr(NoiseSchedule, "add_noise", note)
    return calls


@pytest.fixture
def passes():
    """Records the inputs of any network in training mode."""
    inputs_of_passes = []

    def note(module, inputs):
        # The pass by which the first training of a process estimates its memory has no real images.
        if isinstance(module, UNet2DModel) and module.training and not isinstance(inputs[0], FakeTensor):
            inputs_of_passes.append(inputs[0].detach())

    handle = register_module_forward_pre_hook(note)
    yield inputs_of_passes
    handle.remove()


@pytest.fixture
def second_of_two():
    """The second of two processes, which does not communicate with the first."""
    group = ProcessGroup()
    group.rank, group.world_size = 1, 2
    return group


@pytest.fixture(scope="session")
def _one_epoch(job_in, tmp_path_factory):
    run = job_in(tmp_path_factory.mktemp("one") / "run", epochs=1)
    train(run)
    return run.out


@pytest.fixture
def begun(_one_epoch, job, tmp_path):
    """A run after its first epoch, copied for the test; `job` makes the job that resumes it."""
    shutil.copytree(_one_epoch, tmp_path / "run")
    return job(epochs=1)
