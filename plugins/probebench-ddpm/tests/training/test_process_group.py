"""Several processes: each computes its part of a batch, with the noise that one process would sample for it."""

from __future__ import annotations

import sys

import pytest
import torch

from probebench.api import UsageError
from probebench_ddpm.training import images, loop
from probebench_ddpm.training.trainer import train


def test_a_process_computes_its_part_with_the_noise_of_the_whole_batch(job, passes, second_of_two):
    """Noise and flips do not depend on the number of processes."""
    run = job(flips=True, recipe={"accumulate": 2})
    for group in (None, second_of_two):
        loop.TrainingLoop(run, images.load_images(run, 4), group).optimiser_step(run.images.pixels[:8])
    whole, part = torch.cat(passes[:2]), torch.cat(passes[2:])
    assert len(whole) == 8
    assert torch.equal(part, whole[4:])


def test_more_micro_batches_than_images(job, second_of_two):
    run = job(recipe={"accumulate": 5, "batch_size": 8})
    with pytest.raises(UsageError) as error:
        loop.TrainingLoop(run, images.load_images(run, 4), second_of_two)
    assert str(error.value) == (
        "a batch of 8 images cannot be split into 10 micro-batches\n  in: 2 processes x accumulate=5\n"
        "  try: --recipe batch_size=10 or more, or a smaller accumulate"
    )


def test_several_processes_need_accelerate(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError) as error:
        train(job(processes=2))
    assert str(error.value) == (
        "training in 2 processes needs accelerate, which is not installed\n  in: --num-processes\n"
        "  try: pip install 'probebench-ddpm[accelerate]'"
    )
