"""Checkpoints load with every weight and their own config, or are refused."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

from probebench.api import UsageError
from probebench.plugins.registry import resolve
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.loading import checkpoint
from probebench_ddpm.options import DDPMOptions

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def features_of(backbone, images, points):
    return torch.cat([backbone.extract(images, points, seed=0)[point] for point in points], dim=1)


@pytest.fixture
def folder(saved, unet):
    """An intact checkpoint with attention."""
    return saved(unet())


@pytest.fixture
def refused(folder):
    """Returns the error of loading the checkpoint, which must be a usage error of three lines at most."""

    def load(**options):
        with pytest.raises(UsageError) as error:
            DDPM(DDPMOptions(**{"checkpoint": str(folder), **options}))
        text = str(error.value)
        assert error.value.exit_code == 2
        assert len(text.splitlines()) <= 3, text
        return text

    return load


@pytest.fixture
def edit(folder):
    """Changes the JSON or the weights of the checkpoint."""

    def change(name, **values):
        path = folder / name
        if path.suffix == ".json":
            path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
            return
        tensors = {**load_file(path), **values}
        save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, path)

    return change


@pytest.mark.parametrize("attention", [True, False])
def test_features_are_those_of_the_saved_network(
    saved, unet, batch, at, full_forward, blocks, assert_features, attention
):
    network = unet(attention=attention)
    backbone = DDPM(DDPMOptions(checkpoint=str(saved(network)), attention=attention, noise="none"))
    images = batch()
    maps = full_forward(network, images.images.float() / 127.5 - 1, 10, blocks)
    features = backbone.extract(images, at(blocks), seed=0)
    for point, vectors in features.items():
        assert_features(vectors, maps[point.tap].mean((2, 3)), point.tap)


def test_all_fields_of_the_config_are_used(saved, unet, batch, at, full_forward, assert_features):
    """With diffusers' defaults this network would load the same weights and give other features."""
    network = unet(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        mid_block_scale_factor=2**0.5,
    )
    backbone = DDPM(DDPMOptions(checkpoint=str(saved(network)), noise="none"))
    assert [tap.id for tap in backbone.taps((16, 16)) if tap.default] == [
        *("down.0", "down.1", "down.2"), "mid", *("up.0", "up.1", "up.2")
    ]  # fmt: skip
    images = batch()
    modules = {"mid": "mid_block", "up.0.resnets.1": "up_blocks.0.resnets.1", "up.2": "up_blocks.2"}
    maps = full_forward(network, images.images.float() / 127.5 - 1, 10, modules)
    for point, vectors in backbone.extract(images, at(modules), seed=0).items():
        assert_features(vectors, maps[point.tap].mean((2, 3)), point.tap)


def test_half_precision_on_disk_is_read_as_fp32(folder, edit, batch, at):
    before = load_file(folder / WEIGHTS)
    edit(WEIGHTS, **{name: tensor.half() for name, tensor in before.items()})
    backbone = DDPM(DDPMOptions(checkpoint=str(folder)))
    (features,) = backbone.extract(batch(), at(["up.1"]), seed=0).values()
    assert features.dtype == torch.float32
    assert {weight.dtype for weight in vars(backbone)["_unet"].parameters()} == {torch.float32}


def test_raw_weights_are_in_the_same_folder_as_the_averaged_ones(folder, unet, batch, at):
    unet(seed=9).save_pretrained(folder / "unet_raw")
    images, points = batch(), at(["up.1"])
    ema, raw = (DDPM(DDPMOptions(checkpoint=str(folder), weights=weights)) for weights in ("ema", "raw"))
    assert not torch.allclose(features_of(ema, images, points), features_of(raw, images, points), rtol=1e-3)
    assert ema.fingerprint() != raw.fingerprint()


def test_missing_raw_weights(refused, folder):
    text = refused(weights="raw")
    assert text.startswith("there are no last weights: neither unet_raw/ nor a unet/ next to unet_ema/")
    assert str(folder) in text
    assert "remove weights=raw" in text


