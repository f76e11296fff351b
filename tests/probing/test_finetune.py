"""Probes that train the backbone: their input, the choice on val, and their records and boards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probebench.api import Batch, Point, TrainingError, Trial, UsageError, ViewOptions, hash63
from probebench.board.collect import load
from probebench.board.pages.markdown import board_page
from probebench.board.ranking import boards
from probebench.extraction.subsets import carve
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyFinetuned, ToyFinetuning, ToySplit

TRAIN, TEST = 60, 30
ONE = {"taps": ("late",), "levels": ("t=10",)}


class Head(ToyFinetuned):
    def scores(self, images):
        given["scored"].append(images)
        return super().scores(images)


class Tuner(ToyFinetuning):
    def search(self, backbone, train, val, *, metric, seed):
        given["searched"].append((train, val))
        return super().search(backbone, train, val, metric=metric, seed=seed)

    def fit(self, backbone, train, params, *, seed):
        given["fitted"].append(train)
        return Head(super().fit(backbone, train, params, seed=seed).network)


given: dict[str, list] = {}
"""The images that the probe `tuner` was given."""


@pytest.fixture(autouse=True)
def _parts(lab):
    given.update(searched=[], fitted=[], scored=[])
    lab.backbone("net", lab.counting("net"), finetunable=True)
    lab.backbone("fixed", ToyBackbone)
    lab.probe("tuner", Tuner, consumes="backbone", options=ViewOptions)


def inputs(split, source, positions, *, seed) -> torch.Tensor:
    images = torch.stack([split.image(int(position)) for position in positions])
    return ToyBackbone().inputs(Batch(images, torch.as_tensor(positions), source), "t=10", seed=seed)


def test_a_probe_gets_train_and_val_images_and_test_images_without_labels(lab):
    assert lab.record(probe=("tuner",), **ONE).status == "success"
    on, off = carve(torch.arange(TRAIN) % 3, 0.1, seed=0)
    ((train, val),), split = given["searched"], ToySplit("train", TRAIN)
    assert train.labels.tolist() == (on % 3).tolist()
    assert val.labels.tolist() == (off % 3).tolist()
    rows = torch.tensor([5, 0, 17])
    for epoch in (0, 3):
        expected = inputs(split, "lab/shades/train", on[rows], seed=hash63("epoch", 0, epoch))
        assert torch.equal(train.inputs(rows, epoch), expected)
    assert torch.equal(val.inputs(torch.arange(6), None), inputs(split, "lab/shades/train", off, seed=0))
    assert len(given["fitted"][-1].labels) == TRAIN
    test = given["scored"][-1]
    expected = inputs(ToySplit("test", TEST), "lab/shades/test", range(TEST), seed=0)
    assert torch.equal(test.inputs(torch.arange(TEST), None), expected)
    assert test.labels.tolist() == [0] * TEST  # no test label reaches a probe


def test_an_official_val_comes_after_train_in_the_last_training(lab):
    class Official(ToyDataset):
        splits = ("train", "val", "test")

        def __init__(self, options=None):
            self.sizes = {"train": TRAIN, "val": 21, "test": TEST}

    lab.dataset("official", Official)
    record = lab.record(dataset=("official",), probe=("tuner",), **ONE)
    assert {name: part.count for name, part in record.parts.items()} == {"train": TRAIN, "val": 21, "test": TEST}
    final = given["fitted"][-1]
    assert final.labels.tolist() == [*(torch.arange(TRAIN) % 3).tolist(), *(torch.arange(21) % 3).tolist()]
    mixed = final.inputs(torch.tensor([TRAIN + 4, 7]), None)
    assert torch.equal(mixed[:1], inputs(ToySplit("val", 21), "lab/official/val", [4], seed=0))
    assert torch.equal(mixed[1:], inputs(ToySplit("train", TRAIN), "lab/official/train", [7], seed=0))


def test_views_of_train_take_turns_and_val_has_none(lab):
    lab.run(probe=("tuner:views=flip",), **ONE)
    ((train, val),), on = given["searched"], carve(torch.arange(TRAIN) % 3, 0.1, seed=0)[0]
    rows, split = torch.arange(4), ToySplit("train", TRAIN)
    seed = hash63("epoch", 0, 2)
    assert torch.equal(train.inputs(rows, 2), inputs(split, "lab/shades/train", on[rows], seed=seed))
    split.image = lambda index: ToySplit.image(split, index).flip(2)
    mirrored = inputs(split, "lab/shades/train/mirrored", on[rows], seed=hash63("epoch", 0, 1))
    assert torch.equal(train.inputs(rows, 1), mirrored)
    assert torch.equal(val.inputs(rows, 1), val.inputs(rows, 1))


def test_the_backbone_does_not_change_and_nothing_is_forwarded_or_stored(lab):
    first = lab.run(probe=("tuner", "means"), **ONE)
    assert lab.forwarded() == TRAIN + TEST  # for the probe of frozen features
    again = lab.run(probe=("tuner",), results=lab.folder / "again", **ONE)
    assert again.cells[0].record.metrics == first.cells[0].record.metrics
    assert again.forwarded == {}
    assert [cell.fresh for cell in lab.run(probe=("tuner",), **ONE).cells] == [False]


def test_a_record_marks_a_backbone_that_was_trained(lab):
    trained, frozen = (cell.record for cell in lab.run(probe=("tuner", "means"), **ONE).cells)
    assert (trained.frozen, frozen.frozen) == (False, True)
    assert trained.protocol.document["frozen"] is False
    assert "frozen" not in frozen.protocol.document
    assert trained.chosen.params["rate"] in (0.0, 0.1)
    assert len(trained.grid) == 2
    assert trained.chosen.dim == 8


def test_its_board_is_separate_and_marks_the_training(lab):
    lab.run(probe=("tuner", "means"), **ONE)
    found = {board.newest.protocol.name: board for board in boards(load(lab.folder / "results"))}
    assert set(found) == {"tuner", "means"}
    texts = {name: board_page(board, lab.folder) for name, board in found.items()}
    assert "**not frozen**" in texts["tuner"]
    assert "`net` (trained, not frozen)" in texts["tuner"]
    assert "not frozen" not in texts["means"]


def test_a_training_that_diverges_is_a_failed_cell_that_no_board_ranks(lab):
    class Diverging(Tuner):
        def fit(self, backbone, train, params, *, seed):
            raise TrainingError("it diverges", where="option rates of diverging", hint="smaller ones")

    lab.probe("diverging", Diverging, consumes="backbone", options=ViewOptions)
    (cell,) = lab.run(probe=("diverging",), **ONE).cells
    assert str(cell.error).splitlines() == ["it diverges", "  in: option rates of diverging", "  try: smaller ones"]
    assert (cell.record.status, cell.record.error.type) == ("error", "TrainingError")
    (board,) = boards(load(lab.folder / "results"))
    assert (board.ranked, len(board.excluded)) == ((), 1)


def test_a_backbone_without_a_network_to_train_is_refused_before_any_work(lab):
    with pytest.raises(UsageError) as caught:
        lab.run(backbone=("net", "fixed"), probe=("tuner",), **ONE)
    assert str(caught.value).splitlines() == [
        "fixed has no network to train, and tuner trains the backbone",
        "  in: --backbone",
        "  try: run fixed in a separate command, without tuner",
    ]
    with pytest.raises(UsageError, match="Backbone has no network to train at late@t=10@gap"):
        super(ToyBackbone, ToyBackbone()).trainable(Point("late", "t=10", "gap"))


def test_a_baseline_that_cannot_be_trained_is_left_out(lab):
    lab.backbone("raw", ToyBackbone, baseline=True)
    titles = [cell.record.cell.backbone.title for cell in lab.run(probe=("tuner", "means"), **ONE).cells]
    assert sorted(titles) == ["net", "net", "raw"]


def test_scores_of_another_shape_fail_the_cell(lab):
    class Wide(Tuner):
        def fit(self, backbone, train, params, *, seed):
            tuned = super().fit(backbone, train, params, seed=seed)
            tuned.network.append(nn.ZeroPad1d((0, 1)))
            return tuned

        def search(self, backbone, train, val, *, metric, seed):
            return [Trial({"rate": 0.1}, 0.5)]

    lab.probe("wide", Wide, consumes="backbone", options=ViewOptions)
    record = lab.record(probe=("wide",), **ONE)
    assert record.status == "error"
    assert "scores of shape (30, 4), not (30, 3)" in record.error.message


@pytest.mark.parametrize(("name", "option"), [("optimism", "--optimism"), ("soft_vote", "--soft-vote")])
def test_options_of_probes_of_frozen_features_are_refused(lab, name, option):
    with pytest.raises(UsageError) as caught:
        lab.run(probe=("tuner",), **ONE, **{name: True})
    assert str(caught.value).splitlines() == [
        f"{option} applies to probes of frozen features, and tuner trains the backbone",
        f"  in: {option}",
        f"  try: run tuner in a separate command, without {option}",
    ]
