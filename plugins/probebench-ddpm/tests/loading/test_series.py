"""Series: the checkpoints of a training run as backbones, and the training provenance of each."""

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
    """A run of two epochs with attention, one epoch without, and one epoch with another seed."""
    folder = tmp_path_factory.mktemp("runs")
    train(job_in(folder / "on", epochs=2))
    train(job_in(folder / "off", epochs=1, options={"attention": False}))
    train(job_in(folder / "on-1", epochs=1, seed=1))
    return folder


def epochs(options):
    return [int(member["checkpoint"][-4:]) for member in members(options)]


def test_all_epochs_in_order(runs):
    run = str(runs / "on")
    assert members(DDPMSeries(run=run)) == [{"checkpoint": f"{run}/epoch-000{epoch}"} for epoch in (1, 2)]
    assert epochs(DDPMSeries(run=run, epochs="all")) == [1, 2]
    assert epochs(DDPMSeries(run=run, epochs="2+1")) == [1, 2]
    assert epochs(DDPMSeries(run=run, epochs="2")) == [2]


def test_epochs_are_ordered_by_number_and_unfinished_ones_left_out(runs, tmp_path):
    shutil.copytree(runs / "off", tmp_path / "run")
    for name in ("epoch-10000", "epoch-9999", "epoch-0002-step-7", ".epoch-0003.tmp"):
        (tmp_path / "run" / name).mkdir()
    found = [member["checkpoint"].rpartition("/")[2] for member in members(DDPMSeries(run=str(tmp_path / "run")))]
    assert found == ["epoch-0001", "epoch-9999", "epoch-10000"]


def test_members_without_attention_have_the_option(runs):
    for member in members(DDPMSeries(run=str(runs / "off"))):
        assert member["attention"] == "false"
        DDPM(DDPMOptions.model_validate(member))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "nowhere"}, "the folder is not a training run"),
        ({"run": "{runs}/on", "epochs": "1+7"}, "no checkpoint of epoch 7"),
        ({"run": "{runs}/empty"}, "no checkpoint of a whole epoch"),
        ({"run": "{runs}/torn"}, "run.json cannot be read"),
    ],
)
def test_missing_runs_and_epochs(runs, options, message):
    (runs / "empty").mkdir(exist_ok=True)
    shutil.copy(runs / "on" / "run.json", runs / "empty")
    (runs / "torn").mkdir(exist_ok=True)
    (runs / "torn" / "run.json").write_text("{")
    options["run"] = options["run"].format(runs=runs)
    with pytest.raises(UsageError, match=message):
        members(DDPMSeries(**options))


def test_epochs_need_a_run():
    with pytest.raises(ValueError, match="run=FOLDER,epochs="):
        DDPMSeries(epochs="1")


def test_training_provenance_of_a_checkpoint(runs):
    def provenance(name, **options):
        return DDPM(DDPMOptions(checkpoint=str(runs / name), **options)).training_stage

    first, last = provenance("on/epoch-0001"), provenance("on/epoch-0002")
    assert (first.epoch, first.images, first.seed) == (1, 24, 0)  # three steps of eight images
    assert (last.epoch, last.images) == (2, 48)
    assert first.recipe == last.recipe == provenance("on/epoch-0001", weights="raw").recipe
    assert provenance("on/epoch-0001", weights="random") is None

    other = provenance("on-1/epoch-0001")
    assert (other.seed, other.recipe) == (1, first.recipe), "the seed is not part of the recipe"
    assert provenance("off/epoch-0001", attention=False).recipe != first.recipe


def test_other_networks_have_no_training_provenance(saved, unet):
    folder = saved(unet())
    assert DDPM(DDPMOptions(checkpoint=str(folder))).training_stage is None
    (folder / "manifest.json").write_text(json.dumps({"backbone": "other"}))
    assert DDPM(DDPMOptions(checkpoint=str(folder))).training_stage is None
    assert DDPM(DDPMOptions(checkpoint="none")).training_stage is None
    assert DDPM(DDPMOptions()).training_stage.epoch == 40, "bundled networks have it"


@pytest.mark.parametrize(
    ("every", "early", "saved"),
    [(10, False, [10, 20]), (10, True, [1, 2, 4, 8, 10, 20]), (5, True, [1, 2, 4, 5, 10, 15, 20]), (1, True, None)],
)
def test_epochs_at_which_checkpoints_are_saved(every, early, saved):
    recipe = DDPMRecipe(save_every=every, save_early=early)
    assert [epoch for epoch in range(1, 21) if recipe.saves(epoch)] == (saved or list(range(1, 21)))


def test_a_run_can_be_resumed_with_other_epochs_to_save(job):
    recipe = {"batch_size": 24}  # one step per epoch
    train(job("run", epochs=1, recipe=recipe))
    last = train(job("run", epochs=5, recipe={**recipe, "save_every": 4, "save_early": True}))
    assert epochs(DDPMSeries(run=str(last.parent))) == [1, 2, 4, 5]
