"""`probebench sample`: the job of the sampler, the folder of the images, and errors."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import Field

from probebench.api import DataError, Options, PluginError, ProbebenchWarning, UsageError, hash63
from probebench.board.figures.contact_sheet import image_grid
from probebench.generation.sample import sample
from probebench.plugins.registry import resolve
from probebench.testing.fakes import ToyBackbone


class Sampling(Options):
    shade: int = Field(100, ge=0, le=255, description="brightness")


def picture(number, seed=0, shade=100, size=4):
    generator = torch.Generator().manual_seed(hash63(number, seed))
    return (torch.randint(0, 100, (3, size, size + 1), generator=generator) + shade).to(torch.uint8)


def painter(job):
    for start in range(0, len(job.index), job.batch_size):
        index = job.index[start : start + job.batch_size]
        yield index, torch.stack([picture(number, job.seed, job.options.shade) for number in index])


@pytest.fixture
def start(lab, monkeypatch):
    """Generates images with the sampler of a test."""
    lab.backbone("artist", ToyBackbone, sampler="laboratory_parts:sampler", sampling=Sampling)

    def run(sampler=painter, backbone="artist", **changes):
        lab.module.sampler = sampler
        settings = {"sampling": {}, "count": 5, "out": lab.folder / "out", "device": "cpu"} | changes
        return sample(resolve("backbone", backbone), **settings)

    return run


def never(job):
    raise AssertionError("no image was to be generated")


def test_the_sampler_gets_the_whole_job(start, lab):
    jobs = []

    def sampler(job):
        jobs.append(job)
        return painter(job)

    start(sampler, sampling={"shade": "7"}, seed=3, batch_size=2)
    (job,) = jobs
    assert (job.options.shade, job.seed, job.device, job.precision, job.batch_size) == (7, 3, "cpu", "fp32", 2)
    assert isinstance(job.backbone, ToyBackbone)
    assert list(job.index) == [0, 1, 2, 3, 4]
    start(sampler, out=lab.folder / "another")
    assert jobs[1].batch_size == ToyBackbone.batch_size


def test_images_are_stored_without_loss(start):
    result = start()
    assert result.made == 5
    assert sorted(path.name for path in result.folder.images.iterdir()) == [f"00000{n}.png" for n in range(5)]
    for number in range(5):
        kept = np.asarray(Image.open(result.folder.images / f"00000{number}.png"))
        assert np.array_equal(kept, picture(number).permute(1, 2, 0).numpy())
    manifest = json.loads((result.folder.root / "samples.json").read_text())
    assert manifest["title"] == "artist"
    assert (manifest["run"]["seed"], manifest["run"]["sampling"]) == (0, {"shade": 100})


def test_existing_images_are_not_generated_again(start, lab):
    def killed(job):
        yield [3, 0], torch.stack([picture(3), picture(0)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(killed)
    requested = []

    def sampler(job):
        requested.extend(job.index)
        return painter(job)

    assert start(sampler).made == 3
    assert requested == [1, 2, 4]
    assert start(never).made == 0
    assert start(count=7).made == 2
    whole = start(count=7, out=lab.folder / "whole").folder
    for path in whole.images.iterdir():
        assert path.read_bytes() == (lab.folder / "out" / "images" / path.name).read_bytes()


def test_a_warning_is_printed_as_by_a_run(start, lab, cli):
    class Talker(ToyBackbone):
        def __init__(self, options):
            warnings.warn("read at its newest checkpoint", ProbebenchWarning, stacklevel=1)
            super().__init__(options)

    lab.module.sampler = painter
    lab.backbone("talker", Talker, sampler="laboratory_parts:sampler", sampling=Sampling)
    answer = cli("sample", "--backbone", "talker", "--count", "1", "--out", str(lab.folder / "out"), "--device", "cpu")
    assert (answer.code, answer.err) == (0, "warning: read at its newest checkpoint\n")


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"seed": 1}, "seed"), ({"sampling": {"shade": "1"}}, "sampling.shade"), ({"precision": "bf16"}, "precision")],
)
def test_a_folder_of_another_run_is_refused(start, lab, changes, field):
    start()
    with pytest.raises(UsageError) as caught:
        start(never, **changes)
    assert str(caught.value).splitlines() == [
        f"the folder holds images generated with another {field}",
        f"  in: {lab.folder / 'out' / 'samples.json'}",
        "  try: give --out a new folder, or use the options in samples.json",
    ]


def test_other_weights_are_another_run(start, lab):
    class Retrained(ToyBackbone):
        def fingerprint(self):
            return "0" * 64

    start()
    lab.backbone("artist", Retrained, sampler="laboratory_parts:sampler", sampling=Sampling)
    with pytest.raises(UsageError, match="generated with another fingerprint"):
        start(never)


def test_a_folder_of_something_else_is_refused(start, lab):
    (lab.folder / "out").mkdir()
    (lab.folder / "out" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="the folder is not empty and holds no generated images") as caught:
        start(never)
    assert caught.value.hint == "give --out a new folder"


def test_fewer_images_than_exist_are_refused(start):
    start()
    with pytest.raises(UsageError) as caught:
        start(never, count=3)
    assert caught.value.what == "the folder holds images up to number 4, more than --count 3"
    assert caught.value.hint == "--count 5, or give --out a new folder"


def test_a_manifest_that_cannot_be_read(start, lab):
    start()
    (lab.folder / "out" / "samples.json").write_text("{")
    with pytest.raises(DataError, match=r"samples\.json cannot be read") as caught:
        start(never)
    assert caught.value.hint == "give --out a new folder"


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"backbone": "net"}, ["net generates no images", "  in: --backbone", "  try: one of artist"]),
        ({"count": 0}, ["--count 0 generates nothing", "  try: --count 1 or more"]),
        ({"batch_size": 0}, ["--batch-size 0 generates nothing", "  try: --batch-size 1 or more"]),
        ({"sampling": {"shade": "300"}}, ["option shade=300 should be less than or equal to 255", "  in: artist"]),
        ({"device": "tpu"}, ["there is no device 'tpu'", "  in: --device"]),
    ],
)
def test_bad_usage_is_reported_before_any_image_is_generated(start, lab, changes, lines):
    with pytest.raises(UsageError) as caught:
        start(never, **changes)
    assert str(caught.value).splitlines()[: len(lines)] == lines
    assert not (lab.folder / "out").exists()


@pytest.mark.parametrize(
    ("batch", "fault"),
    [
        (([0], torch.zeros(1, 3, 4, 4)), "images are torch.float32 (1, 3, 4, 4), not uint8 (B, 3, H, W)"),
        (([0], None), "images are NoneType, not uint8 (B, 3, H, W)"),
        (([0, 0], torch.zeros(2, 3, 4, 4, dtype=torch.uint8)), "2 images come with 1 numbers"),
        (([0], torch.zeros(2, 3, 4, 4, dtype=torch.uint8)), "2 images come with 1 numbers"),
        (([9], torch.zeros(1, 3, 4, 4, dtype=torch.uint8)), "image 9 was not requested, or was yielded twice"),
        (([1], torch.zeros(1, 3, 4, 4, dtype=torch.uint8)), "it did not yield 4 of 5 images, such as image 0"),
    ],
)
def test_a_sampler_that_breaks_its_contract(start, batch, fault):
    with pytest.raises(PluginError) as caught:
        start(lambda job: iter([batch]))
    assert caught.value.what == f"the sampler of artist breaks its contract: {fault}"


def test_a_sampler_that_fails(start):
    with pytest.raises(PluginError, match="sampling from artist fails: ZeroDivisionError: division by zero"):
        start(lambda job: iter([1 / 0]))


def test_all_images_in_one_array(start):
    folder = start().folder
    path = folder.write_npz(5)
    with np.load(path) as archive:
        assert archive.files == ["arr_0"]
        array = archive["arr_0"]
    assert (array.dtype, array.shape) == (np.uint8, (5, 4, 5, 3))
    for number in range(5):
        assert np.array_equal(array[number], picture(number).permute(1, 2, 0).numpy())
    first = path.read_bytes()
    assert folder.write_npz(5).read_bytes() == first, "equal images make equal bytes"


def test_an_image_of_another_size_does_not_fit_into_the_array(start):
    folder = start().folder
    Image.new("RGB", (9, 9)).save(folder.images / "000002.png")
    with pytest.raises(DataError, match="the image is 9x9, the first one 4x5"):
        folder.write_npz(5)
    (folder.images / "000002.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError) as caught:
        folder.write_npz(5)
    assert caught.value.where == str(folder.images / "000002.png")
    assert caught.value.hint == "delete it, and run the same command again"
    assert list(folder.root.glob("*.npz")) == list(folder.root.glob(".*.tmp")) == []


def test_a_grid_shows_every_image_in_order():
    colours = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
    grid = image_grid([Image.new("RGB", (16, 16), colour) for colour in colours])
    seen = [grid.getpixel((4 + 52 * (n % 3) + 24, 4 + 52 * (n // 3) + 24)) for n in range(6)]
    assert seen == [*colours, (255, 255, 255)]
