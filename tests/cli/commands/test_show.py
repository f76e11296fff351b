"""`probebench show NAME`."""

from __future__ import annotations

import pytest

SOURCE = """
from typing import Annotated, Literal
from pydantic import Field

class Knobs(Options):
    size: Literal["small", "large"] = Field("small", description="how large")
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((32, 64), description="channels")
    rate: float = Field(0.1, gt=0, le=1, description="a rate")
    path: str | None = Field(None, description="a file")

class Recipe(Options):
    lr: float = Field(0.001, description="learning rate")

@hookimpl
def probebench_backbones():
    yield BackboneSpec(name="net", factory="fake_parts:Net", summary="a network", options=Knobs, version=3,
                       license="MIT", citation="Nobody, 2020", requires=("pluggy>=1",),
                       trainer="fake_parts:train", recipe=Recipe)
    yield BackboneSpec(name="moody", factory="fake_parts:Moody", summary="fails later")

@hookimpl
def probebench_datasets():
    yield DatasetSpec(name="both", factory="fake_parts:Images", summary="some images")
    yield DatasetSpec(name="absent", factory="fake_parts:Absent", summary="not downloaded")

@hookimpl
def probebench_probes():
    yield ProbeSpec(name="both", factory="fake_absent:x", summary="a probe")
    yield ProbeSpec(name="needy", factory="fake_absent:x", summary="wants more", requires=("absent-thing>=2",))
"""

PARTS = """
from probebench.api import *

class Net(Backbone):
    input_range = (-1.0, 1.0)
    image_size = (16, 16)
    parameters = 12345
    def __init__(self, options):
        print("noise on stdout")
        self.side = {"small": 4, "large": 8}[options.size]
    def taps(self, image_size):
        return (Tap("down.0", "spatial", (8, self.side, self.side), 0.25, aliases=("paper:first",)),
                Tap("top", "vector", (64,), default=False))
    def levels(self):
        return (Level("t=0", 0.01), Level("t=9", 1.5), Level("odd"))
    def prepare(self, images): ...
    def extract(self, batch, points, *, seed): ...
    def fingerprint(self): return ""

class Moody(Net):
    def __init__(self, options): pass
    def taps(self, image_size): raise ZeroDivisionError("no shape")

class Part(Split):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def image(self, index): ...
    def labels(self): ...
    def fingerprint(self): return ""

class Images(Dataset):
    classes = tuple(f"class {i}" for i in range(12))
    image_size = (16, 24)
    flips = False
    def __init__(self, options): pass
    def split(self, name): return Part({"train": 6000, "test": 20}[name])

def Absent(options):
    raise DataError("the images are not there", where="somewhere", hint="download them")
"""


@pytest.fixture(autouse=True)
def _installed(site):
    (site.folder / "fake_parts.py").write_text(PARTS)
    site.add("fake", SOURCE, version="1.5")
    site.load()


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_a_backbone_shows_its_card_options_taps_and_levels(cli):
    answer = cli("show", "net")
    assert answer.code == 0
    assert lines(answer.out) == [
        "noise on stdout",
        "backbone net: a network",
        "from: fake 1.5, as fake/net",
        "version: 3",
        "license: MIT",
        "cite: Nobody, 2020",
        "requires: pluggy>=1",
        "option type default",
        "size small|large small how large",
        "widths int+... 32+64 channels",
        "rate float >0 <=1 0.1 a rate",
        "path str|none none a file",
        "training option type default",
        "lr float 0.001 learning rate",
        "12,345 parameters, input from -1 to 1; shapes for 16x16 images",
        "tap kind shape cost aliases",
        "down.0 spatial 8x4x4 25.0 % paper:first",
        "top (on request) vector 64 100.0 %",
        "level sigma",
        "t=0 0.01",
        "t=9 1.5",
        "odd unknown",
    ]


def test_options_in_the_spec_are_used_and_shown(cli):
    out = cli("show", "net:size=large").out
    assert "backbone net:size=large: a network" in out
    assert "small (here large)" in out
    assert "8x8x8" in out


def test_a_dataset_shows_classes_splits_and_metric(cli):
    out = lines(cli("show", "fake/both").out)
    assert "12 classes: " + ", ".join(f"class {i}" for i in range(10)) + ", ..." in out
    assert "images of 16x24 pixels, must not be mirrored; rows are ranked by top1" in out
    assert out[out.index("split images") :][:3] == ["split images", "train 6,000", "test 20"]


def test_a_name_of_two_kinds_shows_both_and_a_probe_is_not_built(cli):
    answer = cli("show", "both")
    assert answer.code == 0
    assert "dataset both: some images" in answer.out
    assert "probe both: a probe" in answer.out


def test_json_is_one_document_though_the_plugin_prints(cli):
    answer = cli("show", "net:size=large", "--json")
    (net,) = answer.json["components"]
    assert (net["kind"], net["title"], net["qualified"], net["version"]) == (
        "backbone",
        "net:size=large",
        "fake/net",
        3,
    )
    assert net["requires"][0]["met"] is True
    assert net["options"][0] == {
        "name": "size",
        "type": "small|large",
        "default": "small",
        "value": "large",
        "description": "how large",
    }
    assert net["trainable"] is True
    assert net["details"]["taps"][0] == {
        "id": "down.0",
        "kind": "spatial",
        "shape": [8, 8, 8],
        "cost": 0.25,
        "default": True,
        "aliases": ["paper:first"],
    }
    assert net["details"]["levels"][2] == {"id": "odd", "sigma": None}
    assert net["error"] is None
    assert "noise on stdout" in answer.err


def test_a_component_that_lacks_something_shows_its_card_and_fails(cli):
    answer = cli("show", "needy")
    assert answer.code == 3
    assert "requires: absent-thing>=2 (not installed)" in lines(answer.out)
    assert answer.err.endswith("  try: pip install 'absent-thing>=2'\n")


def test_a_component_that_cannot_be_built_shows_its_card_and_fails_with_its_own_error(cli):
    answer = cli("show", "absent")
    assert answer.code == 1
    assert "dataset absent: not downloaded" in answer.out
    assert answer.err == "error: the images are not there\n  in: somewhere\n  try: download them\n"
    document = cli("show", "absent", "--json")
    assert document.code == 1
    assert document.json["components"][0]["error"].startswith("the images are not there")


def test_a_component_that_fails_while_it_is_described_is_a_problem_of_its_plugin(cli):
    answer = cli("show", "moody")
    assert answer.code == 3
    assert answer.err == (
        "error: backbone moody cannot be described: ZeroDivisionError: no shape\n"
        "  in: fake 1.5\n  try: probebench check moody\n"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nte", "error: no component is called 'nte'\n  try: did you mean 'net'?"),
        ("net:sise=small", "error: there is no option 'sise'\n  in: net\n  try: did you mean 'size'?"),
        ("net:size=huge", "error: option size=huge should be 'small' or 'large'\n  in: net"),
        ("net:", "error: '' is not of the form option=value"),
    ],
)
def test_bad_specs_are_refused_before_anything_is_printed(cli, spec, message):
    answer = cli("show", spec)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(message)
