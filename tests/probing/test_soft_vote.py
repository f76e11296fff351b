"""Soft votes: the mean of the probabilities of all levels at the chosen tap."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from probebench.api import Batch, Fitted, Options, Point, Trial
from probebench.board.collect import load
from probebench.board.figures.data import figure_data
from probebench.board.files import outputs
from probebench.board.pages.csv_json import csv_text
from probebench.board.ranking import boards
from probebench.records import files
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe
from probebench.util.errors import UsageError

LEVELS = ("clean", "t=10", "t=100")


class StatedProbabilities(Fitted):
    logits = True

    def __init__(self, inner, dim):
        self.inner, self.dim = inner, dim

    def scores(self, vectors):
        return self.inner.scores(vectors) / self.dim


class Stating(ToyProbe):
    """Nearest means whose scores are logits."""

    def fit(self, train, params, *, seed):
        return StatedProbabilities(super().fit(train, params, seed=seed), train.vectors.shape[1])


@pytest.fixture
def lab(lab):
    lab.probe("stating", Stating)
    return lab


def vote(lab, **changes):
    (cell,) = lab.run(**{"probe": ("stating",), "soft_vote": True} | changes).cells
    assert cell.record.status == "success", cell.record.error
    return cell


def test_the_metrics_are_those_of_the_mean_probabilities_of_the_levels(lab):
    cell = vote(lab, taps=("late",))
    backbone = ToyBackbone()
    backbone.move_to("cpu", "fp32")
    points = [Point("late", level, "gap") for level in LEVELS]

    def features(name):
        split = ToyDataset().split(name)
        batch = Batch(
            torch.stack([split.image(i) for i in range(len(split))]), torch.arange(len(split)), f"lab/shades/{name}"
        )
        return backbone.extract(batch, points, seed=0), split.labels()

    (train, labels), (test, truth) = features("train"), features("test")
    assert [(trial.tap, trial.level) for trial in cell.record.soft_vote] == [("late", level) for level in LEVELS]
    mean = np.zeros((30, 3))
    for point, trial in zip(points, cell.record.soft_vote, strict=True):
        vectors = train[point].double().numpy()
        means = np.stack([vectors[labels == label].mean(0) for label in range(3)])
        means += trial.params["share"] * (vectors.mean(0) - means)
        logits = -np.linalg.norm(test[point].double().numpy()[:, None] - means, axis=2) / vectors.shape[1]
        mean += np.exp(logits) / np.exp(logits).sum(1, keepdims=True) / 3
    predicted, correct = files.read_predictions(cell.record, cell.path)
    assert predicted.tolist() == mean.argmax(1).tolist()
    assert correct.tolist() == (mean.argmax(1) == truth.numpy()).tolist()
    confidence, right = mean.max(1), mean.argmax(1) == truth.numpy()
    bins = np.ceil(confidence * 15).astype(int)
    ece = sum(abs((right[bins == one] - confidence[bins == one]).sum()) for one in range(16)) / 30
    assert cell.record.metrics["ece15"].value == pytest.approx(ece, abs=1e-5)


def test_each_level_votes_with_its_best_setting_at_the_tap_of_the_best_point(lab):
    values = {("early", "t=10"): (0.2, 0.8), ("late", "clean"): (0.9, 0.1), ("late", "t=100"): (0.3, 0.5)}
    fits = []

    class Scripted(Stating):
        def search_many(self, points, *, metric, seed):
            order = [(tap, level) for tap in ("early", "late") for level in LEVELS]
            reached = [values.get(place, (0.4, 0.4)) for place in order]
            return [[Trial({"share": 0.0}, first), Trial({"share": 0.5}, second)] for first, second in reached]

        def fit(self, train, params, *, seed):
            fits.append((train.vectors.shape[1], len(train.labels), params["share"]))
            return super().fit(train, params, seed=seed)

    lab.probe("scripted", Scripted)
    record = vote(lab, probe=("scripted",)).record
    assert str(record.chosen.point) == "late@clean@gap"
    assert [(trial.level, trial.params["share"], trial.value) for trial in record.soft_vote] == [
        ("clean", 0.0, 0.9),
        ("t=10", 0.0, 0.4),  # of equal ones the first
        ("t=100", 0.5, 0.5),
    ]
    assert fits == [(8, 60, 0.0), (8, 60, 0.0), (8, 60, 0.5)]


def test_a_class_without_a_vote_is_no_candidate_and_a_small_probability_is_one(lab):
    class Extreme(StatedProbabilities):
        def scores(self, vectors):
            return torch.tensor([[0.0, -2000.0, -torch.inf]]).repeat(len(vectors), 1)

    class Sure(Stating):
        def fit(self, train, params, *, seed):
            return Extreme(None, 1)

    lab.probe("sure", Sure)
    metrics = vote(lab, probe=("sure",)).record.metrics
    assert metrics["top1"].value == pytest.approx(1 / 3)
    assert metrics["top3"].value == pytest.approx(2 / 3)


def test_a_probe_without_probabilities_fails_with_a_hint(lab):
    (cell,) = lab.run(soft_vote=True).cells
    assert str(cell.error).splitlines() == [
        "ToyFitted gives no probabilities that could be averaged",
        "  in: --soft-vote",
        "  try: leave out --soft-vote, or use a probe whose records have the metric ece15",
    ]


@pytest.mark.parametrize("spec", ["margins", "around:probe=margins"])
def test_a_probe_that_is_declared_without_probabilities_is_refused_before_any_work(lab, spec):
    class AroundOptions(Options):
        probe: str = "stating"

    lab.probe("margins", ToyProbe, logits=False)
    lab.probe("around", lambda options, inner: inner, wraps="probe", options=AroundOptions)
    for start in (lab.run, lab.plan):
        with pytest.raises(UsageError) as caught:
            start(probe=("stating", spec), soft_vote=True)
        assert str(caught.value).splitlines() == [
            f"{spec} gives no probabilities that could be averaged",
            "  in: --soft-vote",
            f"  try: run {spec} in a separate command, without --soft-vote",
        ]
    assert lab.forwarded() == 0
    assert lab.record(probe=(spec,), levels=("t=10",)).status == "success"


def test_one_level_is_the_same_cell_with_and_without(lab):
    (plain,) = lab.run(probe=("stating",), levels=("t=10",)).cells
    again = vote(lab, levels=("t=10",))
    assert not again.fresh
    assert again.record.soft_vote == ()
    assert again.path == plain.path


def test_optimism_of_a_soft_vote_is_refused(lab):
    with pytest.raises(UsageError) as caught:
        lab.run(soft_vote=True, optimism=True)
    assert str(caught.value).splitlines() == [
        "--optimism cannot be combined with --soft-vote, because a soft vote selects no single noise level",
        "  try: leave out --optimism or --soft-vote",
    ]


class TestBoard:
    @pytest.fixture
    def cells(self, lab):
        return [lab.run(probe=("stating",)).cells[0], vote(lab)]

    def test_it_shows_both_rows_and_marks_the_vote(self, lab, cells):
        plain, voted = cells
        assert plain.path != voted.path
        pages = outputs(lab.folder / "results", lab.folder / "boards")
        (page,) = (text for path, text in pages.items() if path.match("shades/*.md"))
        rows = [line for line in page.splitlines() if line.startswith("|") and "`net`" in line]
        (marked,) = [row for row in rows if "`net` (soft vote of 3 levels)" in row]
        assert "`early@clean+t=10+t=100@gap`" in marked
        assert "120 %" in marked  # three passes of 40 %
        assert len(rows) == 2
        assert "**Soft vote.**" in page
        assert page.count("### `net`") == 1

    def test_tables_name_the_levels(self, lab, cells):
        (board,) = boards(load(lab.folder / "results"))
        table = csv_text(board, lab.folder).splitlines()
        column = table[0].split(",").index("soft_vote")
        assert sorted(row.split(",")[column] for row in table[1:]) == ["", "clean+t=10+t=100"]

    def test_figures_show_single_points_only(self, lab, cells):
        (data,) = figure_data(load(lab.folder / "results"))
        assert [[row.lowest_seed.path for row in final.rows] for final in data.backbones] == [[cells[0].path]]

    def test_compare_shows_it_and_score_refuses_it(self, lab, cells, cli):
        plain, voted = cells
        answer = cli("compare", str(plain.path), str(voted.path))
        assert answer.code == 0
        assert "net (soft vote of 3 levels)" in answer.out
        assert cli("score", str(voted.path)).code == 2


def test_the_command_marks_the_row(probebench, lab):
    answer = probebench("--probe", "stating", "--soft-vote", "--no-baselines", "--json")
    (cell,) = json.loads(answer.out)["cells"]
    assert [trial["level"] for trial in cell["record"]["soft_vote"]] == list(LEVELS)
    printed = probebench("--probe", "stating", "--soft-vote", "--no-baselines").out
    assert "net (soft vote of 3 levels)" in printed
    assert f"@{'+'.join(LEVELS)}@" in printed, "not the point that was chosen, but all that vote"
