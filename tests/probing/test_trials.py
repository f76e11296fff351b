"""The choice is made on val, and test is measured once."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from probebench.api import Batch, Features, Point, Trial
from probebench.extraction.subsets import carve
from probebench.probing import trials
from probebench.records import files
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe, ToySplit
from probebench.util.errors import PluginError, UsageError


class Relabelled(ToySplit):
    """A split whose labels are changed by a function."""

    def __init__(self, name, count, relabel):
        super().__init__(name, count)
        self.relabel = relabel

    def labels(self):
        return self.relabel(super().labels())


def dataset_with(relabel=None, **sizes):
    """Returns a toy dataset with these splits; `relabel` holds a function for the labels of a split."""

    class Made(ToyDataset):
        splits = tuple(sizes)

        def __init__(self, options=None):
            self.sizes = sizes

        def split(self, name):
            return Relabelled(name, self.sizes[name], (relabel or {}).get(name, lambda labels: labels))

    return Made


class Spy(ToyProbe):
    """Notes the arguments of all calls."""

    searched: list
    fitted: list
    scored: list

    def __init__(self, options=None):
        type(self).searched, type(self).fitted, type(self).scored = [], [], []

    def search(self, train, val, *, metric, seed):
        self.searched.append((train, val))
        return super().search(train, val, metric=metric, seed=seed)

    def fit(self, train, params, *, seed):
        self.fitted.append((train, dict(params)))
        model, spy = super().fit(train, params, seed=seed), self

        class Watched(type(model)):
            def scores(self, vectors):
                spy.scored.append(vectors)
                return super().scores(vectors)

        return Watched(model.means)


def rows(features) -> set[bytes]:
    vectors = features.vectors if isinstance(features, Features) else features
    return {row.numpy().tobytes() for row in vectors}


def indices(positions) -> str:
    return hashlib.sha256(np.asarray(positions, dtype="<i8").tobytes()).hexdigest()


def test_poisoned_test_labels_change_no_choice(lab):
    sound = lab.record()
    lab.dataset("shades", dataset_with({"test": lambda labels: (labels + 1) % 3}, train=60, test=30), version=2)
    poisoned = lab.record()
    assert poisoned.grid == sound.grid
    assert poisoned.chosen == sound.chosen
    assert poisoned.metrics["top1"].value < sound.metrics["top1"].value  # the metric reads the labels


def test_a_probe_sees_test_vectors_once_and_after_the_choice(lab):
    lab.probe("spy", Spy)
    lab.run(probe=("spy",), taps=("late",), levels=("t=10",))
    ((train, val),) = Spy.searched
    *tried, (_, params) = Spy.fitted
    *_, test = Spy.scored
    assert len(test) == 30
    assert rows(test).isdisjoint(rows(train) | rows(val))
    assert rows(test).isdisjoint(set().union(*(rows(features) for features, _ in Spy.fitted)))
    assert sum(rows(vectors) == rows(test) for vectors in Spy.scored) == 1
    assert len(tried) == len(Spy.shares)
    assert params["share"] in Spy.shares


def test_the_final_fit_is_on_train_and_val_in_the_order_of_the_split(lab):
    lab.probe("spy", Spy)
    lab.run(probe=("spy",), taps=("late",), levels=("clean",))
    final, _ = Spy.fitted[-1]
    assert len(final.vectors) == 60
    assert final.labels.tolist() == (torch.arange(60) % 3).tolist()
    ((train, val),) = Spy.searched
    assert rows(final) == rows(train) | rows(val)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_carved_val_is_disjoint_and_recorded_by_its_digest(lab, seed):
    lab.probe("spy", Spy)
    record = lab.record(probe=("spy",), seeds=(seed,))
    train, val = Spy.searched[0]
    assert rows(train).isdisjoint(rows(val))
    expected = carve(torch.arange(60) % 3, 0.1, seed=seed)
    assert [record.parts[name].indices for name in ("train", "val")] == [indices(part) for part in expected]
    assert [record.parts[name].count for name in ("train", "val", "test")] == [54, 6, 30]
    assert {record.parts[name].split for name in ("train", "val")} == {"train"}
    assert (record.selection.carved, record.selection.val_fraction) == (True, 0.1)


def test_another_seed_carves_another_val(lab):
    first, second = (cell.record for cell in lab.run(seeds=(0, 1)).cells)
    assert first.parts["val"].indices != second.parts["val"].indices
    assert first.parts["test"] == second.parts["test"]


def test_an_official_val_is_chosen_on_and_joins_the_last_fit(lab):
    lab.dataset("official", dataset_with(train=60, val=21, test=30))
    lab.probe("spy", Spy)
    record = lab.record(dataset=("official",), probe=("spy",))
    assert {(len(train.labels), len(val.labels)) for train, val in Spy.searched} == {(60, 21)}
    assert len(Spy.fitted[-1][0].labels) == 60 + 21
    assert (record.selection.carved, record.selection.val_fraction) == (False, None)
    assert record.parts["val"].model_dump() == {"split": "val", "count": 21, "indices": indices(range(21))}
    assert lab.forwarded() == 60 + 21 + 30


def test_val_decides_even_where_test_would_choose_another(lab):
    """On val the labels are wrong, so the probe that is worst on test is chosen."""

    class Contrary(ToyProbe):
        def search(self, train, val, *, metric, seed):
            right = self.fit(train, {"share": 0.0}, seed=seed).scores(val.vectors)
            return [Trial({"sign": sign}, metric(sign * right, val.labels)) for sign in (1, -1)]

        def fit(self, train, params, *, seed):
            model = super().fit(train, {"share": 0.0}, seed=seed)
            model.scores = lambda vectors: params.get("sign", 1) * type(model).scores(model, vectors)
            return model

    def shifted(labels):
        return (labels + 1) % 3

    lab.probe("contrary", Contrary)
    lab.dataset("official", dataset_with({"val": shifted}, train=60, val=30, test=30))
    record = lab.record(dataset=("official",), probe=("contrary",), taps=("late",), levels=("clean",))
    assert record.chosen.params == {"sign": -1}
    assert record.metrics["top1"].value < 0.5


@pytest.mark.parametrize(("limit", "calls"), [(1, [1] * 6), (2 * 60 * 4 * 8, [3, 2, 1]), (1 << 30, [6])])
def test_as_many_points_are_searched_at_once_as_fit_in_memory(lab, monkeypatch, limit, calls):
    # Two taps, 4 and 8 wide, at three levels, 60 images.
    together = []

    class Sweep(ToyProbe):
        def search_many(self, points, *, metric, seed):
            together.append(len(points))
            return super().search_many(points, metric=metric, seed=seed)

    lab.probe("sweep", Sweep)
    expected = [(trial.point, trial.params, trial.value) for trial in lab.record(probe=("sweep",)).grid]
    together.clear()
    monkeypatch.setattr(trials, "GROUP_BYTES", limit)
    grid = lab.record(probe=("sweep",), results=lab.folder / "again").grid
    assert together == calls
    assert [(trial.point, trial.params, trial.value) for trial in grid] == expected


def test_a_point_that_search_many_omits_fails_the_cell(lab):
    class Forgetful(ToyProbe):
        def search_many(self, points, *, metric, seed):
            return super().search_many(points[1:], metric=metric, seed=seed)

    lab.probe("forgetful", Forgetful)
    (cell,) = lab.run(probe=("forgetful",)).cells
    assert cell.record.status == "error"
    assert "search_many() returns trials of 5 points, not of 6" in str(cell.error)
    assert "one list for each point" in str(cell.error)


@pytest.mark.parametrize("levels", [(), ("t=100", "clean", "t=10")])
def test_of_equal_trials_the_shallow_tap_the_low_level_and_the_first_setting_are_chosen(lab, levels):
    class Undecided(ToyProbe):
        def search(self, train, val, *, metric, seed):
            return [Trial({"share": share}, 0.5) for share in (0.5, 0.0)]

    lab.probe("undecided", Undecided)
    record = lab.record(probe=("undecided",), taps=("late", "early"), levels=levels)
    assert str(record.chosen.point) == "early@clean@gap"
    assert record.chosen.params == {"share": 0.5}


def test_the_order_of_taps_and_levels_makes_no_other_cell(lab):
    lab.run(taps=("late", "early"), levels=("t=100", "t=10"))
    (again,) = lab.run(taps=("early", "toy:first", "late"), levels=("t=10", "t=100")).cells
    assert not again.fresh


def test_the_result_equals_that_of_plain_numpy_at_the_chosen_point(lab):
    """Order of rows, labels, last fit and scores, from the backbone to the record."""
    (cell,) = lab.run(taps=("late",), levels=("t=100",)).cells
    chosen = cell.record.chosen
    point = Point(chosen.tap, chosen.level, chosen.pool)
    backbone = ToyBackbone()
    backbone.move_to("cpu", "fp32")

    def features(name):
        split = ToyDataset().split(name)
        images = torch.stack([split.image(position) for position in range(len(split))])
        batch = Batch(images, torch.arange(len(split)), f"lab/shades/{name}")
        return backbone.extract(batch, [point], seed=0)[point].double().numpy(), split.labels().numpy()

    (train, labels), (test, truth) = features("train"), features("test")
    means = np.stack([train[labels == label].mean(0) for label in range(3)])
    means += chosen.params["share"] * (train.mean(0) - means)
    expected = np.linalg.norm(test[:, None] - means, axis=2).argmin(1)
    predicted, correct = files.read_predictions(cell.record, cell.path)
    assert predicted.tolist() == expected.tolist()
    assert correct.tolist() == (expected == truth).tolist()
    assert cell.record.metrics["top1"].value == pytest.approx((expected == truth).mean())
    assert 1 / 3 < cell.record.metrics["top1"].value < 1  # neither chance nor trivial


def test_a_probe_that_changes_its_input_does_not_change_other_cells(lab):
    class Spoiler(ToyProbe):
        def search(self, train, val, *, metric, seed):
            trials = super().search(train, val, metric=metric, seed=seed)
            for features in (train, val):
                features.vectors.zero_()
                features.labels.zero_()
            return trials

    lab.dataset("official", dataset_with(train=60, val=21, test=30))
    lab.probe("spoiler", Spoiler)
    alone = lab.record(dataset=("official",), results=lab.folder / "alone")
    _, after = lab.run(dataset=("official",), probe=("spoiler", "means")).cells
    assert files.comparable(after.record) == files.comparable(alone)


def test_the_best_point_is_fitted_with_its_best_setting(lab):
    class Rising(ToyProbe):
        values = iter((0.1, 0.2, 0.9, 0.3))

        def search(self, train, val, *, metric, seed):
            return [Trial({"share": share, "dim": train.vectors.shape[1]}, next(self.values)) for share in (0.0, 0.5)]

    lab.probe("rising", Rising)
    record = lab.record(probe=("rising",), levels=("clean",))
    assert (str(record.chosen.point), record.chosen.params) == ("late@clean@gap", {"share": 0.0, "dim": 8})
    assert (record.chosen.dim, record.chosen.cost, record.chosen.sigma) == (8, 0.9, 0.0)
    assert [trial.value for trial in record.grid] == [0.1, 0.2, 0.9, 0.3]


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([], "search() returns no trial"),
        ([Trial({}, float("nan"))], "a trial has the value nan, outside 0 to 1"),
        ([Trial({}, 71.5)], "a trial has the value 71.5, outside 0 to 1"),
        ([Trial({"k": [1]}, 0.5)], "a trial has the setting k=[1]"),
        ([Trial({"rate": float("inf")}, 0.5)], "a trial has the setting rate=inf"),
        ([Trial({"k": np.int64(5)}, 0.5)], "a trial has the setting k=np.int64(5)"),
    ],
)
def test_trials_that_no_record_can_hold_fail_that_cell_only(lab, trials, message):
    class Odd(ToyProbe):
        def search(self, train, val, *, metric, seed):
            return trials

    lab.probe("odd", Odd)
    odd, sound = lab.run(probe=("odd", "means")).cells
    assert odd.record.error.type == PluginError.__name__
    assert odd.record.error.message.splitlines()[:2] == [message, "  in: Odd"]
    assert sound.record.status == "success"


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda vectors: torch.zeros(len(vectors), 2), "scores of shape (30, 2), not (30, 3)"),
        (lambda vectors: torch.full((len(vectors), 3), torch.nan), "the scores of image 0 contain NaN"),
        (lambda vectors: torch.full((len(vectors), 3), -torch.inf), "all scores of image 0 are minus infinity"),
        (lambda vectors: None, "probe odd fails: AttributeError"),
    ],
)
def test_scores_that_cannot_be_measured_fail_that_cell_only(lab, scores, message):
    class Odd(ToyProbe):
        def fit(self, train, params, *, seed):
            model = super().fit(train, params, seed=seed)
            if len(train.labels) == 60:
                model.scores = scores
            return model

    lab.probe("odd", Odd)
    odd, sound = lab.run(probe=("odd", "means")).cells
    assert odd.record.error.message.startswith(message)
    assert sound.record.status == "success"


def test_too_few_images_for_a_carved_val_fail_with_a_hint(lab):
    record = lab.record(limit=3)
    assert record.error.type == UsageError.__name__
    assert record.error.message.endswith("try: --limit 200, or remove --limit")