def test_random_weights_keep_the_network_and_change_the_weights(folder, batch, at, blocks):
    images, points = batch(), at(blocks)

    def backbone(**options):
        return DDPM(DDPMOptions(checkpoint=str(folder), **options))

    trained, random = backbone(), backbone(weights="random")
    assert random.taps((16, 16)) == trained.taps((16, 16))
    assert random.parameters == trained.parameters
    assert not torch.allclose(features_of(random, images, points), features_of(trained, images, points), rtol=1e-2)
    again, other = backbone(weights="random"), backbone(weights="random", init_seed=1)
    assert not torch.allclose(features_of(other, images, points), features_of(random, images, points), rtol=1e-2)
    assert len({one.fingerprint() for one in (trained, random, other)}) == 3
    assert again.fingerprint() == random.fingerprint()


def test_random_weights_do_not_depend_on_the_weights_in_the_folder(folder, edit, batch, at, assert_features):
    images, points = batch(), at(["up.1"])
    before = DDPM(DDPMOptions(checkpoint=str(folder), weights="random"))
    edit(WEIGHTS, **{name: torch.zeros_like(tensor) for name, tensor in load_file(folder / WEIGHTS).items()})
    after = DDPM(DDPMOptions(checkpoint=str(folder), weights="random"))
    assert after.fingerprint() == before.fingerprint()
    assert_features(features_of(after, images, points), features_of(before, images, points))


def test_init_seed_has_no_effect_on_loaded_weights(folder):
    fingerprints = {DDPM(DDPMOptions(checkpoint=str(folder), init_seed=seed)).fingerprint() for seed in (0, 1)}
    assert len(fingerprints) == 1


def test_no_checkpoint_is_a_new_network(batch, at):
    def backbone(**options):
        return DDPM(DDPMOptions(checkpoint="none", widths=(8, 16, 16, 16), **options))

    state = torch.get_rng_state()
    first = backbone()
    assert torch.equal(torch.get_rng_state(), state), "the global random state is unchanged"
    torch.rand(5)
    assert backbone().fingerprint() == first.fingerprint()
    assert backbone(init_seed=1).fingerprint() != first.fingerprint()
    assert [tap.shape[0] for tap in first.taps((16, 16)) if tap.default] == [8, *[16] * 7, 8]


def test_the_fingerprint_changes_with_weights_schedule_and_architecture(saved, unet):
    def fingerprint(network, name, **schedule):
        return DDPM(DDPMOptions(checkpoint=str(saved(network, name, **schedule)))).fingerprint()

    base = fingerprint(unet(), "base")
    assert fingerprint(unet(), "same") == base
    nudged = unet()
    with torch.no_grad():
        nudged.conv_out.bias[0] += 1e-6
    others = [
        fingerprint(nudged, "nudged"),
        fingerprint(unet(), "schedule", beta_end=0.021),
        fingerprint(unet(norm_eps=1e-6), "architecture"),
    ]
    assert len({base, *others}) == 4


def test_the_error_for_an_unknown_name_lists_the_bundled_ones(refused):
    text = refused(checkpoint="cifar100")
    assert text.splitlines()[0] == "no checkpoint 'cifar100'"
    assert "option checkpoint of ddpm" in text
    assert "none for random weights" in text
    assert ", ".join(checkpoint.bundled_names()) in text


def test_bundled_names_have_no_attention_suffix(tmp_path, monkeypatch):
    for name in ("a", "a-no-attention", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").touch()
    monkeypatch.setattr(checkpoint, "BUNDLED", tmp_path)
    assert checkpoint.bundled_names() == ["a", "b"]
    assert checkpoint.find("a", attention=True) == tmp_path / "a"
    assert checkpoint.find("a", attention=False) == tmp_path / "a-no-attention"
    monkeypatch.setattr(checkpoint, "BUNDLED", tmp_path / "none")
    assert checkpoint.bundled_names() == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unet/config.json", "config.json is missing"),
        (WEIGHTS, "diffusion_pytorch_model.safetensors is missing"),
        ("scheduler/scheduler_config.json", "scheduler_config.json is missing"),
    ],
)
def test_a_missing_file(refused, folder, name, message):
    (folder / name).unlink()
    text = refused()
    assert text.startswith(message)
    assert str((folder / name).parent) in text
    assert "save_pretrained" in text


