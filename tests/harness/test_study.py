"""Studies: errors are found before hours of training, and runs share what is equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from probebench.api import Options, PluginError, UsageError
from probebench.cli.settings import from_file, study_of
from probebench.harness import runner
from probebench.harness.study import check, planned, report, run, train
from probebench.planning.jobs import jobs
from probebench.testing.fakes import ToyBackbone


class Recipe(Options):
    lr: float = 0.1


class Series(Options):
    run: str = ""


class Flat(ToyBackbone):
    """A backbone without noise levels."""

    def levels(self):
        return super().levels()[:1]


HEAD = 'backbone = ["learner:run=out"]\ndataset = ["shades"]\nprobe = ["means"]\nresults = "results"\n'
RUN = "[[run]]\n"
TRAIN = '[[train]]\nbackbone = "learner"\ndataset = "shades"\nepochs = 2\nout = "out"\n'


@pytest.fixture
def study(lab, monkeypatch):
    """Reads a study from its text; its trainer notes the jobs."""
    monkeypatch.chdir(lab.folder)
    lab.jobs = []

    def trainer(job):
        lab.jobs.append(job)
        (job.out / "done").touch()
        job.progress(job.epochs - (job.seed == 9), 1, 1, 0.5)
        return job.out / "done"

    lab.module.trainer = trainer
    lab.module.members = lambda options: [{} for path in Path(options.run).iterdir()]
    lab.backbone(
        "learner",
        ToyBackbone,
        trainer="laboratory_parts:trainer",
        recipe=Recipe,
        series="laboratory_parts:members",
        series_options=Series,
    )

    def read(text, **given):
        Path("study.toml").write_text(text)
        return study_of(from_file(Path("study.toml")), given)

    return read


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("trian = 1", "unknown key 'trian'", "study.toml"),
        ("boards = 1", "boards = 1 is not a string", "study.toml"),
        ("train = [1]", "train is not a table", "[[train]] 1 of study.toml"),
        (TRAIN + 'recipes = ""', "unknown key 'recipes'", "[[train]] 1 of study.toml"),
        ("run = 1", "run is not a list of tables", "study.toml"),
        ("train = 1", "train is not a list of tables", "study.toml"),
        (
            RUN + 'results = "elsewhere"',
            "'results' cannot be set inside [[run]], because all runs share it",
            "[[run]] 1 of study.toml",
        ),
        (RUN + 'probes = "knn"', "unknown key 'probes'", "[[run]] 1 of study.toml"),
        (RUN + RUN + "probe = [1]", "probe is not a list of strings", "[[run]] 2 of study.toml"),
        (RUN + "seeds = [0.5]", "seeds is not a list of whole numbers", "[[run]] 1 of study.toml"),
        (TRAIN + "seed = true", "seed = True is not a whole number", "[[train]] 1 of study.toml"),
        (TRAIN + TRAIN.replace("epochs = 2\n", ""), "epochs is missing", "[[train]] 2 of study.toml"),
    ],
)
def test_a_wrong_key_or_value_in_the_file(study, text, message, where):
    with pytest.raises(UsageError) as raised:
        study(text)
    assert (raised.value.what, raised.value.where) == (message, where)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.replace("learner", "lerner") + TRAIN, "no backbone is called 'lerner'"),
        (HEAD.replace("shades", "shadow") + TRAIN, "no dataset is called 'shadow'"),
        (HEAD.replace("means", "mean") + TRAIN, "no probe is called 'mean'"),
        (HEAD + "limit = 0\n" + TRAIN, "--limit 0 leaves no image"),
        (HEAD + TRAIN.replace('"learner"', '"net"'), "net cannot be trained"),
        (HEAD + TRAIN.replace("2", "0"), "--epochs 0 trains nothing"),
        (HEAD + TRAIN + 'recipe = "rate=1"', "no option 'rate'"),
        (HEAD + TRAIN + RUN + RUN + 'probe = ["mean"]', "no probe is called 'mean'"),
        (HEAD + TRAIN + TRAIN, "two trainings have the same folder"),
    ],
)
def test_a_wrong_name_before_any_training(study, lab, text, message):
    with pytest.raises(UsageError, match=message):
        check(study(text))


def test_a_missing_plotting_library_is_reported_before_any_training(study, lab, monkeypatch):
    monkeypatch.setattr("probebench.board.figures.files.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="matplotlib"):
        check(study('plots = "plots"\n' + HEAD + TRAIN))


def test_a_series_may_be_missing_before_its_training(study, lab):
    one = study(HEAD + TRAIN + 'seed = 3\nrecipe = "lr=0.5"\nprecision = "fp32"\ndevice = "cpu"')
    check(one)
    with pytest.raises(PluginError, match="cannot be listed"):
        lab.plan(backbone=one.requests[0].backbone)
    [(training, ended)] = train(one, lambda _: None)
    assert (training.out, ended.checkpoint, ended.stopped_at) == (Path("out"), Path("out/done"), None)
    [job] = lab.jobs
    assert (job.epochs, job.seed, job.recipe.lr, job.device) == (2, 3, 0.5, "cpu")
    assert lab.plan(backbone=one.requests[0].backbone)


def test_a_dry_run_before_a_training_may_name_the_checkpoint_that_it_makes(study, lab, probebench):
    def load(options):
        raise UsageError("there is no checkpoint 'out/done'", where="option checkpoint")

    lab.backbone("learner", load, trainer="laboratory_parts:trainer")
    study(HEAD.replace("learner:run=out", "learner") + "baselines = false\n" + TRAIN)
    answer = probebench("--config", "study.toml", "--dry-run", config=True)
    assert (answer.code, answer.out) == (0, "train learner to epoch 2 in out\n")
    assert answer.err == "the cells can be listed after the trainings: there is no checkpoint 'out/done'\n"


def test_after_a_stopped_training_no_other_starts(study, lab):
    one = study(HEAD + TRAIN + "seed = 9\n" + TRAIN.replace('"out"', '"other"'))
    [(_, ended)] = train(one, lambda _: None)
    assert ended.stopped_at == "epoch 1 of 2, step 1 of 1"
    assert len(lab.jobs) == 1


def test_a_study_without_boards_and_plots_writes_none(study, lab):
    assert report(study(HEAD)) == []


def test_each_run_overrides_the_shared_options(study):
    one = study(HEAD + "seeds = [0, 1]\n" + RUN + 'dataset = "tones"\nlevels = [10]\n' + RUN + "baselines = false")
    assert [request.dataset for request in one.requests] == [("tones",), ("shades",)]
    assert [request.levels for request in one.requests] == [("10",), ()]
    assert [request.baselines for request in one.requests] == [True, False]
    assert {(request.seeds, request.results) for request in one.requests} == {((0, 1), Path("results"))}


def test_the_command_line_overrides_every_run(study):
    one = study(HEAD + RUN + 'probe = ["nearest"]\n' + RUN + "seeds = [5]", probe=["other"], results="elsewhere")
    assert [request.probe for request in one.requests] == [("other",), ("other",)]
    assert [request.seeds for request in one.requests] == [(0,), (5,)]
    assert one.results == Path("elsewhere")


def test_levels_of_a_file_do_not_bind_a_backbone_of_the_command_line(study, lab):
    """Levels in a file were written for its backbones; levels on the command line for those that are named there."""
    lab.backbone("flat", Flat)
    text = HEAD + 'levels = ["t=10"]\n'
    [request] = study(text, backbone=["flat"]).requests
    assert not request.only_contender
    assert not any(cell.error for cell in planned(study(text, backbone=["flat"])))
    for other in (study(text), study(text, backbone=["flat"], levels=["t=10"])):
        assert other.requests[0].only_contender
    with pytest.raises(UsageError, match="no level 't=10'"):
        planned(study(text, backbone=["flat"], levels=["t=10"]))


def test_a_cell_that_two_runs_share_is_run_and_reported_once(study, lab):
    text = 'backbone = ["net"]\ndataset = ["shades"]\nprobe = ["means"]\nresults = "results"\nstore = "store"\n'
    one = study(text + RUN + RUN + "seeds = [0, 1]")
    to_do = planned(one)
    outcome = run(one, ("run",))
    seeds = [(cell.record.cell.backbone.title, cell.record.cell.seed, cell.fresh) for cell in outcome.cells]
    assert len(seeds) == len(set(seeds)) == len(to_do)
    assert all(fresh for _, _, fresh in seeds)
    assert {seed for name, seed, _ in seeds if name == "net"} == {0, 1}
    again = runner.run(jobs(one.requests[1]), results=one.results, store=one.requests[1].store)
    assert (len(again.cells), again.forwarded) == (len(to_do), {})
    assert not any(cell.fresh for cell in again.cells)


def test_an_error_in_the_second_run_is_found_before_the_first(study, lab):
    one = study(
        'backbone = ["net"]\ndataset = ["shades"]\nresults = "results"\n'
        + RUN
        + 'probe = ["means"]\n'
        + RUN
        + 'probe = ["mean"]'
    )
    with pytest.raises(UsageError, match="no probe is called 'mean'"):
        run(one, ())
    assert not Path("results").exists()
