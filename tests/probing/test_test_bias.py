"""Optimism: the bias of a choice on test is recorded, and influences no choice."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

from probebench.api import ProbebenchWarning, Trial
from probebench.board.collect import load
from probebench.board.pages.csv_json import csv_text
from probebench.board.ranking import boards
from probebench.records import files
from probebench.testing.fakes import ToyDataset, ToyProbe, ToySplit


class Poisoned(ToySplit):
    """The same images with the labels of the next class."""

    def labels(self):
        return (super().labels() + 1) % 3


class PoisonedTest(ToyDataset):
    def split(self, name):
        return Poisoned(name, self.sizes[name]) if name == "test" else super().split(name)


def settings(trials):
    return [(str(trial.point), trial.params) for trial in trials]


def without_optimism(record):
    return files.comparable(record.model_copy(update={"optimism": None}))


def test_every_trial_on_test_equals_a_run_of_that_trial_alone(lab):
    record = lab.record(optimism=True)
    assert settings(record.optimism.trials) == settings(record.grid)
    assert len(record.grid) == 12
    for trial in record.optimism.trials[::5]:

        class Only(ToyProbe):
            shares = (trial.params["share"],)

        lab.probe("only", Only)
        alone = lab.record(
            probe=("only",), taps=(trial.tap,), levels=(trial.level,), results=lab.folder / f"{trial.tap}{trial.level}"
        )
        assert alone.metrics["top1"].value == trial.value


def test_it_is_the_difference_between_the_best_on_test_and_the_result(lab):
    class Fixed(ToyProbe):
        """On val the first setting is the best, on test the second."""

        def search(self, train, val, *, metric, seed):
            self.fit(train, {"share": 0.0}, seed=seed)
            scores = torch.nn.functional.one_hot(torch.arange(len(val.labels)) % 3, 3).float()
            good, bad = metric(scores, val.labels), metric(scores.roll(1, 1), val.labels)
            return [Trial({"share": 0.0}, 0.9 if len(train.labels) == 54 else bad), Trial({"share": 0.5}, good)]

    lab.probe("fixed", Fixed)
    record = lab.record(probe=("fixed",), taps=("late",), levels=("t=100",), optimism=True)
    result = record.metrics["top1"].value
    assert record.chosen.params == {"share": 0.0}
    assert [trial.value for trial in record.optimism.trials] == [0.0, 1.0]
    assert (record.optimism.best, record.optimism.value) == (1.0, 1.0 - result)
    assert 0 < result < 1


def test_a_result_that_no_trial_beats_has_none(lab):
    class Humble(ToyProbe):
        def search(self, train, val, *, metric, seed):
            return [Trial({"share": 0.0}, 0.0)]

    lab.probe("humble", Humble)
    record = lab.record(probe=("humble",), optimism=True)
    assert (record.optimism.best, record.optimism.value) == (record.metrics["top1"].value, 0.0)


def test_poisoned_test_labels_change_no_choice(lab):
    lab.dataset("poisoned", PoisonedTest)
    honest, poisoned = (
        cell for name in ("shades", "poisoned") for cell in lab.run(dataset=(name,), optimism=True).cells
    )
    assert poisoned.record.grid == honest.record.grid
    assert poisoned.record.chosen == honest.record.chosen
    predicted = [files.read_predictions(cell.record, cell.path)[0].tolist() for cell in (honest, poisoned)]
    assert predicted[0] == predicted[1]
    # The labels of test are read for the optimism.
    assert poisoned.record.optimism.best < honest.record.optimism.best


def test_the_probe_never_sees_a_test_label(lab):
    seen = []

    class Watched(ToyProbe):
        def search(self, train, val, *, metric, seed):
            seen.append((len(train.labels), val.labels.clone()))
            return super().search(train, val, metric=metric, seed=seed)

    lab.probe("watched", Watched)
    lab.record(probe=("watched",), optimism=True)
    on_test = [labels for images, labels in seen if images == 60]
    assert len(on_test) == 6
    assert all(not labels.any() for labels in on_test)


def test_nothing_else_in_the_record_changes(lab):
    class Talkative(ToyProbe):
        def search(self, train, val, *, metric, seed):
            warnings.warn(ProbebenchWarning(f"tuned on {len(train.labels)}"), stacklevel=2)
            return super().search(train, val, metric=metric, seed=seed)

    lab.probe("talkative", Talkative)
    plain = lab.record(probe=("talkative",))
    with_optimism = lab.record(probe=("talkative",), optimism=True, results=lab.folder / "again")
    assert without_optimism(with_optimism) == files.comparable(plain)
    assert plain.warnings == ("tuned on 54",)


def test_a_record_without_it_is_made_again_and_one_with_it_is_done(lab):
    (first,) = lab.run().cells
    (again,) = lab.run(optimism=True).cells
    assert again.fresh
    assert again.path == first.path
    assert not lab.run(optimism=True).cells[0].fresh
    assert not lab.run().cells[0].fresh
    assert lab.forwarded() == 90  # once


def test_the_report_shows_it(probebench):
    answer = probebench("--optimism", "--seeds", "0,1", "--no-baselines")
    header = next(line for line in answer.out.splitlines() if line.startswith("backbone"))
    assert header.endswith("best on test  optimism")
    assert (
        "optimism: how much higher the value would be if point and setting were chosen on test; it ranks nothing"
        in answer.out
    )
    found = [files.read_record(path).optimism for path in sorted(Path("results").rglob("*.json"))]
    best, value = (100 * sum(getattr(one, name) for one in found) / 2 for name in ("best", "value"))
    row = next(line for line in answer.out.splitlines() if line.startswith("net "))
    assert row.split()[-2:] == [f"{best:.1f}", f"{value:+.1f}"]
    assert "optimism" not in probebench("--no-baselines", "--results", "others").out


def test_a_config_file_may_request_it(probebench, lab):
    config = lab.folder / "run.toml"
    config.write_text('backbone = "net"\ndataset = "shades"\nprobe = "means"\nbaselines = false\noptimism = true\n')
    document = json.loads(probebench("--config", str(config), "--json", config=True).out)
    assert [bool(cell["record"]["optimism"]) for cell in document["cells"]] == [True]


def test_boards_do_not_read_it(lab):
    lab.run(results=lab.folder / "first")  # stores the features, so that no row has a speed
    tables = []
    for optimism in (False, True):
        folder = lab.folder / f"optimism-{optimism}"
        lab.run(optimism=optimism, results=folder)
        (board,) = boards(load(folder))
        tables.append(csv_text(board, folder).splitlines())
    assert tables[0] == tables[1]
    assert len(tables[0]) == 2
