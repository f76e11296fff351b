"""Probes that read maps: the shape that they get, the pooling of the maps, and the device."""

from __future__ import annotations

import dataclasses

import pytest

from probebench.api import Point, ProbeSpec, Tap, UsageError, pool_for, pooled_shape
from probebench.testing.fakes import ToyBackbone, ToyProbe

MAP, TOKENS, VECTOR = Tap("map", "spatial", (5, 8, 6)), Tap("text", "tokens", (7, 5)), Tap("one", "vector", (9,))


@pytest.fixture
def seen(lab):
    """The shapes and devices that the probe `reader` gets, which prefers maps of 2 x 2."""
    given = {"shapes": [], "devices": []}

    class Reader(ToyProbe):
        def move_to(self, device, precision):
            given["devices"].append((device, precision))

        def search(self, train, val, *, metric, seed):
            given["shapes"] += [train.shape, val.shape]
            return super().search(train, val, metric=metric, seed=seed)

        def fit(self, train, params, *, seed):
            given["shapes"].append(train.shape)
            return super().fit(train, params, seed=seed)

    lab.probe("reader", Reader, pool="grid2")
    return given


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


def test_a_grid_is_not_larger_than_the_map():
    assert pool_for(MAP, "grid8") == "grid8"
    assert pool_for(MAP, "grid16") == "grid8"
    assert pool_for(VECTOR, "grid16") == "flat"


def test_a_probe_gets_maps_in_its_preferred_pool_with_their_shape(lab, seen):
    record = lab.record(probe=("reader",), baselines=False)
    assert record.chosen.pool == "grid2"
    assert set(seen["shapes"]) == {(channels, 2, 2) for channels, *_ in seen["shapes"]}
    assert seen["devices"] == [("cpu", "fp32")]


def test_the_requested_pool_overrides_that_of_the_probe(lab, seen):
    assert lab.record(probe=("reader",), pool="gap", baselines=False).chosen.pool == "gap"
    assert {len(shape) for shape in seen["shapes"]} == {1}


def test_probes_with_different_pools_run_side_by_side(lab, seen):
    cells = lab.run(probe=("reader", "means"), baselines=False).cells
    assert {cell.record.cell.probe.name: cell.record.chosen.pool for cell in cells} == {
        "lab/reader": "grid2",
        "lab/means": "gap",
    }


def test_features_of_another_shape_than_their_tap_are_an_error(lab):
    class Boasting(ToyBackbone):
        def taps(self, image_size):
            return [
                dataclasses.replace(tap, shape=(tap.shape[0] + 1, *tap.shape[1:])) for tap in super().taps(image_size)
            ]

    lab.backbone("boasting", Boasting)
    record = lab.record(backbone=("boasting",), baselines=False)
    assert record.status == "error"
    assert record.error.message.splitlines() == [
        "features of early@clean@gap have 4 values, and the shape of its tap is (5,)",
        "  in: Backbone.taps",
        "  try: return the shape of the features for images of this size",
    ]


def test_a_spec_with_an_unknown_pool_is_refused():
    with pytest.raises(UsageError, match="'grid' is not a pool for spatial features"):
        ProbeSpec(name="reader", factory="nowhere:Reader", summary="reads", pool="grid")


def test_points_name_the_pool():
    assert str(Point("up.1", "t=10", "grid2")) == "up.1@t=10@grid2"
