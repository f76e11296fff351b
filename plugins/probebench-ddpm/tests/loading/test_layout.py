"""Every layout of a checkpoint gives the features of the network that was saved in it."""

from __future__ import annotations

import pickle
import shutil

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file

from probebench.api import ProbebenchWarning, UsageError, normal
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.loading import checkpoint
from probebench_ddpm.options import DDPMOptions

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def is_read(batch, at, full_forward, blocks, tolerance):
    """Returns whether a checkpoint has the features of this network at the nine blocks, up to rounding in fp32."""
    images, points = batch(), at(blocks, ["t=10"])

    def check(path, network, **options) -> bool:
        backbone = DDPM(DDPMOptions(**{"checkpoint": str(path), "noise": "none", **options}))
        maps = full_forward(network, images.images.float() / 127.5 - 1, 10, blocks)
        features = backbone.extract(images, points, seed=0)
        return all(
            torch.allclose(vectors, maps[point.tap].mean((2, 3)), **tolerance) for point, vectors in features.items()
        )

    return check


@pytest.fixture
def refused():
    """Returns the error of loading a checkpoint, which has three lines at most."""

    def load(path, **options):
        with pytest.raises(UsageError) as error:
            DDPM(DDPMOptions(**{"checkpoint": str(path), **options}))
        assert len(str(error.value).splitlines()) <= 3
        return str(error.value)

    return load


@pytest.fixture
def bare(tmp_path, unet):
    """A U-Net that was saved alone, with a schedule in the same folder."""
    network, folder = unet(), tmp_path / "bare"
    network.save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)
    return network, folder


@pytest.mark.parametrize(
    ("pipeline", "scheduler"), [(DDPMPipeline, DDPMScheduler), (DDIMPipeline, DDIMScheduler)], ids=["ddpm", "ddim"]
)
@pytest.mark.parametrize("attention", [True, False])
def test_a_pipeline_of_diffusers(
    tmp_path, unet, batch, at, full_forward, blocks, assert_features, pipeline, scheduler, attention
):
    """Inputs are noised by diffusers' own `add_noise`: schedule and network are those of the pipeline."""
    pipeline(unet(attention=attention), scheduler(beta_schedule="squaredcos_cap_v2")).save_pretrained(tmp_path / "a")
    loaded = pipeline.from_pretrained(tmp_path / "a")
    loaded.unet.eval()
    backbone = DDPM(DDPMOptions(checkpoint=str(tmp_path / "a"), attention=attention))
    images, points = batch(), at(blocks, ["t=300"])
    noise = normal((3, 16, 16), seed=0, source=images.source, index=images.index.tolist())
    noised = loaded.scheduler.add_noise(images.images.float() / 127.5 - 1, noise, torch.full((len(noise),), 300))
    maps = full_forward(loaded.unet, noised, 300, blocks)
    for point, vectors in backbone.extract(images, points, seed=0).items():
        assert_features(vectors, maps[point.tap].mean((2, 3)), point.tap)


def test_a_flat_folder(bare, is_read):
    network, folder = bare
    assert is_read(folder, network)


def test_a_unet_folder_uses_the_schedule_of_its_pipeline(saved, unet, is_read):
    network = unet()
    folder = saved(network, num_train_timesteps=400) / "unet"
    assert is_read(folder, network)
    with pytest.raises(UsageError, match="to 399"):
        DDPM(DDPMOptions(checkpoint=str(folder))).level("400")


def test_a_unet_folder_without_a_schedule(bare, refused):
    _, folder = bare
    (folder / "scheduler_config.json").unlink()
    text = refused(folder)
    assert text.startswith("scheduler_config.json is missing, so the amount of noise at a step is unknown")
    assert "DDPMScheduler().save_pretrained(FOLDER)" in text


@pytest.fixture
def trainers(tmp_path, unet):
    """A checkpoint of diffusers' example trainer: unet_ema/ and unet/; the schedule is in the parent folder."""
    raw = unet(seed=1)
    ema = EMAModel(raw.parameters(), decay=0.9, model_cls=UNet2DModel, model_config=raw.config)
    averaged = unet(seed=2)
    ema.shadow_params = [weight.detach().clone() for weight in averaged.parameters()]
    ema.save_pretrained(tmp_path / "out/checkpoint-500/unet_ema")
    raw.save_pretrained(tmp_path / "out/checkpoint-500/unet")
    DDPMScheduler().save_pretrained(tmp_path / "out/scheduler")
    return tmp_path / "out/checkpoint-500", raw, averaged


def test_averaged_and_last_weights_of_the_example_trainer(trainers, is_read):
    folder, raw, averaged = trainers
    assert is_read(folder, averaged)
    assert is_read(folder, averaged, weights="ema")
    assert is_read(folder, raw, weights="raw")
    assert not is_read(folder, raw, weights="ema")


def test_a_folder_of_emamodel_is_read_as_the_network_it_averages(trainers, is_read, saved, unet):
    folder, _, averaged = trainers
    assert '"optimization_step"' in (folder / "unet_ema/config.json").read_text()
    DDPMScheduler().save_pretrained(folder / "unet_ema")
    assert is_read(folder / "unet_ema", averaged)
    plain = DDPM(DDPMOptions(checkpoint=str(saved(averaged))))
    assert DDPM(DDPMOptions(checkpoint=str(folder))).fingerprint() == plain.fingerprint(), (
        "the counters are not part of the network"
    )


def test_random_weights_need_no_weights(trainers):
    folder, _, _ = trainers
    (folder / "unet" / FILE).unlink()
    (folder / "unet_ema" / FILE).unlink()
    assert DDPM(DDPMOptions(checkpoint=str(folder), weights="random")).parameters > 0


