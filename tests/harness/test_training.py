"""`probebench.harness.training`: the trainer gets the whole job, its errors name it, and signals stop it."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
from pydantic import Field

from probebench.api import Options, PluginError, TrainingError, UsageError
from probebench.cli.commands.train import _report
from probebench.harness.training import TrainingResult, train
from probebench.plugins.registry import resolve
from probebench.testing.fakes import ToyBackbone, ToyDataset


class Recipe(Options):
    lr: float = Field(0.1, gt=0, description="learning rate")


@pytest.fixture
def start(lab, monkeypatch):
    """Trains `learner` with the trainer of a test."""

    def run(trainer=lambda job: job.out, backbone="learner", dataset="shades", **changes):
        lab.module.trainer = trainer
        lab.backbone("learner", ToyBackbone, trainer="laboratory_parts:trainer", recipe=Recipe)
        settings = {"recipe": {}, "epochs": 2, "out": lab.folder / "out", "device": "cpu", "precision": "fp32"}
        components = resolve("backbone", backbone), resolve("dataset", dataset)
        return train(*components, **settings | changes)

    return run


def test_the_trainer_gets_the_whole_job(start, lab):
    jobs = []

    def trainer(job):
        jobs.append(job)
        job.progress(1, 1, 2, 0.5)
        return job.out / "epoch-2"

    ended = start(trainer, recipe={"lr": "0.5"}, seed=3)
    assert ended.checkpoint == lab.folder / "out" / "epoch-2"
    (job,) = jobs
    assert (job.recipe.lr, job.epochs, job.seed, job.device, job.precision) == (0.5, 2, 3, "cpu", "fp32")
    assert (job.dataset, job.flips, len(job.images)) == ("shades", True, 60)
    assert job.out.is_dir()
    assert list(job.out.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"backbone": "net"}, ["net cannot be trained", "  in: SPEC", "  try: one of learner"]),
        ({"epochs": 0}, ["--epochs 0 trains nothing", "  try: --epochs 1 or more"]),
        ({"recipe": {"lr": "0"}}, ["option lr=0 should be greater than 0", "  in: the recipe of learner"]),
        ({"device": "tpu"}, ["there is no device 'tpu'", "  in: --device"]),
        ({"precision": "fp7"}, ["'fp7' is not a precision", "  in: --precision"]),
    ],
)
def test_bad_usage_is_reported_before_training(start, changes, lines):
    def never(job):
        raise AssertionError

    with pytest.raises(UsageError) as caught:
        start(never, **changes)
    assert str(caught.value).splitlines()[: len(lines)] == lines


class Unlabeled(ToyDataset):
    """Has a split without labels."""

    unlabeled = ("rest",)

    def split(self, name):
        return ToyDataset().split("test") if name == "rest" else super().split(name)


def test_a_generator_is_trained_on_images_without_labels(start, lab):
    lab.dataset("more", Unlabeled)
    jobs = []
    start(lambda job: (jobs.append(job), job.out)[1], dataset="more", split="rest")
    (job,) = jobs
    assert (job.dataset, len(job.images)) == ("more/rest", 30), "its manifest names the images"


@pytest.mark.parametrize(("split", "dataset", "hint"), [("rest", "shades", "train"), ("test", "more", "train or rest")])
def test_nothing_is_trained_on_images_that_probes_are_measured_on(start, lab, split, dataset, hint):
    lab.dataset("more", Unlabeled)
    with pytest.raises(UsageError) as caught:
        start(dataset=dataset, split=split)
    assert str(caught.value).splitlines() == [
        f"{dataset} has no split {split!r} to train on",
        "  in: --split",
        f"  try: {hint}",
    ]
    assert not (lab.folder / "out").exists()


def test_an_output_folder_that_cannot_be_written(start, lab):
    (lab.folder / "file").write_text("")
    with pytest.raises(UsageError, match="the folder cannot be written to: Not a directory") as caught:
        start(out=lab.folder / "file" / "out")
    assert caught.value.where == f"--out {lab.folder / 'file' / 'out'}"


def steps(job, done=lambda epoch, step: None):
    """Trains with three steps an epoch; the name of the checkpoint is the number of steps that were made."""
    count = 0
    for epoch in range(1, job.epochs + 1):
        for step in range(1, 4):
            count += 1
            job.progress(epoch, step, 3, 0.5)
            done(epoch, step)
            if job.should_stop():
                return job.out / f"after-{count}"
    return job.out / "end"


def test_a_finished_training_was_not_stopped(start, lab):
    assert start(steps) == TrainingResult(lab.folder / "out" / "end")
    assert start(steps, max_seconds=1000.0) == TrainingResult(lab.folder / "out" / "end")


def test_the_time_limit_counts_from_the_call_and_at_least_one_step_is_made(start, lab):
    assert start(steps, max_seconds=1e-9) == TrainingResult(lab.folder / "out" / "after-1", "epoch 1 of 2, step 1 of 3")


def test_a_time_limit_in_the_last_step_stops_nothing(start, lab):
    def trainer(job):
        return steps(job, lambda epoch, step: time.sleep(0.5) if (epoch, step) == (2, 3) else None)

    assert start(trainer, max_seconds=0.4) == TrainingResult(lab.folder / "out" / "after-6")


@pytest.fixture
def usual_signals():
    """The signal handlers of a terminal: a test run in the background of a shell ignores Ctrl-C."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_that_is_ignored_stays_ignored(start, lab, usual_signals):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def trainer(job):
        return steps(job, lambda *_: signal.raise_signal(signal.SIGINT))

    assert start(trainer) == TrainingResult(lab.folder / "out" / "end")
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step(start, lab, number, usual_signals):
    usual, received = signal.getsignal(number), []
    once = iter([number])

    def trainer(job):
        return steps(job, lambda *_: [signal.raise_signal(this) for this in once])

    assert start(trainer, on_signal=received.append) == TrainingResult(
        lab.folder / "out" / "after-1", "epoch 1 of 2, step 1 of 3", number
    )
    assert received == [number]
    assert signal.getsignal(number) is usual