def test_a_pickled_checkpoint_is_not_loaded(refused, folder):
    """Unpickling can run code. Files with other objects than tensors are refused, with a hint how to convert them."""
    (folder / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    assert "safe_serialization=True" in refused()


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_weights(refused, folder, kept):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    text = refused()
    assert "diffusion_pytorch_model.safetensors cannot be read" in text
    assert str(folder) in text


@pytest.mark.parametrize("content", ["", '{"sample_size": 1', "[1, 2]", '"text"'])
def test_a_config_that_is_not_a_json_object(refused, folder, content):
    (folder / "unet/config.json").write_text(content)
    text = refused()
    assert "config.json cannot be read" in text or "config.json is not a JSON object" in text


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("unet/config.json", {"down_block_types": ["NoSuchBlock2D"] * 4}),
        ("unet/config.json", {"block_out_channels": [8, 16]}),
        ("unet/config.json", {"norm_num_groups": 7}),
        ("scheduler/scheduler_config.json", {"beta_schedule": "no-such-schedule"}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "many"}),
    ],
)
def test_a_config_that_diffusers_refuses(refused, folder, edit, name, values):
    edit(name, **values)
    text = refused()
    assert text.startswith(f"diffusers cannot build the object that {name.rpartition('/')[2]} describes: ")
    assert "copy it from the folder that diffusers' save_pretrained wrote" in text


def test_missing_weights_are_named(refused, edit):
    edit(WEIGHTS, **{"conv_in.weight": None, "conv_in.bias": None, "conv_out.bias": None})
    text = refused()
    assert "the weights do not fit config.json: conv_in.weight is missing; conv_in.bias is missing; and 1 more" in text


def test_unknown_weights_are_named(refused, edit):
    edit(WEIGHTS, **{"conv_between.weight": torch.zeros(10, 32)})
    assert "conv_between.weight is unknown" in refused()


def test_weights_of_another_shape_are_named(refused, edit):
    edit(WEIGHTS, **{"conv_in.bias": torch.zeros(4)})
    assert "conv_in.bias has shape (4,), not (8,)" in refused()


@pytest.mark.parametrize("attention", [True, False])
def test_the_wrong_attention(saved, unet, attention):
    found = saved(unet(attention=attention), "other")
    with pytest.raises(UsageError) as error:
        DDPM(DDPMOptions(checkpoint=str(found), attention=not attention))
    assert error.value.what == f"the checkpoint has {'attention' if attention else 'no attention'}"
    assert error.value.hint == f"attention={'true' if attention else 'false'}"


def test_the_wrong_widths(refused):
    text = refused(widths=(8, 8, 8, 8))
    assert "the checkpoint has widths 8+16+16+16, not 8+8+8+8" in text
    assert "try: widths=8+16+16+16, or no option widths" in text


def test_the_right_widths_are_accepted(folder):
    given, default = (DDPM(DDPMOptions(checkpoint=str(folder), **o)) for o in ({"widths": (8, 16, 16, 16)}, {}))
    assert given.fingerprint() == default.fingerprint()


def test_a_network_of_classes_without_a_table(saved, unet):
    found = saved(unet(class_embed_type="timestep"), "conditional")
    message = r"class_embed_type 'timestep': there is no table of classes.*\n.*conditional/unet\n.*num_class_embeds"
    with pytest.raises(UsageError, match=message):
        DDPM(DDPMOptions(checkpoint=str(found)))


def test_a_latent_network(saved, unet):
    found = saved(unet(in_channels=4, out_channels=4), "latent")
    with pytest.raises(UsageError, match=r"the checkpoint takes 4 channels, images have 3\n.*\n.*ldm:checkpoint="):
        DDPM(DDPMOptions(checkpoint=str(found)))


@pytest.mark.parametrize("widths", [(8, 8, 8), (8, 8, 8, 6), (0, 8, 8, 8), (-4, 8, 8, 8)])
def test_invalid_widths(widths):
    with pytest.raises(UsageError) as error:
        resolve("backbone", f"ddpm:widths={'+'.join(map(str, widths))}")
    assert str(error.value).splitlines()[0] == (
        f"option widths={'+'.join(map(str, widths))} should be four multiples of 4, such as 32+64+64+64"
    )


def test_widths_from_the_command_line():
    assert DDPMOptions(widths="8+16+16+16").widths == (8, 16, 16, 16)


def test_a_folder_in_the_home_directory(saved, unet, monkeypatch, tmp_path):
    saved(unet(), "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert isinstance(vars(DDPM(DDPMOptions(checkpoint="~/mine")))["_unet"], UNet2DModel)
