"""What every contender is measured against, without anybody asking for it."""

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


class FloorOptions(Options):
    grid: int = Field(0, description="average first")


class Floor(ToyBackbone):
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
    lab.backbone("floor", Floor, options=FloorOptions, baseline=True)
    return lab


def titles(lab, *backbones, **changes):
    request = lab.request(backbone=backbones, **changes)
    return [job.backbone.title for job in jobs(request)]


def test_floors_and_the_same_network_untrained_are_added(lab):
    assert titles(lab, "net") == ["net", "net:weights=random", "floor"]


def test_the_untrained_network_keeps_the_options_of_the_contender(lab):
    assert titles(lab, "net:widths=8+16") == ["net:widths=8+16", "net:weights=random,widths=8+16", "floor"]


def test_each_contender_has_its_own_untrained_twin(lab):
    assert titles(lab, "net", "net:widths=8+16") == [
        "net",
        "net:widths=8+16",
        "net:weights=random",
        "net:weights=random,widths=8+16",
        "floor",
    ]


def test_no_baselines_adds_nothing(lab):
    assert titles(lab, "net", baselines=False) == ["net"]


@pytest.mark.parametrize("alone", ["floor", "floor:grid=4", "net:weights=random", "net:pretrained=false"])
def test_a_baseline_alone_has_nothing_to_be_seen_against(lab, alone):
    assert titles(lab, alone) == [alone]


def test_what_was_asked_for_is_not_added_again(lab):
    assert titles(lab, "floor", "net:weights=random", "net", "net") == ["floor", "net:weights=random", "net"]


def test_a_floor_in_another_form_stands_for_the_plain_one(lab):
    assert titles(lab, "net", "floor:grid=4") == ["net", "floor:grid=4", "net:weights=random"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net", False),
        ("net:weights=random", True),
        ("net:pretrained=false", True),
        ("net:pretrained=true,widths=1+2", False),
        ("floor", True),
        ("floor:grid=4", True),
    ],
)
def test_baselines_are_known_by_their_options(lab, text, expected):
    assert is_baseline(resolve("backbone", text)) is expected


def test_records_say_which_are_baselines(lab):
    cells = lab.run(taps=("late",), levels=("t=10",)).cells
    assert [cell.record.cell.backbone.baseline for cell in cells] == [False, True, True]
    assert [cell.record.candidates.levels for cell in cells] == [("t=10",), ("t=10",), ("clean",)]
    assert [cell.record.candidates.taps for cell in cells] == [("late",), ("late",), ("image",)]


def test_doubles_are_run_once(lab):
    lab.run(
        backbone=("net", "lab/net", "net:weights=ema"),
        dataset=("shades", "lab/shades"),
        probe=("means", "means"),
        seeds=(0, 0),
        baselines=False,
    )
    assert lab.forwarded() == 90
    assert len(list((lab.folder / "results").rglob("*.json"))) == 1


def test_a_setting_that_does_not_give_an_untrained_network_is_the_plugins_fault(lab):
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


def test_alone_a_backbone_must_have_what_is_named(lab):
    """Beside others a floor is read in the only way it can be; alone nobody else can have been meant."""
    lab.run(backbone=("net", "floor"), taps=("late",), levels=("t=10",))
    with pytest.raises(UsageError, match="no tap is called 'late'"):
        lab.run(backbone=("floor",), taps=("late",))
    with pytest.raises(UsageError, match="no level 't=10'"):
        lab.run(backbone=("floor",), levels=("t=10",))
    assert lab.record(backbone=("floor",), taps=("image",), levels=("clean",)).status == "success"
