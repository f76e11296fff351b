"""Probes that read maps: what shape they are told, how maps are pooled for them, and where they may compute."""

from __future__ import annotations

import dataclasses

import pytest

from probebench.api import Point, ProbeSpec, Tap, UsageError, pool_for, pooled_shape
from probebench.testing.fakes import ToyBackbone, ToyProbe

MAP, TOKENS, VECTOR = Tap("map", "spatial", (5, 8, 6)), Tap("text", "tokens", (7, 5)), Tap("one", "vector", (9,))


@pytest.fixture
def seen(lab):
    """What the probe `reader`, which wants maps of 2 x 2, was told."""
    told = {"shapes": [], "places": []}

    class Reader(ToyProbe):
        def move_to(self, device, precision):
            told["places"].append((device, precision))

        def search(self, train, val, *, metric, seed):
            told["shapes"] += [train.shape, val.shape]
            return super().search(train, val, metric=metric, seed=seed)

        def fit(self, train, params, *, seed):
            told["shapes"].append(train.shape)
            return super().fit(train, params, seed=seed)

    lab.probe("reader", Reader, pool="grid2")
    return told


@pytest.mark.parametrize(
    ("tap", "pool", "shape"),
    [
        (MAP, "gap", (5,)),
        (MAP, "max", (5,)),
        (MAP, "grid3", (5, 3, 3)),
        (MAP, "flat", (5, 8, 6)),
        (TOKENS, "gap", (5,)),
        (TOKENS, "cls", (5,)),
        (TOKENS, "flat", (7, 5)),
        (VECTOR, "flat", (9,)),
    ],
)
def test_the_shape_behind_a_vector(tap, pool, shape):
    assert pooled_shape(tap, pool) == shape


def test_a_map_smaller_than_the_grid_is_not_stored_several_times_over():
    assert pool_for(MAP, "grid8") == "grid8"
    assert pool_for(MAP, "grid16") == "grid8"
    assert pool_for(VECTOR, "grid16") == "flat"


def test_a_probe_gets_maps_pooled_its_way_with_their_shape(lab, seen):
    record = lab.record(probe=("reader",), baselines=False)
    assert record.chosen.pool == "grid2"
    assert set(seen["shapes"]) == {(channels, 2, 2) for channels, *_ in seen["shapes"]}
    assert seen["places"] == [("cpu", "fp32")]


def test_what_the_user_asks_for_comes_before_what_the_probe_prefers(lab, seen):
    assert lab.record(probe=("reader",), pool="gap", baselines=False).chosen.pool == "gap"
    assert {len(shape) for shape in seen["shapes"]} == {1}


def test_probes_that_want_other_pools_run_side_by_side(lab, seen):
    cells = lab.run(probe=("reader", "means"), baselines=False).cells
    assert {cell.record.cell.probe.name: cell.record.chosen.pool for cell in cells} == {
        "lab/reader": "grid2",
        "lab/means": "gap",
    }


def test_a_tap_whose_shape_is_not_what_it_gives_is_an_error(lab):
    class Boasting(ToyBackbone):
        def taps(self, image_size):
            return [
                dataclasses.replace(tap, shape=(tap.shape[0] + 1, *tap.shape[1:])) for tap in super().taps(image_size)
            ]

    lab.backbone("boasting", Boasting)
    record = lab.record(backbone=("boasting",), baselines=False)
    assert record.status == "error"
    assert "wide, and its tap's shape makes it" in record.error.message


def test_a_card_with_a_pool_that_there_is_not():
    with pytest.raises(UsageError, match="'grid' is not a pool for spatial features"):
        ProbeSpec(name="reader", factory="nowhere:Reader", summary="reads", pool="grid")


def test_points_name_the_pool():
    assert str(Point("up.1", "t=10", "grid2")) == "up.1@t=10@grid2"
