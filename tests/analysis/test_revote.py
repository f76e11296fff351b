"""Neighbours are stored, and every vote of them equals that of a run with the same options."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from probebench.analysis import revote
from probebench.api import FittedNeighbours, Neighbours, ProbebenchWarning
from probebench.board.collect import LoadedRecord
from probebench.records import files
from probebench.stats import metrics
from probebench.store.neighbours import MAX_NEIGHBOURS, file_path, load_neighbours
from probebench.testing.fakes import ToyDataset, ToyProbe
from probebench.util.errors import PluginError, StoreError, UsageError
from probebench_probes.fewshot import Fewshot
from probebench_probes.neighbours.knn import Knn
from probebench_probes.options import FewshotOptions, KnnOptions

NOISY = {"taps": ("late",), "levels": ("t=100",)}
"""A point where toy features are not perfect."""


@pytest.fixture
def lab(lab):
    lab.probe("knn", Knn, options=KnnOptions)
    lab.probe("fewshot", Fewshot, options=FewshotOptions, wraps="probe")
    lab.dataset("many", lambda options: ToyDataset(train=240, test=90))
    return lab


def run(lab, probe="knn", **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbebenchWarning)  # k = 200 is more than the number of toy images
        (cell,) = lab.run(dataset=("many",), probe=(probe,), **changes).cells
    assert cell.record.status == "success", cell.record.error
    return cell


def scored(lab, cell, **options):
    return revote.score(LoadedRecord(cell.record, cell.path), lab.folder / "store", **options)


def test_any_vote_is_what_a_fresh_run_gives(lab):
    cell = run(lab, "knn:ks=20", **NOISY)
    found = scored(lab, cell, ks=(200, 7), temperatures=(0.5, 0.01), votes=("temperature", "uniform"))
    assert [(one.setting.vote, one.setting.temperature, one.setting.k) for one in found] == [
        *(("temperature", temperature, k) for temperature in (0.01, 0.5) for k in (7, 200)),
        *(("uniform", None, k) for k in (7, 200)),
    ]
    for one in found:
        vote = f"vote={one.setting.vote},temperature={one.setting.temperature or 0.07}"
        fresh = run(lab, f"knn:ks={one.setting.k},{vote}", results=lab.folder / "fresh", **NOISY).record
        assert one.val == fresh.chosen.value
        assert one.test == fresh.metrics
    assert len({one.test["top1"].value for one in found}) > 1


def test_by_another_distance_neighbours_are_others(lab):
    cosine, euclidean = (run(lab, f"knn:distance={distance},ks=7", **NOISY) for distance in ("cosine", "euclidean"))
    assert cosine.record.neighbours != euclidean.record.neighbours
    (one,) = scored(lab, euclidean, ks=(7,))
    assert (one.val, one.test) == (euclidean.record.chosen.value, euclidean.record.metrics)


def test_the_same_holds_with_an_official_val_and_few_images(lab):
    class Official(ToyDataset):
        splits = ("train", "val", "test")

        def __init__(self, options=None):
            self.sizes = {"train": 60, "val": 21, "test": 30}

    lab.dataset("many", Official)
    cell = run(lab, "knn:ks=3", **NOISY)
    found = scored(lab, cell)
    assert [one.setting.k for one in found] == [1, 5, 10, 20, 50]  # of 60 train images
    for one in found:
        fresh = run(lab, f"knn:ks={one.setting.k}", results=lab.folder / "fresh", **NOISY).record
        assert (one.val, one.test) == (fresh.chosen.value, fresh.metrics)


def test_neighbours_are_kept_for_the_chosen_point_alone(lab):
    cell = run(lab)
    assert len(cell.record.grid_points()) == 6
    folder = lab.folder / "store" / "neighbours"
    assert {path.stem for path in folder.iterdir()} == set(cell.record.neighbours.values())
    kept = load_neighbours(lab.folder / "store", cell.record.neighbours["test"])
    assert tuple(kept.neighbours.index.shape) == tuple(kept.neighbours.similarity.shape) == (90, MAX_NEIGHBOURS)
    assert kept.neighbours.similarity.dtype == torch.float64


def test_cells_with_equal_neighbours_share_the_files(lab):
    first, second = run(lab, "knn:ks=5", **NOISY), run(lab, "knn:vote=uniform", **NOISY)
    assert first.record.id != second.record.id
    assert first.record.neighbours == second.record.neighbours


def test_a_k_above_what_is_kept_can_still_be_measured(lab):
    cell = run(lab, "knn:ks=210", **NOISY)
    kept = load_neighbours(lab.folder / "store", cell.record.neighbours["test"])
    assert kept.neighbours.index.shape[1] == MAX_NEIGHBOURS
    with pytest.raises(UsageError) as caught:
        scored(lab, cell, ks=(210,))
    assert str(caught.value).splitlines() == [
        "k = 210 is larger than 200, the number of stored neighbours",
        "  in: --ks",
        "  try: probebench run --probe knn:ks=210",
    ]


def test_a_wrapped_probe_hands_over_the_neighbours_it_searched_among(lab):
    cell = run(lab, "fewshot:probe=knn,shots=20", **NOISY)
    kept = load_neighbours(lab.folder / "store", cell.record.neighbours["test"])
    assert len(kept.labels) == 60
    (one,) = scored(lab, cell, ks=(cell.record.chosen.params["k"],))
    assert (one.val, one.test) == (cell.record.chosen.value, cell.record.metrics)


class OwnNeighbours(FittedNeighbours):
    """A third-party probe: two neighbours by the first feature, with its own vote."""

    k = 2

    def __init__(self, train, columns=None):
        self.labels, self.train, self.columns = train.labels, train, columns

    def neighbours(self, vectors, count):
        distance = (vectors[:, None, 0] - self.train.vectors[None, :, 0]).abs().double()
        nearest = distance.sort(dim=1, stable=True)
        count = self.columns or count
        return Neighbours(nearest.indices[:, :count], -nearest.values[:, :count])

    def vote(self, neighbours):
        member = torch.nn.functional.one_hot(self.labels[neighbours.index[:, : self.k]], self.train.classes)
        return (member.sum(1) + 1.0).log()


class Own(ToyProbe):
    columns = None

    def fit(self, train, params, *, seed):
        return OwnNeighbours(train, self.columns)


def test_a_third_partys_neighbours_are_kept_and_its_own_vote_is_measured(lab):
    lab.probe("own", Own)
    cell = run(lab, "own", **NOISY)
    kept = load_neighbours(lab.folder / "store", cell.record.neighbours["test"])
    member = torch.nn.functional.one_hot(kept.labels[kept.neighbours.index[:, :2]], 3).sum(1)
    assert cell.record.metrics["top1"].value == metrics.top1((member + 1.0).log(), kept.truth)
    assert [one.setting.k for one in scored(lab, cell)] == [1, 5, 10, 20, 50, 100, 200]


def test_neighbours_of_another_shape_fail_the_cell(lab):
    class Short(Own):
        columns = 3

    lab.probe("short", Short)
    (cell,) = lab.run(probe=("short",)).cells
    assert cell.record.error.type == PluginError.__name__
    assert "neighbours of shapes (30, 3) and (30, 3), not (30, 60)" in cell.record.error.message


def test_a_probe_that_finds_neighbours_now_and_then_fails_the_cell(lab):
    class Moody(Own):
        def fit(self, train, params, *, seed):
            return (
                super().fit(train, params, seed=seed)
                if len(train.labels) == 60
                else ToyProbe().fit(train, {"share": 0.0}, seed=seed)
            )

    lab.probe("moody", Moody)
    (cell,) = lab.run(probe=("moody",)).cells
    assert "fit() finds neighbours in some calls, not in all" in cell.record.error.message


def test_a_record_ranked_by_what_no_vote_gives_is_refused(lab):
    cell = run(lab, **NOISY)
    renamed = cell.record.model_copy(update={"primary": "topp1"})
    with pytest.raises(UsageError, match="the record is ranked by 'topp1', which votes do not give"):
        revote.score(LoadedRecord(renamed, cell.path), lab.folder / "store")


def test_records_without_neighbours_are_refused(lab):
    (cell,) = lab.run().cells
    assert cell.record.neighbours == {}
    with pytest.raises(UsageError, match="the record has no stored neighbours") as caught:
        scored(lab, cell)
    assert "it is from an older version: remove it and run its command again" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ks": (5, 0)}, "k = 0 is below 1"),
        ({"temperatures": (0.07, 0.0)}, "temperature 0.0 is not above 0"),
    ],
)
def test_values_out_of_range_are_refused(lab, options, message):
    with pytest.raises(UsageError, match=message):
        scored(lab, run(lab, **NOISY), **options)


def test_missing_and_altered_neighbours_are_named(lab):
    cell = run(lab, **NOISY)
    path = file_path(lab.folder / "store", cell.record.neighbours["val"])
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StoreError, match="truncated or altered"):
        scored(lab, cell)
    path.unlink()
    with pytest.raises(StoreError, match="not in the feature store") as caught:
        scored(lab, cell)
    assert "delete the record and run its command again" in str(caught.value)
    cell.path.unlink()
    again = run(lab, **NOISY)
    assert files.comparable(again.record) == files.comparable(cell.record)
    assert path.read_bytes() == data


def test_altered_neighbours_are_written_again(lab):
    cell = run(lab, **NOISY)
    path = file_path(lab.folder / "store", cell.record.neighbours["val"])
    data = path.read_bytes()
    path.write_bytes(data[:-8])
    run(lab, **NOISY, results=lab.folder / "again")
    assert path.read_bytes() == data


class TestCommand:
    def test_prints_a_table_and_marks_the_selection(self, lab, cli):
        cell = run(lab, **NOISY)
        answer = cli(
            "score", str(cell.path), "--ks", "1,20", "--votes", "uniform", "--store", str(lab.folder / "store")
        )
        head, columns, *rows, last = answer.out.splitlines()
        assert answer.code == 0
        assert head == "many, knn, net, seed 0: top-1 in %, by vote of the neighbours stored for late@t=100@gap"
        assert columns.split() == ["vote", "temperature", "k", "val", "(24)", "test", "(90)", "interval", "top-5"]
        found = scored(lab, cell, ks=(1, 20), votes=("uniform",))
        assert [row.split()[:2] for row in rows] == [["uniform", "1"], ["uniform", "20"]]
        assert [row.split()[2].endswith("*") for row in rows] == [one is revote.best_on_val(found) for one in found]
        assert last.endswith("Choosing another row by its test value is selection on test.")

    def test_json_has_every_metric(self, lab, cli):
        cell = run(lab, **NOISY)
        arguments = ("--temperatures", "0.07,0.1", "--store", str(lab.folder / "store"), "--json")
        document = json.loads(cli("score", str(cell.path.parent), *arguments).out)
        assert document["point"] == "late@t=100@gap"
        assert [(row["temperature"], row["k"]) for row in document["rows"]] == [
            (temperature, k) for temperature in (0.07, 0.1) for k in revote.KS
        ]
        assert sum(row["best_on_val"] for row in document["rows"]) == 1
        own = next(row for row in document["rows"] if row["k"] == cell.record.chosen.params["k"])
        assert own["test"] == cell.record.model_dump(mode="json")["metrics"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--votes", "tempreature"), "no kind of votes is called 'tempreature'"),
            (("--temperatures", "warm"), "'warm' is not a list of numbers"),
            (("--ks", "few"), "'few' is not a list of whole numbers"),
        ],
    )
    def test_wrong_words_are_refused(self, lab, cli, arguments, message):
        answer = cli("score", "nowhere.json", *arguments)
        assert answer.code == 2
        assert message in answer.err
