"""The training loop: what it learns from, what it never reads, and that it is the same every time."""

from __future__ import annotations

import csv
import dataclasses
import math
import sys

import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.module import register_module_forward_pre_hook

from probebench.api import FeatureError, TrainingError, UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule
from probebench_ddpm.options import DDPMOptions
from probebench_ddpm.training import images, loop, objective, randomness
from probebench_ddpm.training.process_group import Team
from probebench_ddpm.training.trainer import train


def losses(out):
    with (out / "loss.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def weights(checkpoint, kind="unet"):
    return load_file(checkpoint / kind / "diffusion_pytorch_model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.fixture
def noising(monkeypatch):
    """Every call of `add_noise` for an optimiser step: clean images, noise and steps."""
    calls = []
    original = NoiseSchedule.add_noise

    def note(self, images, noise, t):
        if not torch.is_inference_mode_enabled():
            calls.append((images.clone(), noise.clone(), t.clone()))
        return original(self, images, noise, t)

    monkeypatch.setattr(NoiseSchedule, "add_noise", note)
    return calls


@pytest.fixture
def passes():
    """What any network is given to be trained on while the test runs."""
    given = []

    def note(module, inputs):
        # The pass by which the first training of a process measures its need of memory has no real images.
        if isinstance(module, UNet2DModel) and module.training and not isinstance(inputs[0], FakeTensor):
            given.append(inputs[0].detach())

    handle = register_module_forward_pre_hook(note)
    yield given
    handle.remove()


def test_the_loss_falls(job):
    """From that of a network that predicts nothing, 1, to well below; the stand-in's labels cannot be read."""
    run = job(epochs=40, recipe={"lr": 3e-3, "save_every": 40})
    train(run)
    curve = losses(run.out)
    assert len(curve) == 40
    assert sum(curve[:2]) / 2 > 0.7
    assert sum(curve[-5:]) / 5 < 0.6 * sum(curve[:2]) / 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_give_the_same_bits(job, precision):
    first, second = (
        train(job(name, epochs=2, precision=precision, recipe={"save_every": 2})) for name in ("first", "second")
    )
    assert same(weights(first), weights(second))
    assert same(weights(first, "unet_raw"), weights(second, "unet_raw"))
    assert losses(first.parent) == losses(second.parent)


def test_dropout_is_the_same_every_time(job):
    """It draws from torch's global generator, which the loop must seed step by step and give back."""
    recipe = {"dropout": 0.5}
    state = torch.get_rng_state()
    first = train(job("first", epochs=1, recipe=recipe))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    second = train(job("second", epochs=1, recipe=recipe))
    assert same(weights(first), weights(second))
    without = train(job("without", epochs=1))
    assert losses(first.parent) != losses(without.parent)


def test_the_seed_changes_weights_and_noise(job, noising):
    first, second = train(job("first", epochs=1)), train(job("second", epochs=1, seed=1))
    assert not same(weights(first, "unet_raw"), weights(second, "unet_raw"))
    steps = len(noising) // 2
    assert not torch.equal(noising[0][1], noising[steps][1])


def test_every_step_draws_its_own_noise_and_t(job, noising):
    train(job(epochs=2, recipe={"save_every": 2}))
    assert len(noising) == 6
    for first in range(6):
        for second in range(first):
            assert not torch.equal(noising[first][1], noising[second][1])
    steps = torch.cat([t for _, _, t in noising])
    assert 0 <= int(steps.min()) < 200
    assert 800 < int(steps.max()) < 1000
    noise = torch.cat([noise.flatten() for _, noise, _ in noising])
    assert float(noise.mean()) == pytest.approx(0, abs=0.03)
    assert float(noise.std()) == pytest.approx(1, abs=0.03)


def test_an_epoch_reads_every_image_once_in_a_new_order(job, noising):
    run = job(epochs=2, recipe={"save_every": 2})
    train(run)
    every = {image.numpy().tobytes() for image in run.images.pixels.float() / 127.5 - 1}
    assert len(every) == 24
    orders = []
    for epoch in range(2):
        clean = torch.cat([images for images, _, _ in noising[3 * epoch : 3 * epoch + 3]])
        orders.append([image.numpy().tobytes() for image in clean])
        assert set(orders[-1]) == every
    assert orders[0] != orders[1]


def test_an_incomplete_batch_is_left_out_but_a_small_dataset_is_one_batch(job, noising):
    train(job("left-out", epochs=1, recipe={"batch_size": 10}))
    assert [len(images) for images, _, _ in noising] == [10, 10]
    noising.clear()
    train(job("small", epochs=1, recipe={"batch_size": 100}))
    assert [len(images) for images, _, _ in noising] == [24]


@pytest.mark.parametrize("flips", [True, False])
def test_images_are_mirrored_only_where_the_dataset_allows_it(job, noising, flips):
    run = job(epochs=4, flips=flips, recipe={"save_every": 4})
    train(run)
    straight = {image.numpy().tobytes() for image in run.images.pixels.float() / 127.5 - 1}
    mirrored = {image.numpy().tobytes() for image in (run.images.pixels.float() / 127.5 - 1).flip(-1)}
    assert not straight & mirrored
    seen = [image.contiguous().numpy().tobytes() for images, _, _ in noising for image in images]
    share = sum(image in mirrored for image in seen) / len(seen)
    assert set(seen) <= straight | mirrored
    assert share == 0 if not flips else 0.3 < share < 0.7


def test_only_the_pass_is_bf16_in_bf16_training(job, passes, noising, monkeypatch):
    """What is noised, with what, target, loss, gradients and kept weights are fp32: bf16 loses what is small."""
    compared, stepped = [], []
    loss_of, step_of = objective.mse_loss, torch.optim.AdamW.step

    def loss(predicted, target):
        compared.append((predicted.dtype, target, loss_of(predicted, target).dtype))
        return loss_of(predicted, target)

    def step(self, *arguments, **named):
        stepped.extend((weight.dtype, weight.grad.dtype) for weight in self.param_groups[0]["params"])
        return step_of(self, *arguments, **named)

    monkeypatch.setattr(objective, "mse_loss", loss)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    whole = train(job("fp32", epochs=1))
    rounded = train(job("bf16", epochs=1, precision="bf16"))
    assert {images.dtype for images in passes[:3]} == {torch.float32}
    assert {images.dtype for images in passes[3:]} == {torch.bfloat16}, "the pass itself"
    assert losses(whole.parent) != losses(rounded.parent)
    for full, half in zip(noising[:3], noising[3:], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(full, half, strict=True))
    for (_, noise, _), (predicted, target, dtype) in zip(noising, compared, strict=True):
        assert predicted == dtype == torch.float32
        assert torch.equal(target, noise)
    assert set(stepped) == {(torch.float32, torch.float32)}
    for kind in ("unet", "unet_raw"):
        kept = weights(rounded, kind).values()
        assert {tensor.dtype for tensor in kept} == {torch.float32}
        assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in kept)


def test_bf16_training_loses_no_small_step(job):
    """A step of a thousandth of a weight is below bf16's resolution: weights kept in bf16 would stand still."""
    recipe = {"lr": 1e-6, "warmup": 0, "save_every": 4}
    first, last = (train(job(epochs=epochs, recipe=recipe, precision="bf16")) for epochs in (1, 4))
    moved = [
        (before != after).float().mean()
        for before, after in zip(weights(first, "unet_raw").values(), weights(last, "unet_raw").values(), strict=True)
    ]
    assert sum(moved) / len(moved) > 0.9


def test_input_out_of_its_range_is_refused(job, monkeypatch):
    """The mistake that cost a thesis its first model: Normalize(0.5, 0.45) gives -1.11 to 1.11."""
    monkeypatch.setattr(loop, "to_input", lambda images, _: (images.float() / 255 - 0.5) / 0.45)
    run = job()
    run.images.pixels[0, 0, 0, 0], run.images.pixels[0, 0, 0, 1] = 0, 255
    with pytest.raises(
        FeatureError, match=r"the input ranges from -1.11\d* to 1.\d+, not within -1 to 1\n.*training images"
    ):
        train(dataclasses.replace(run, recipe=run.recipe.model_copy(update={"batch_size": 24})))
    assert not (run.out / "run.json").exists()


def test_the_average_follows_its_warm_up(job, monkeypatch):
    """Decay of step n is min(ema, 1 - (1 + n)^-0.75), from 0 at the first: recomputed here in float64."""
    history = []
    original = loop.EMAModel.step

    def step(self, parameters):
        parameters = list(parameters)
        history.append([parameter.detach().double().clone() for parameter in parameters])
        original(self, parameters)

    monkeypatch.setattr(loop.EMAModel, "step", step)
    checkpoint = train(job(epochs=4, recipe={"ema": 0.7, "save_every": 4}))
    expected = history[0]
    decays = [min(0.7, 1 - (1 + number) ** -0.75) for number in range(len(history))]
    assert decays[0] == 0
    assert decays[-1] == 0.7
    for decay, now in list(zip(decays, history, strict=True))[1:]:
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, now, strict=True)]
    averaged = DDPMPipeline.from_pretrained(checkpoint).unet
    for found, wanted in zip(averaged.parameters(), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)


