"""`probebench sample --backbone ddpm`: from the command line to images, also after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def words(out, *arguments):
    return ["sample", "--backbone", "ddpm", "--out", str(out), *arguments]


@pytest.fixture
def start(forks):
    """Starts the command in another process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return lambda *arguments: forks.probebench(*words(*arguments), environment=environment)


def finish(process):
    return process.wait(), process.stdout, process.stderr


def test_a_killed_run_resumes_to_the_same_images(start, tmp_path):
    """The images are compared with those of one uninterrupted run in a new interpreter."""
    options = ("--count", "6", "--batch-size", "1", "--sampling", "sampler=ddpm,steps=10")
    out = tmp_path / "out"
    process = start(out, *options)
    process.wait_for(out, "images/000001.png")
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    existing = len(list((out / "images").glob("*.png")))
    assert 2 <= existing < 6  # four images of ten passes are left when the second is seen
    assert finish(start(out, *options, "--npz")) == (
        0,
        f"images: {out / 'images'} ({6 - existing} generated, {existing} existed)\n"
        f"grid:   {out / 'grid.png'}\n"
        f"array:  {out / 'samples.npz'}\n",
        "",
    )
    whole = tmp_path / "whole"
    command = [sys.executable, "-m", "probebench", *words(whole, *options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with np.load(out / "samples.npz") as archive:
        images = archive["arr_0"]
    assert images.shape == (6, 16, 16, 3)
    for number in range(6):
        name = f"images/{number:06d}.png"
        assert (out / name).read_bytes() == (whole / name).read_bytes()
        assert np.array_equal(np.asarray(Image.open(out / name)), images[number])
    assert (out / "grid.png").read_bytes() == (whole / "grid.png").read_bytes()


def test_another_seed_for_the_same_folder_and_a_backbone_without_sampler(start, tmp_path):
    options = ("--count", "1", "--sampling", "steps=1")
    assert finish(start(tmp_path / "out", *options))[0] == 0
    code, printed, message = finish(start(tmp_path / "out", *options, "--seed", "1"))
    assert (code, printed) == (2, "")
    assert message.startswith("error: the folder holds images drawn with another seed\n")
    code, _, message = finish(start(tmp_path / "new", "--count", "1", "--backbone", "pixels"))
    assert code == 2
    assert message == "error: pixels draws no images\n  try: one of ddpm\n"
