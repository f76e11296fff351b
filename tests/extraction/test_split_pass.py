"""Every image goes through a backbone once for all points, probes and seeds, and never again."""

from __future__ import annotations

import warnings

import pytest

from probebench.api import ProbebenchWarning
from probebench.extraction import workbench
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe

TRAIN, TEST = 60, 30


@pytest.fixture
def product(lab):
    """Two probes with two seeds on both default taps and all three levels."""
    lab.probe("other", ToyProbe)
    return {"probe": ("means", "other"), "seeds": (0, 1)}


def test_one_pass_serves_all_points_probes_and_seeds(lab, product):
    result = lab.run(**product)
    assert len(result.cells) == 4
    assert {len(call.points) for call in lab.calls} == {2 * 3}
    for split, count in (("train", TRAIN), ("test", TEST)):
        index = [position for call in lab.calls if call.source == f"lab/shades/{split}" for position in call.index]
        assert sorted(index) == list(range(count))
    assert result.forwarded == {("net", "shades"): TRAIN + TEST}
    assert {cell.record.timing.forwarded for cell in result.cells} == {TRAIN + TEST}


def test_a_second_call_forwards_nothing_and_writes_nothing(lab, product, files):
    lab.run(**product)
    lab.calls.clear()
    before = files(lab.folder / "results")
    result = lab.run(**product)
    assert lab.calls == []
    assert not any(cell.fresh for cell in result.cells)
    assert result.forwarded == {}
    assert files(lab.folder / "results") == before


@pytest.mark.parametrize("change", [{"seeds": (0, 7)}, {"probe": ("means", "other")}])
def test_another_probe_or_seed_forwards_nothing(lab, change):
    lab.run()
    lab.calls.clear()
    lab.probe("other", ToyProbe)
    result = lab.run(**change)
    assert lab.calls == []
    assert [cell.fresh for cell in result.cells] == [False, True]
    assert result.cells[1].record.timing.forwarded == 0
    assert result.cells[1].record.timing.extract_s == 0


def test_another_tap_forwards_for_that_tap_only(lab):
    lab.run(taps=("early",))
    lab.calls.clear()
    result = lab.run(taps=("early", "late", "head"))
    assert {point.split("@")[0] for call in lab.calls for point in call.points} == {"late", "head"}
    assert lab.forwarded() == TRAIN + TEST
    assert [str(point) for point in result.cells[0].record.grid_points()][::3] == [
        "early@clean@gap",
        "late@clean@gap",
        "head@clean@flat",
    ]


def test_another_level_forwards_for_that_level_only(lab):
    lab.run(levels=("clean",))
    lab.calls.clear()
    lab.run(levels=("clean", "t=100"))
    assert {point.split("@")[1] for call in lab.calls for point in call.points} == {"t=100"}


def test_another_results_folder_shares_the_features(lab):
    lab.run()
    lab.calls.clear()
    (cell,) = lab.run(results=lab.folder / "elsewhere").cells
    assert cell.fresh
    assert lab.calls == []


def test_a_limited_run_forwards_its_images_only(lab):
    record = lab.record(limit=12)
    assert lab.forwarded() == 12 + 12
    assert record.smoke
    assert (record.parts["train"].count + record.parts["val"].count, record.parts["test"].count) == (12, 12)


def test_each_backbone_and_dataset_has_its_own_pass(lab):
    lab.backbone("twin", lab.counting("twin"))
    lab.dataset("more-shades", lambda options: ToyDataset(options, train=90))
    result = lab.run(backbone=("net", "twin"), dataset=("shades", "more-shades"))
    assert result.forwarded == {
        (backbone, dataset): train + TEST
        for dataset, train in (("shades", TRAIN), ("more-shades", 90))
        for backbone in ("net", "twin")
    }


def test_each_component_is_built_once(lab):
    """By two seeds, two probes that read different points, and two datasets."""
    built = []
    lab.backbone("net", lambda options: built.append("net") or lab.counting("net")(options))
    lab.dataset("shades", lambda options: built.append("shades") or ToyDataset(options))
    lab.dataset("tints", lambda options: built.append("tints") or ToyDataset(options))
    lab.probe("maximal", ToyProbe, pool="max")
    result = lab.run(seeds=(0, 1), probe=("means", "maximal"), dataset=("shades", "tints"))
    assert (len(result.cells), result.failed) == (8, [])
    assert sorted(built) == ["net", "shades", "tints"]


def test_networks_beyond_the_bound_are_built_again_and_not_held(lab, monkeypatch):
    monkeypatch.setattr(workbench, "HELD_BYTES", 0)
    built = []

    class Weighty(ToyBackbone):
        parameters = 1

    for name in ("first", "second"):
        lab.backbone(name, lambda options, name=name: built.append(name) or Weighty(options))
    assert not lab.run(backbone=("first", "second")).failed
    assert sorted(built) == ["first", "first", "second", "second"]


def test_a_network_that_is_built_again_warns_in_its_record_only(lab, monkeypatch):
    class Doubter(ToyBackbone):
        parameters = 1

        def __init__(self, options):
            warnings.warn(ProbebenchWarning("trained on other images"), stacklevel=1)
            super().__init__(options)

    monkeypatch.setattr(workbench, "HELD_BYTES", 0)
    lab.backbone("doubter", Doubter)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProbebenchWarning)
        doubter, _ = lab.run(backbone=("doubter", "net")).cells
    assert doubter.record.warnings == ("trained on other images",)
    assert caught == []


def test_shards_that_are_broken_during_a_run_are_computed_again_and_counted(lab):
    """The shards of all six points are lost after the pass, before the probe reads them."""

    class Vandal(ToyProbe):
        def __init__(self, options):
            for path in (lab.folder / "store").rglob("*.safetensors"):
                path.write_bytes(b"broken")

    lab.probe("vandal", Vandal)
    with pytest.warns(UserWarning, match="truncated or altered") as caught:
        result = lab.run(probe=("vandal",))
    assert not result.failed
    assert result.cells[0].record.warnings == ()  # the number does not depend on it
    again = 6 * TRAIN + TEST  # every point of train, and the chosen one of test
    assert len(caught) == 6 + 1
    assert lab.forwarded() == result.forwarded["net", "shades"] == TRAIN + TEST + again


def test_a_broken_file_of_the_store_is_named_and_computed_again(lab, comparable):
    lab.run()
    before = comparable(lab.folder / "results")
    lab.calls.clear()
    shard = sorted((lab.folder / "store").rglob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=shard.name):
        lab.run(results=lab.folder / "again")
    assert lab.forwarded() in (TRAIN, TEST)  # the images of its split
    assert comparable(lab.folder / "again") == before