def test_averaged_and_raw_weights_differ(job, batch, at):
    checkpoint = train(job(epochs=2, recipe={"save_every": 2}))
    assert not same(weights(checkpoint), weights(checkpoint, "unet_raw"))
    ema, raw = (
        DDPM(DDPMOptions(checkpoint=str(checkpoint), weights=kind)).extract(batch(size=8), at(["up.1"]), seed=0)
        for kind in ("ema", "raw")
    )
    assert not torch.equal(*ema.values(), *raw.values())


def test_the_learning_rate_warms_up(job, monkeypatch):
    rates = []
    original = torch.optim.AdamW.step

    def step(self, *arguments, **named):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train(job(epochs=2, recipe={"lr": 1e-3, "warmup": 4, "save_every": 2}))
    assert rates == pytest.approx([0.00025, 0.0005, 0.00075, 0.001, 0.001, 0.001])


def test_gradients_are_clipped(job, monkeypatch):
    norms = []
    original = torch.optim.AdamW.step

    def step(self, *arguments, **named):
        norms.append(math.sqrt(sum(float(p.grad.double().square().sum()) for p in self.param_groups[0]["params"])))
        return original(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train(job(epochs=1, recipe={"clip": 0.01}))
    assert norms == pytest.approx([0.01] * 3, rel=1e-3)


def test_the_checkpoint_is_read_by_ddpm_and_by_diffusers(job, batch, at, full_forward, blocks):
    checkpoint = train(job(epochs=1))
    backbone = DDPM(DDPMOptions(checkpoint=str(checkpoint), noise="none"))
    pipeline = DDPMPipeline.from_pretrained(checkpoint)
    images = batch(size=8)
    maps = full_forward(pipeline.unet.eval(), images.images.float() / 127.5 - 1, 10, blocks)
    for point, vectors in backbone.extract(images, at(blocks), seed=0).items():
        assert torch.equal(vectors, maps[point.tap].mean((2, 3))), point.tap
    assert backbone.image_size == (8, 8)
    assert pipeline.scheduler.config.prediction_type == "epsilon"


def test_attention_and_widths_are_those_asked_for(job):
    run = job(epochs=1, options={"attention": False, "widths": (4, 8, 8, 8)})
    backbone = DDPM(DDPMOptions(checkpoint=str(train(run)), attention=False, widths=(4, 8, 8, 8)))
    assert not any("attentions" in tap.id for tap in backbone.taps((8, 8)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("count", [2, 3])
def test_accumulation_makes_the_step_of_the_whole_batch(job, precision, count):
    """Three parts of eight images are not equal: a mean of means would weigh their images differently."""
    gradients = []
    for accumulate in (1, count):
        run = job(f"{accumulate}", flips=True, precision=precision, recipe={"accumulate": accumulate, "min_snr": 5.0})
        trained = loop.Loop(run, images.load(run, 4))
        assert trained.optimise(run.images.pixels[:8]) > 0
        gradients.append(torch.cat([weight.grad.flatten() for weight in trained.unet.parameters()]))
    whole, summed = gradients
    rounding = 1e-5 if precision == "fp32" else 0.02
    assert float((summed - whole).norm() / whole.norm()) < rounding


def test_accumulation_needs_less_memory(job, passes):
    train(job(epochs=1, recipe={"accumulate": 4}))
    assert [len(images) for images in passes] == [2] * 4 * 3


def test_accumulation_is_no_part_of_what_is_trained(job):
    train(job(epochs=1, recipe={"batch_size": 8}))
    assert train(job(epochs=2, recipe={"batch_size": 8, "accumulate": 2})).name == "epoch-0002"


@pytest.mark.parametrize(("count", "number"), [(8, 1), (8, 3), (7, 4), (2, 4), (128, 6)])
def test_parts_are_the_whole_batch_once(count, number):
    found = loop.parts(count, number)
    assert [place for part in found for place in range(count)[part]] == list(range(count))
    assert len(found) == min(count, number)
    assert max(part.stop - part.start for part in found) - min(part.stop - part.start for part in found) <= 1


class Second(Team):
    """The second of two processes, heard by nobody."""

    def __init__(self):
        super().__init__()
        self.index, self.count = 1, 2


def test_a_process_works_on_its_part_of_the_noise_of_all(job, passes):
    """With flips, too: what is drawn does not depend on how many processes there are."""
    run = job(flips=True, recipe={"accumulate": 2})
    for team in (None, Second()):
        loop.Loop(run, images.load(run, 4), team).optimise(run.images.pixels[:8])
    whole, part = torch.cat(passes[:2]), torch.cat(passes[2:])
    assert len(whole) == 8
    assert torch.equal(part, whole[4:])


def test_more_parts_than_images(job):
    run = job(recipe={"accumulate": 5, "batch_size": 8})
    with pytest.raises(UsageError) as error:
        loop.Loop(run, images.load(run, 4), Second())
    assert str(error.value) == (
        "a batch of 8 images cannot be cut into 10 parts\n  in: 2 processes, accumulate=5\n"
        "  try: a larger batch_size, or fewer parts"
    )


def test_several_processes_need_accelerate(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError) as error:
        train(job(processes=2))
    assert str(error.value) == (
        "training in 2 processes needs accelerate, which is not installed\n  in: --num-processes\n"
        "  try: pip install 'probebench-ddpm[accelerate]'"
    )


def test_parts_of_dropout_have_masks_of_their_own(job):
    """All parts with the masks of the first would be half of the noise that dropout is."""
    masks = []
    for start in (0, 4, 0):
        with randomness.dropout(torch.device("cpu"), seed=0, step=3, start=start):
            masks.append(torch.rand(8))
    assert torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[1])


def test_progress_tells_epoch_step_and_loss(job):
    told = []
    run = job(epochs=2, recipe={"save_every": 2}, progress=lambda *report: told.append(report))
    train(run)
    assert [report[:3] for report in told] == [(epoch, step, 3) for epoch in (1, 2) for step in (1, 2, 3)]
    means = [sum(loss for *_, loss in told[start : start + 3]) / 3 for start in (0, 3)]
    assert losses(run.out) == pytest.approx(means, abs=1e-6)


@pytest.fixture(scope="module")
def untroubled(job_in, tmp_path_factory):
    """Last checkpoint of three epochs in which nothing happens, which no test changes."""
    return train(job_in(tmp_path_factory.mktemp("untroubled") / "run", epochs=3))


def test_the_loss_curve_has_a_line_an_epoch(untroubled):
    with (untroubled.parent / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6"), ("3", "9")]
    assert all(float(row["seconds"]) >= 0 and float(row["images_per_second"]) > 0 for row in rows)


def break_step(monkeypatch, number, what):
    """Makes the loss, or the gradient only, NaN at one step."""
    original, count = objective.mse_loss, 0

    def loss(*arguments):
        nonlocal count
        count += 1
        value = original(*arguments)
        if count - 1 != number:
            return value
        if what == "loss":
            return value * math.nan
        value.register_hook(lambda gradient: gradient * math.nan)
        return value

    monkeypatch.setattr(objective, "mse_loss", loss)


@pytest.mark.parametrize(("what", "name"), [("loss", "loss"), ("gradient", "gradient's norm")])
def test_training_stops_at_what_is_not_finite(job, untroubled, monkeypatch, what, name):
    """Step 5 is the last of the second epoch: the step would be taken, and NaN saved."""
    break_step(monkeypatch, 5, what)
    run = job(epochs=3)
    with pytest.raises(TrainingError) as error:
        train(run)
    assert str(error.value) == (
        f"the {name} is nan at step 5 (epoch 2)\n  in: {run.out}\n  try: a smaller lr; the last checkpoint is intact"
    )
    assert error.value.exit_code == 1
    assert sorted(path.name for path in run.out.iterdir()) == [
        *("bands.csv", "epoch-0001", "loss.csv", "run.json", "state-0001")
    ]
    assert all(tensor.isfinite().all() for tensor in weights(run.out / "epoch-0001").values())
    monkeypatch.undo()
    assert same(weights(train(run)), weights(untroubled)), "and it goes on from there"


def test_too_large_a_learning_rate(job):
    run = job(epochs=5, recipe={"lr": 1e30, "warmup": 0})
    with pytest.raises(TrainingError, match=r"is (nan|inf) at step .*\n.*\n.*a smaller lr"):
        train(run)
    assert not (run.out / "epoch-0005").exists()


def test_training_starts_from_random_weights(job):
    with pytest.raises(UsageError, match=r"starts from random weights\n.*option checkpoint of ddpm\n.*leave it out"):
        train(job(options={"checkpoint": "runs/mine/epoch-0010"}))
    assert train(job(epochs=1, options={"checkpoint": "none"})).is_dir()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"weights": "raw"}, "weights"),
        ({"init_seed": 1}, "init_seed"),
        ({"noise": "mean", "draws": 8}, "noise and draws"),
    ],
)
def test_options_of_reading_are_refused(job, options, named):
    with pytest.raises(UsageError, match=f"{named} mean nothing in training\n.*options of ddpm\n.*see --seed"):
        train(job(options=options))


@pytest.mark.parametrize("shape", [(24, 3, 8, 16), (24, 3, 12, 12)])
def test_images_that_do_not_fit(job, shape):
    run = job()
    run.images.pixels = torch.zeros(shape, dtype=torch.uint8)
    message = f"images of {shape[2]}x{shape[3]} do not fit a U-Net of four levels\n.*stand-in\n.*multiple of 8"
    with pytest.raises(UsageError, match=message):
        train(run)
