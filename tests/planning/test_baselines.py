"""The baselines that a run adds to the requested backbones."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, model_validator

from probebench.api import CLEAN, Options, Tap
from probebench.planning.baselines import is_baseline
from probebench.planning.jobs import jobs
from probebench.plugins.registry import resolve
from probebench.testing.fakes import ToyBackbone
from probebench.util.errors import PluginError, UsageError


class NetOptions(Options):
    pretrained: bool = Field(True, description="trained weights")
    weights: Literal["ema", "random"] = Field("ema", description="which weights")
    widths: tuple[int, ...] = Field((4, 8), description="channels")


class PixelOptions(Options):
    grid: int = Field(0, description="average first")


class Pixels(ToyBackbone):
    def taps(self, image_size):
        return (Tap("image", "vector", (192,)),)

    def levels(self):
        return (CLEAN,)

    def extract(self, batch, points, *, seed):
        return {point: self.prepare(batch.images).flatten(1) for point in points}


@pytest.fixture
def lab(lab):
    def build(options):
        return lab.counting("net")(options)

    lab.backbone("net", build, options=NetOptions, untrained=("weights=random", "pretrained=false"))
    lab.backbone("raw", Pixels, options=PixelOptions, baseline=True)
    return lab


def titles(lab, *backbones, **changes):
    request = lab.request(backbone=backbones, **changes)
    return [job.backbone.title for job in jobs(request)]


def test_raw_pixels_and_the_same_network_untrained_are_added(lab):
    assert titles(lab, "net") == ["net", "net:weights=random", "raw"]


def test_the_untrained_network_keeps_the_options_of_the_contender(lab):
    assert titles(lab, "net:widths=8+16") == ["net:widths=8+16", "net:weights=random,widths=8+16", "raw"]


def test_each_contender_has_its_untrained_network(lab):
    assert titles(lab, "net", "net:widths=8+16") == [
        "net",
        "net:widths=8+16",
        "net:weights=random",
        "net:weights=random,widths=8+16",
        "raw",
    ]


def test_without_baselines_none_is_added(lab):
    assert titles(lab, "net", baselines=False) == ["net"]


@pytest.mark.parametrize("alone", ["raw", "raw:grid=4", "net:weights=random", "net:pretrained=false"])
def test_a_run_of_a_baseline_alone_gets_no_other(lab, alone):
    assert titles(lab, alone) == [alone]


def test_a_requested_baseline_is_not_added_again(lab):
    assert titles(lab, "raw", "net:weights=random", "net", "net") == ["raw", "net:weights=random", "net"]


def test_a_requested_fixed_baseline_is_not_added_with_other_options(lab):
    assert titles(lab, "net", "raw:grid=4") == ["net", "raw:grid=4", "net:weights=random"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net", False),
        ("net:weights=random", True),
        ("net:pretrained=false", True),
        ("net:pretrained=true,widths=1+2", False),
        ("raw", True),
        ("raw:grid=4", True),
    ],
)
def test_baselines_are_known_by_their_options(lab, text, expected):
    assert is_baseline(resolve("backbone", text)) is expected


def test_records_mark_baselines(lab):
    cells = lab.run(taps=("late",), levels=("t=10",)).cells
    assert [cell.record.cell.backbone.baseline for cell in cells] == [False, True, True]
    assert [cell.record.candidates.levels for cell in cells] == [("t=10",), ("t=10",), ("clean",)]
    assert [cell.record.candidates.taps for cell in cells] == [("late",), ("late",), ("image",)]


def test_equal_components_are_run_once(lab):
    lab.run(
        backbone=("net", "lab/net", "net:weights=ema"),
        dataset=("shades", "lab/shades"),
        probe=("means", "means"),
        seeds=(0, 0),
        baselines=False,
    )
    assert lab.forwarded() == 90
    assert len(list((lab.folder / "results").rglob("*.json"))) == 1


def test_a_setting_that_gives_no_untrained_network_is_an_error_of_the_plugin(lab):
    class Strict(Options):
        weights: Literal["ema", "random"] = Field("ema", description="which weights")
        path: str = Field("", description="a file")

        @model_validator(mode="after")
        def _agree(self):
            if self.path and self.weights == "random":
                raise ValueError("weights from a file are not random")
            return self

    lab.backbone("strict", ToyBackbone, options=Strict, untrained=("weights=random",))
    with pytest.raises(PluginError, match="weights=random does not give an untrained strict:path=a"):
        titles(lab, "strict:path=a")
    assert titles(lab, "strict:path=a", baselines=False) == ["strict:path=a"]


def test_the_only_contender_must_have_every_requested_tap_and_level(lab):
    """Beside others, raw pixels are read at their single tap, without noise; alone, they are the contender."""
    lab.run(backbone=("net", "raw"), taps=("late",), levels=("t=10",))
    with pytest.raises(UsageError, match="no tap is called 'late'"):
        lab.run(backbone=("raw",), taps=("late",))
    with pytest.raises(UsageError, match="no level 't=10'"):
        lab.run(backbone=("raw",), levels=("t=10",))
    assert lab.record(backbone=("raw",), taps=("image",), levels=("clean",)).status == "success"
