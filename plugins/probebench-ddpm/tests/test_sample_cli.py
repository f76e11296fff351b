"""`probebench sample --backbone ddpm` from the command line to images, through a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
from PIL import Image


def start(out, *arguments):
    command = [sys.executable, "-m", "probebench", "sample", "--backbone", "ddpm", "--out", str(out), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    with process:
        printed, told = process.communicate(timeout=300)
    return process.returncode, printed, told


def test_a_killed_run_goes_on_to_the_same_images(tmp_path):
    words = ("--count", "8", "--batch-size", "1", "--sampling", "sampler=ddpm,steps=40")
    out = tmp_path / "out"
    with start(out, *words) as process:
        while not (out / "images" / "000001.png").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.kill()
    there = len(list((out / "images").glob("*.png")))
    assert 2 <= there < 8  # six images of forty passes are left when the second is seen
    assert finish(start(out, *words, "--npz")) == (
        0,
        f"images: {out / 'images'} ({8 - there} drawn, {there} were there)\n"
        f"grid:   {out / 'grid.png'}\n"
        f"array:  {out / 'samples.npz'}\n",
        "",
    )
    whole = tmp_path / "whole"
    assert finish(start(whole, *words))[0] == 0
    with np.load(out / "samples.npz") as archive:
        images = archive["arr_0"]
    assert images.shape == (8, 16, 16, 3)
    for number in range(8):
        name = f"images/{number:06d}.png"
        assert (out / name).read_bytes() == (whole / name).read_bytes()
        assert np.array_equal(np.asarray(Image.open(out / name)), images[number])
    assert (out / "grid.png").read_bytes() == (whole / "grid.png").read_bytes()


def test_another_seed_into_the_same_folder_and_a_backbone_that_draws_nothing(tmp_path):
    words = ("--count", "1", "--sampling", "steps=1")
    assert finish(start(tmp_path / "out", *words))[0] == 0
    code, printed, told = finish(start(tmp_path / "out", *words, "--seed", "1"))
    assert (code, printed) == (2, "")
    assert told.startswith("error: the folder holds images drawn with another seed\n")
    code, _, told = finish(start(tmp_path / "new", "--count", "1", "--backbone", "pixels"))
    assert code == 2
    assert told == "error: pixels draws no images\n  try: one of ddpm\n"