def test_a_second_signal_ends_it_at_once(start, usual_signals):
    """A trainer that ignores `should_stop`, or takes long for a step, must not keep the process alive."""

    def trainer(job):
        signal.raise_signal(signal.SIGINT)
        assert job.should_stop()
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("unreachable")

    with pytest.raises(KeyboardInterrupt):
        start(trainer)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_a_thread_signal_handlers_are_not_changed(start, lab):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(start(steps)))
    thread.start()
    thread.join()
    assert ended == [TrainingResult(lab.folder / "out" / "end")]


def test_a_trainer_that_fails_is_named(start):
    def diverges(job):
        raise RuntimeError("loss is NaN")

    with pytest.raises(PluginError, match="training of learner fails: RuntimeError: loss is NaN"):
        start(diverges)


def test_the_message_of_a_trainer_is_kept(start):
    def refuses(job):
        raise TrainingError("the folder holds another run", where=str(job.out))

    with pytest.raises(TrainingError, match="the folder holds another run"):
        start(refuses)


def test_a_dataset_that_cannot_be_read_is_named(start, lab):
    class Gone(ToyDataset):
        def split(self, name):
            raise FileNotFoundError(2, "No such file or directory", "train.bin")

    lab.dataset("gone", Gone)
    with pytest.raises(PluginError, match="dataset gone cannot be read: FileNotFoundError"):
        start(dataset="gone")
    assert not Path(lab.folder / "out").exists()


def test_the_next_command_names_one_checkpoint(capsys):
    _report(TrainingResult(Path("runs/a/epoch-0001")), "ddpm:checkpoint=none,widths=8+8+8+8", "digits", [])
    assert capsys.readouterr().out.splitlines()[1] == (
        "next:       probebench run --backbone ddpm:checkpoint=runs/a/epoch-0001,widths=8+8+8+8 --dataset digits"
    )