@pytest.mark.parametrize("suffix", ["safetensors", "bin", "pt", "pth"])
def test_a_single_file_with_its_config(bare, is_read, suffix):
    network, folder = bare
    (folder / FILE).unlink()
    state, path = network.state_dict(), folder / f"mine.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    assert is_read(path, network)


def test_a_pickled_folder_of_diffusers(tmp_path, unet, is_read):
    network = unet()
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(tmp_path / "old", safe_serialization=False)
    assert not (tmp_path / "old/unet" / FILE).exists()
    assert is_read(tmp_path / "old", network)


def test_safetensors_are_preferred_to_pickles(bare, is_read):
    network, folder = bare
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"whatever")
    assert is_read(folder, network)


class Harmful:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return exec, ("open('trace', 'w')",)


def test_code_in_a_pickle_is_not_run(bare, refused, tmp_path, monkeypatch):
    _, folder = bare
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Harmful()}, folder / "bad.pt")
    text = refused(folder / "bad.pt")
    assert text.startswith("bad.pt is damaged or contains other objects than tensors")
    assert "safe_serialization=True" in text
    assert not (tmp_path / "trace").exists()
    with (folder / "bad.pt").open("wb") as file:
        pickle.dump({"weight": Harmful()}, file, protocol=2)
    assert refused(folder / "bad.pt").startswith("bad.pt is damaged or contains other objects than tensors")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"model": {}, "epoch": 3}, "it contains model, epoch"),
        ([1, 2], "it contains list"),
        ({}, "it contains nothing"),
    ],
)
def test_a_file_that_is_not_a_state_dict(bare, refused, content, named):
    _, folder = bare
    torch.save(content, folder / "mine.pt")
    text = refused(folder / "mine.pt")
    assert text.startswith("mine.pt is not the state dict of a network: " + named)
    assert "unet.state_dict()" in text


@pytest.mark.parametrize("kept", [0, 100, -10])
def test_a_truncated_pickle(bare, refused, kept):
    network, folder = bare
    torch.save(network.state_dict(), folder / "mine.pt")
    (folder / "mine.pt").write_bytes((folder / "mine.pt").read_bytes()[:kept])
    text = refused(folder / "mine.pt")
    assert text.startswith(("mine.pt cannot be read", "mine.pt is damaged or contains other objects than tensors"))


def test_a_file_of_another_kind(bare, refused):
    _, folder = bare
    (folder / "notes.txt").touch()
    assert refused(folder / "notes.txt").startswith("notes.txt is not a file of weights")


def test_last_weights_of_a_single_network(bare, refused):
    _, folder = bare
    for path in (folder, folder / FILE):
        text = refused(path, weights="raw")
        assert text.startswith("weights=raw needs a checkpoint with averaged and last weights")
        assert "remove weights=raw" in text


def test_only_last_weights(saved, unet, refused):
    folder = saved(unet())
    (folder / "unet").rename(folder / "unet_raw")
    assert refused(folder).startswith("there are only last weights: unet_raw/")
    assert DDPM(DDPMOptions(checkpoint=str(folder), weights="raw")).parameters > 0


def test_an_empty_folder(tmp_path, refused):
    text = refused(tmp_path)
    assert text.startswith("the folder holds no U-Net: neither unet/ nor config.json")
    assert "save_pretrained" in text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("diffusion_pytorch_model.fp16.safetensors", "name the file itself: checkpoint="),
        ("diffusion_pytorch_model-00001-of-00002.safetensors", "max_shard_size"),
    ],
)
def test_weights_under_another_name(saved, unet, refused, is_read, name, hint):
    network = unet()
    folder = saved(network)
    (folder / "unet" / FILE).rename(folder / "unet" / name)
    text = refused(folder)
    assert text.startswith(f"{FILE} is missing")
    assert hint in text
    if "name the file" in hint:
        assert is_read(text.rpartition("checkpoint=")[2], network)


def test_names_of_attention_layers_in_older_diffusers(saved, unet, is_read):
    """The networks of the DDPM paper are stored with them on the hub."""
    network = unet()
    path = saved(network) / "unet" / FILE
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(path)
    for new, name in old.items():
        state = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in state.items()}
    assert any(".proj_attn." in key for key in state)
    save_file(state, path, metadata={"format": "pt"})
    assert is_read(path.parent.parent, network)


def test_a_network_without_a_middle_block(saved, unet, batch, at, full_forward, assert_features):
    network = unet(mid_block_type=None)
    backbone = DDPM(DDPMOptions(checkpoint=str(saved(network)), noise="none"))
    assert "mid" not in {tap.id for tap in backbone.taps((16, 16))}
    images = batch()
    maps = full_forward(network, images.images.float() / 127.5 - 1, 10, {"up.1": "up_blocks.1"})
    (features,) = backbone.extract(images, at(["up.1"]), seed=0).values()
    assert_features(features, maps["up.1"].mean((2, 3)))


@pytest.fixture
def run(tmp_path, saved, unet):
    """A training run of three checkpoints whose order by number is not their order by name."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    networks = {}
    for seed, name in enumerate(("epoch-9999", "epoch-10000", "epoch-10000-step-123456")):
        networks[name] = unet(seed=seed)
        shutil.move(saved(networks[name], name), folder / name)
    return folder, networks


def test_a_run_is_read_at_its_newest_checkpoint(run, is_read):
    folder, networks = run
    for name in ("epoch-10000-step-123456", "epoch-10000", "epoch-9999"):
        with pytest.warns(ProbebenchWarning, match=rf"run: its newest checkpoint, {name}, is read$"):
            assert is_read(folder, networks[name])
        shutil.rmtree(folder / name)
    with pytest.raises(UsageError, match=r"the training run has no checkpoint yet\n.*\n.*epoch-NNNN"):
        checkpoint.find(str(folder), attention=True)
