"""Runs whose probes are trained on views of train images: features, their store, the probe's input, and records."""

from __future__ import annotations

import pytest
import torch
from pydantic import Field

from probebench.api import Batch, Features, Options, Point, UsageError, ViewOptions
from probebench.extraction.subsets import carve
from probebench.extraction.views import Cropped
from probebench.planning.protocol import plain
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe, ToySplit

TRAIN, TEST = 60, 30
SOURCE = "lab/shades/train"
ONE = {"taps": ("late",), "levels": ("t=10",), "baselines": False}


class Viewing(ViewOptions):
    share: float = Field(0.5, description="a share")


@pytest.fixture
def seen(lab):
    """The features that the probe `viewer` gets for the search and for the last fit."""
    given = {"searched": [], "fitted": []}

    class Viewer(ToyProbe):
        def search(self, train, val, *, metric, seed):
            given["searched"].append((train, val))
            trials = super().search(train, val, metric=metric, seed=seed)
            given["fitted"].clear()  # fits of trials
            return trials

        def fit(self, train, params, *, seed):
            given["fitted"].append(train)
            return super().fit(train, params, seed=seed)

    lab.probe("viewer", Viewer, options=Viewing)
    return given


def features(split, source) -> torch.Tensor:
    """Returns the features of all images of a split, read directly."""
    index = torch.arange(len(split))
    batch = Batch(torch.stack([split.image(int(one)) for one in index]), index, source)
    point = Point("late", "t=10", "gap")
    return ToyBackbone().extract(batch, [point], seed=0)[point]


def crop(number: int) -> torch.Tensor:
    view = Cropped(ToySplit("train", TRAIN), SOURCE, number, flips=True, seed=0)
    return features(view, view.source)


def test_a_probe_gets_crops_of_train_and_val_unchanged(lab, seen):
    assert lab.record(probe=("viewer:views=crop2",), **ONE).status == "success"
    ((train, val),), (final,) = seen["searched"], seen["fitted"]
    on, off = carve(torch.arange(TRAIN) % 3, 0.1, seed=0)
    unchanged = features(ToySplit("train", TRAIN), SOURCE)
    for number in range(2):
        assert torch.allclose(train.views[number], crop(number)[on])
        assert torch.allclose(final.views[number], crop(number))
    assert torch.allclose(val.vectors, unchanged[off])
    assert torch.allclose(train.vectors, unchanged[on])
    assert (len(train.views), len(final.views), val.views) == (2, 2, ())


def test_mirrored_images_take_turns_with_unchanged_ones(lab, seen):
    lab.run(probe=("viewer:views=flip",), **ONE)
    (final,) = seen["fitted"]
    upright, mirrored = final.views
    assert torch.equal(upright, final.vectors)
    flipped = ToySplit("train", TRAIN)
    flipped.image = lambda index: ToySplit.image(flipped, index).flip(2)
    assert torch.allclose(mirrored, features(flipped, f"{SOURCE}/mirrored"))
    assert lab.forwarded() == 2 * TRAIN + TEST


def test_each_view_is_forwarded_once_and_never_again(lab, seen):
    first = lab.run(probe=("viewer:views=crop3", "means"), seeds=(0, 1), baselines=False)
    assert lab.forwarded() == TRAIN + TEST + 3 * TRAIN
    assert first.forwarded == {("net", "shades"): TRAIN + TEST + 3 * TRAIN}
    again = {"probe": ("viewer:views=crop3",), "results": lab.folder / "elsewhere", "baselines": False}
    lab.run(**again)
    assert lab.forwarded() == 0
    lab.run(**again | {"probe": ("viewer:views=crop4",)})
    assert lab.forwarded() == TRAIN
    lab.run(**again, noise_seed=1)  # it seeds crops too
    assert lab.forwarded() == TRAIN + TEST + 3 * TRAIN


def test_test_images_and_an_official_val_have_no_views(lab, seen):
    class Official(ToyDataset):
        splits = ("train", "val", "test")

        def __init__(self, options=None):
            self.sizes = {"train": TRAIN, "val": 21, "test": TEST}

    lab.dataset("official", Official)
    lab.run(dataset=("official",), probe=("viewer:views=crop2",), **ONE)
    assert {call.source for call in lab.calls} == {
        *(f"lab/official/{split}" for split in ("train", "val", "test")),
        *(f"lab/official/train/crop{number}" for number in range(2)),
    }
    (final,) = seen["fitted"]
    assert [len(view) for view in final.views] == [TRAIN + 21] * 2
    assert all(torch.equal(view[TRAIN:], final.vectors[TRAIN:]) for view in final.views)
    assert not torch.equal(final.views[0][:TRAIN], final.vectors[:TRAIN])


def test_without_views_keys_and_records_do_not_change(lab, seen):
    """A probe that gets the option `views` keeps its protocol and its stored features where the option is not set."""

    class Before(Options):
        share: float = Field(0.5, description="a share")

    after = plain("viewer").protocol
    lab.record(probe=("viewer",), **ONE)
    (train, _), *_ = seen["searched"]
    assert train.views == ()
    assert train == Features(train.vectors, train.labels, train.classes, train.shape)
    lab.probe("viewer", ToyProbe, options=Before)
    assert plain("viewer").protocol == after
    assert lab.forwarded() == TRAIN + TEST


def test_records_name_the_views_and_differ_by_them(lab, seen):
    without, crops, flip = (
        cell.record
        for cell in lab.run(probe=("viewer", "viewer:views=crop2", "viewer:views=flip"), baselines=False).cells
    )
    assert "views" not in without.cell.probe.options
    assert crops.cell.probe.options["views"] == "crop2"
    assert crops.protocol.name == "viewer:views=crop2"
    assert len({record.protocol.hash for record in (without, crops, flip)}) == 3
    assert crops.parts["train"].count == without.parts["train"].count  # images, not views
    assert without.grid == lab.record(probe=("means",), baselines=False).grid


def test_a_wrapped_probe_may_use_views(lab, seen):
    class Wrapping(Options):
        probe: str = Field("viewer", description="what is wrapped")

    class Around(ToyProbe):
        def __init__(self, options, inner):
            self.inner = inner

        def search(self, train, val, *, metric, seed):
            return self.inner.search(train, val, metric=metric, seed=seed)

    lab.probe("around", Around, options=Wrapping, wraps="probe")
    lab.run(probe=("around:probe=[viewer:views=crop2]",), **ONE)
    ((train, _),) = seen["searched"]
    assert len(train.views) == 2


def test_images_of_a_dataset_without_flips_are_not_mirrored(lab, seen):
    class Digits(ToyDataset):
        flips = False

    lab.dataset("written", Digits)
    with pytest.raises(UsageError) as caught:
        lab.run(dataset=("written",), probe=("viewer:views=flip",), baselines=False)
    assert str(caught.value).splitlines() == [
        "views=flip cannot be used with written, because a mirrored image has another meaning",
        "  in: option views of viewer:views=flip",
        "  try: views=crop10",
    ]
    lab.run(dataset=("written",), probe=("viewer:views=crop1",), **ONE)
    view = Cropped(ToySplit("train", TRAIN), "lab/written/train", 0, flips=False, seed=0)
    assert torch.allclose(seen["fitted"][-1].views[0], features(view, view.source))
