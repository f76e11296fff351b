"""The checkpoints of a training run, as a series of backbones that know where in their training they are."""

from __future__ import annotations

import json
import shutil

import pytest

from probebench.api import UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.loading.series import members
from probebench_ddpm.options import DDPMOptions, DDPMRecipe, DDPMSeries
from probebench_ddpm.training.trainer import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory, job_in):
    """Four epochs with attention and seed 0, two without, and two with another seed."""
    folder = tmp_path_factory.mktemp("runs")
    train(job_in(folder / "on", epochs=4))
    train(job_in(folder / "off", epochs=2, options={"attention": False}))
    train(job_in(folder / "on-1", epochs=2, seed=1))
    return folder


def epochs(options):
    return [int(member["checkpoint"][-4:]) for member in members(options)]


def test_all_epochs_in_order(runs):
    run = str(runs / "on")
    assert members(DDPMSeries(run=run)) == [{"checkpoint": f"{run}/epoch-000{epoch}"} for epoch in (1, 2, 3, 4)]
    assert epochs(DDPMSeries(run=run, epochs="all")) == [1, 2, 3, 4]
    assert epochs(DDPMSeries(run=run, epochs="4+2")) == [2, 4]


def test_epochs_are_ordered_by_number_and_parts_of_one_left_out(runs, tmp_path):
    shutil.copytree(runs / "off", tmp_path / "run")
    for name in ("epoch-10000", "epoch-9999", "epoch-0002-step-7", ".epoch-0003.tmp"):
        (tmp_path / "run" / name).mkdir()
    found = [member["checkpoint"].rpartition("/")[2] for member in members(DDPMSeries(run=str(tmp_path / "run")))]
    assert found == ["epoch-0001", "epoch-0002", "epoch-9999", "epoch-10000"]


def test_a_network_without_attention_is_called_so(runs):
    for member in members(DDPMSeries(run=str(runs / "off"))):
        assert member["attention"] == "false"
        DDPM(DDPMOptions.model_validate(member))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "nowhere"}, "there is no training run"),
        ({"run": "{runs}/on", "epochs": "1+7"}, "no checkpoint of epoch 7"),
        ({"run": "{runs}/empty"}, "no checkpoint of a whole epoch"),
        ({"run": "{runs}/torn"}, "run.json cannot be read"),
    ],
)
def test_what_is_not_there_is_said(runs, options, message):
    (runs / "empty").mkdir(exist_ok=True)
    shutil.copy(runs / "on" / "run.json", runs / "empty")
    (runs / "torn").mkdir(exist_ok=True)
    (runs / "torn" / "run.json").write_text("{")
    options["run"] = options["run"].format(runs=runs)
    with pytest.raises(UsageError, match=message):
        members(DDPMSeries(**options))


def test_epochs_without_a_run_mean_nothing():
    with pytest.raises(ValueError, match="run=FOLDER,epochs="):
        DDPMSeries(epochs="1")


def test_a_checkpoint_knows_where_in_its_training_it_is(runs):
    def place(name, **options):
        return DDPM(DDPMOptions(checkpoint=str(runs / name), **options)).trained

    first, last = place("on/epoch-0001"), place("on/epoch-0004")
    assert (first.epoch, first.images, first.seed) == (1, 24, 0)  # three steps of eight images
    assert (last.epoch, last.images) == (4, 96)
    assert first.recipe == last.recipe == place("on/epoch-0001", weights="raw").recipe
    assert place("on/epoch-0001", weights="random") is None

    other = place("on-1/epoch-0001")
    assert (other.seed, other.recipe) == (1, first.recipe), "the seed is the run's, not the recipe's"
    assert place("off/epoch-0001", attention=False).recipe != first.recipe


def test_networks_from_elsewhere_do_not(saved, unet):
    folder = saved(unet())
    assert DDPM(DDPMOptions(checkpoint=str(folder))).trained is None
    (folder / "manifest.json").write_text(json.dumps({"backbone": "other"}))
    assert DDPM(DDPMOptions(checkpoint=str(folder))).trained is None
    assert DDPM(DDPMOptions(checkpoint="none")).trained is None
    assert DDPM(DDPMOptions()).trained.epoch == 40, "the bundled ones do"


@pytest.mark.parametrize(
    ("every", "early", "saved"),
    [(10, False, [10, 20]), (10, True, [1, 2, 4, 8, 10, 20]), (5, True, [1, 2, 4, 5, 10, 15, 20]), (1, True, None)],
)
def test_checkpoints_early_in_a_training(every, early, saved):
    recipe = DDPMRecipe(save_every=every, save_early=early)
    assert [epoch for epoch in range(1, 21) if recipe.saves(epoch)] == (saved or list(range(1, 21)))


def test_when_checkpoints_are_kept_is_no_part_of_what_is_trained(job):
    train(job("run", epochs=1))
    last = train(job("run", epochs=8, recipe={"save_every": 5, "save_early": True}))
    assert epochs(DDPMSeries(run=str(last.parent))) == [1, 2, 4, 5, 8]
