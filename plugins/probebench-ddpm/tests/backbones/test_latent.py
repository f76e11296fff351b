"""`ldm` and `dit`: features equal those of hooks on the components that diffusers loads; refused checkpoints."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, LDMPipeline, UNet2DConditionModel, VQModel
from safetensors.torch import load_file, save_file

from probebench.api import Batch, UsageError, normal
from probebench_ddpm.backbones.latent import LDM, DiT
from probebench_ddpm.networks.taps import tap_modules
from probebench_ddpm.options import DiTOptions, LDMOptions

FILE = "diffusion_pytorch_model.safetensors"
KINDS = ("dit", "vq", "text", "kl")


@pytest.fixture
def read():
    """Builds the backbone of a kind of pipeline from a folder."""

    def build(kind, folder, **options):
        if kind == "dit":
            return DiT(DiTOptions(checkpoint=str(folder), **options))
        return LDM(LDMOptions(**{"checkpoint": str(folder), "prompt": "zeros", **options}))

    return build


@pytest.fixture
def refused(read):
    """Returns the error of reading a folder, which has three lines at most."""

    def load(kind, folder, **options):
        with pytest.raises(UsageError) as error:
            read(kind, folder, **options)
        assert len(str(error.value).splitlines()) <= 3
        return str(error.value)

    return load


def latents_of(vae, images):
    """Encodes with diffusers only: the mean of the posterior, or latents before quantisation."""
    with torch.inference_mode():
        encoded = vae.encode(images.float() / 127.5 - 1)
    return vae.config.scaling_factor * (encoded.latents if isinstance(vae, VQModel) else encoded.latent_dist.mean)


def loaded_by_diffusers(kind, folder):
    """Returns network, autoencoder and scheduler, loaded by diffusers."""
    if kind in ("dit", "vq"):
        pipeline = (DiTPipeline if kind == "dit" else LDMPipeline).from_pretrained(folder)
        parts = (pipeline.transformer, pipeline.vae) if kind == "dit" else (pipeline.unet, pipeline.vqvae)
        scheduler = pipeline.scheduler
    else:
        from diffusers import UNet2DModel

        network = (UNet2DConditionModel if kind == "text" else UNet2DModel).from_pretrained(folder / "unet")
        parts = network, AutoencoderKL.from_pretrained(folder / "vae")
        scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    return *(part.eval().requires_grad_(False) for part in parts), scheduler


@pytest.mark.parametrize("kind", KINDS)
def test_every_tap_is_that_of_the_pipeline(latent, read, batch, at, full_forward, assert_features, kind):
    """The networks are saved and loaded by diffusers, and their inputs are noised by its own `add_noise`."""
    folder, _ = latent(kind)
    backbone, images = read(kind, folder), batch(3)
    network, vae, scheduler = loaded_by_diffusers(kind, folder)
    modules = {tap.id: tap.module for tap in tap_modules(network)}
    assert [tap.id for tap in backbone.taps((16, 16))] == list(modules)
    latents = latents_of(vae, images.images)
    assert latents.shape == (3, 4, 8, 8)
    noise = normal((4, 8, 8), seed=7, source=images.source, index=images.index.tolist())
    noised = scheduler.add_noise(latents, noise, torch.full((3,), 300))
    conditions = {
        "dit": {"class_labels": torch.full((3,), 10)},
        "text": {"encoder_hidden_states": torch.zeros(3, 5, 8)},
    }.get(kind, {})
    maps = full_forward(network, noised, torch.full((3,), 300), modules, **conditions)
    features = backbone.extract(images, at(modules, ["t=300"], "flat"), seed=7)
    shapes = {tap.id: tap.shape for tap in backbone.taps((16, 16))}
    for point, vectors in features.items():
        expected = maps[point.tap]
        if kind == "dit":  # 16 tokens of 16 channels, row by row
            expected = expected.permute(0, 2, 1).reshape(3, 16, 4, 4)
        assert tuple(expected.shape[1:]) == shapes[point.tap]
        assert_features(vectors, expected.flatten(1), point.tap)


@pytest.mark.parametrize(
    ("kind", "taps"),
    [("dit", ["block.0", "block.1", "block.2"]), ("text", ["down.0", "down.1", "mid", "up.0", "up.1"])],
)
def test_default_taps_are_the_blocks(latent, read, kind, taps):
    folder, _ = latent(kind)
    found = read(kind, folder).taps((16, 16))
    assert [tap.id for tap in found if tap.default] == taps
    # The encoder's share is spent before the first block.
    assert found[0].cost > 0.3
    assert found[-1].cost < 1


def test_a_grid_of_tokens_keeps_their_positions(latent, read, batch, at, full_forward):
    folder, parts = latent("dit")
    images = batch(2)
    (features,) = read("dit", folder, noise="none").extract(images, at(["block.1"], pool="grid2"), seed=0).values()
    conditions = {"class_labels": torch.full((2,), 10)}
    latents, modules = latents_of(parts["vae"], images.images), {"block.1": "transformer_blocks.1"}
    tokens = full_forward(parts["network"], latents, torch.full((2,), 10), modules, **conditions)["block.1"]
    upper_left = tokens[:, [0, 1, 4, 5]].mean(1)
    torch.testing.assert_close(features.view(2, 16, 2, 2)[..., 0, 0], upper_left, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["dit", "kl"])
def test_images_are_resized_to_the_training_size(latent, read, batch, at, kind):
    """A constant image is constant at any size, and overshoot at edges is clipped."""
    folder, _ = latent(kind)
    backbone, points = read(kind, folder), at(["block.1" if kind == "dit" else "mid"])
    assert backbone.image_size == (16, 16)
    assert backbone.taps((32, 48)) == backbone.taps((16, 16))
    flat = [Batch(torch.full((1, 3, side, side), 90, dtype=torch.uint8), torch.arange(1), "s") for side in (16, 40)]
    first, second = (backbone.extract(one, points, seed=0)[points[0]] for one in flat)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    prepared = backbone.prepare(batch(2, size=8).images)
    assert prepared.shape == (2, 3, 16, 16)
    assert float(prepared.min()) >= -1
    assert float(prepared.max()) <= 1


def test_latents_are_not_sampled_and_are_scaled(latent, read, batch, at):
    folder, _ = latent("kl")
    images, points = batch(2), at(["down.0"])
    backbone = read("kl", folder, noise="none")
    first, again = (backbone.extract(images, points, seed=seed) for seed in (0, 1))
    assert torch.equal(first[points[0]], again[points[0]])
    path = folder / "vae/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "scaling_factor": 0.1}))
    other = read("kl", folder, noise="none").extract(images, points, seed=0)
    assert not torch.allclose(other[points[0]], first[points[0]], rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_near_fp32(latent, read, batch, at, kind):
    folder, _ = latent(kind)
    whole, half = read(kind, folder), read(kind, folder)
    half.move_to("cpu", "bf16")
    points = at([tap.id for tap in whole.taps((16, 16)) if tap.default])
    images = batch(3)
    exact = whole.extract(images, points, seed=0)
    for point, vectors in half.extract(images, points, seed=0).items():
        assert vectors.dtype == torch.float32
        error = (vectors - exact[point]).norm() / exact[point].norm()
        assert 0 < float(error) < 0.05, str(point)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_depends_on_all_components(latent, read, kind):
    folder, _ = latent(kind)
    base = read(kind, folder)
    assert read(kind, folder).fingerprint() == base.fingerprint()
    network = "transformer" if kind == "dit" else "unet"
    encoder = "vqvae" if kind == "vq" else "vae"
    found = {base.fingerprint(), read(kind, folder, weights="random").fingerprint()}
    for part in (network, encoder):
        path = folder / part / FILE
        kept = path.read_bytes()
        tensors = load_file(path)
        name = next(name for name in tensors if name.endswith("bias") and "decoder" not in name)
        save_file({**tensors, name: tensors[name] + 1e-3}, path)
        found.add(read(kind, folder).fingerprint())
        path.write_bytes(kept)
    assert len(found) == 4
    assert read(kind, folder).fingerprint() == base.fingerprint()


def test_the_decoder_is_not_part_of_the_backbone(latent, read):
    folder, parts = latent("kl")
    backbone = read("kl", folder)
    kept = ("encoder.", "quant_conv.")
    encoder = sum(weight.numel() for name, weight in parts["vae"].named_parameters() if name.startswith(kept))
    assert backbone.parameters == encoder + sum(weight.numel() for weight in parts["network"].parameters())


def test_random_weights_keep_the_autoencoder(latent, read, batch, at):
    folder, _ = latent("kl")
    images, points = batch(2), at(["mid"])
    trained, random = (read("kl", folder, weights=weights) for weights in ("ema", "random"))
    features = [one.extract(images, points, seed=0)[points[0]] for one in (trained, random)]
    assert not torch.allclose(*features, rtol=1e-2)
    shutil.rmtree(folder / "vae")
    with pytest.raises(UsageError, match="the checkpoint has no autoencoder"):
        read("kl", folder, weights="random")


def test_averaged_weights_of_a_transformer(latent, read):
    folder, _ = latent("dit")
    averaged = latent("dit", "other", seed=9)[0]
    shutil.move(averaged / "transformer", folder / "transformer_ema")
    found = {weights: read("dit", folder, weights=weights).fingerprint() for weights in ("ema", "raw")}
    assert len(set(found.values())) == 2
    shutil.rmtree(folder / "transformer_ema")
    assert read("dit", folder).fingerprint() == found["raw"]


def test_a_dit_as_older_diffusers_saved_it(latent, read):
    """facebook/DiT-XL-2-256 is stored on the hub with the name and the fields of another class."""
    folder, _ = latent("dit")
    before = read("dit", folder).fingerprint()
    path = folder / "transformer/config.json"
    config = json.loads(path.read_text())
    old = {"_class_name": "Transformer2DModel", "cross_attention_dim": None, "num_vector_embeds": None}
    path.write_text(json.dumps({name: value for name, value in {**config, **old}.items() if name != "norm_eps"}))
    assert read("dit", folder).fingerprint() == before


# --- refused checkpoints


@pytest.mark.parametrize("kind", ["dit", "kl"])
def test_no_checkpoint(refused, kind):
    name, stem = ("dit", "transformer") if kind == "dit" else ("ldm", "unet")
    text = refused(kind, "")
    assert text.startswith(f"{name} needs a checkpoint")
    assert f"{name}:checkpoint=FOLDER, a folder that contains {stem}/, vae/ and scheduler/" in text
    assert refused(kind, "nowhere").startswith("no checkpoint 'nowhere'")


@pytest.mark.parametrize(("kind", "other"), [("dit", "kl"), ("kl", "dit")])
def test_the_other_kind_of_network(latent, refused, kind, other):
    folder, _ = latent(other)
    assert refused(kind, folder).startswith("the folder holds no ")
    stem = "transformer" if other == "dit" else "unet"
    text = refused(kind, folder / stem)
    assert text.startswith("the checkpoint is a ")
    assert text.endswith("dit:checkpoint=..." if other == "dit" else "ddpm:checkpoint=...")


def test_a_network_without_its_autoencoder(latent, refused):
    folder, _ = latent("kl")
    shutil.rmtree(folder / "vae")
    text = refused("kl", folder)
    assert text.startswith("the checkpoint has no autoencoder: neither vae/ nor vqvae/")
    assert "ldm:checkpoint=FOLDER, the folder of a whole pipeline" in text


def test_a_network_is_found_with_its_pipeline(latent, read):
    folder, _ = latent("kl")
    assert read("kl", folder / "unet").fingerprint() == read("kl", folder).fingerprint()
    assert read("kl", folder / "unet" / FILE).fingerprint() == read("kl", folder).fingerprint()


@pytest.mark.parametrize(
    ("kind", "part", "changed", "message"),
    [
        ("dit", "transformer", {"num_layers": 4}, "num_layers: 4 in config.json, 3 in the weights"),
        ("dit", "transformer", {"patch_size": 4}, "patch_size: 4 in config.json, 2 in the weights"),
        ("dit", "transformer", {"out_channels": 4}, "out_channels: 4 in config.json, 8 in the weights"),
        (
            "dit",
            "transformer",
            {"num_attention_heads": 4},
            "num_attention_heads x attention_head_dim: 32 in config.json, 16 in the weights",
        ),
        (
            "dit",
            "transformer",
            {"num_embeds_ada_norm": 1000},
            "num_embeds_ada_norm: 1000 in config.json, 10 in the weights",
        ),
        ("dit", "transformer", {"attention_bias": False}, "attention_bias: false in config.json, true in the weights"),
        ("text", "unet", {"cross_attention_dim": 16}, "cross_attention_dim: 16 in config.json, 8 in the weights"),
        (
            "text",
            "unet",
            {"transformer_layers_per_block": 2},
            "transformer_layers_per_block: 2 in config.json, 1 in the weights",
        ),
        ("kl", "vae", {"latent_channels": 8}, "latent_channels: 8 in config.json, 4 in the weights"),
        ("kl", "vae", {"layers_per_block": 2}, "layers_per_block: 2 in config.json, 1 in the weights"),
        ("kl", "vae", {"block_out_channels": [8, 16]}, "block_out_channels: (8, 16) in config.json, (8, 8) in"),
        ("kl", "vae", {"use_quant_conv": False}, "use_quant_conv: false in config.json, true in the weights"),
        ("kl", "vae", {"mid_block_add_attention": False}, "mid_block_add_attention: false in config.json, true"),
        ("vq", "vqvae", {"num_vq_embeddings": 99}, "num_vq_embeddings: 99 in config.json, 256 in the weights"),
    ],
)
def test_a_field_that_does_not_fit_the_weights_is_named(latent, refused, kind, part, changed, message):
    folder, _ = latent(kind)
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    text = refused(kind, folder)
    assert text.startswith("the weights do not fit config.json: ")
    assert message in text


@pytest.mark.parametrize(
    ("kind", "part", "field"),
    [
        ("dit", "transformer", "sample_size"),
        ("dit", "transformer", "num_attention_heads"),
        ("text", "unet", "attention_head_dim"),
        ("vq", "vqvae", "scaling_factor"),
    ],
)
def test_fields_that_the_weights_do_not_determine_are_required(latent, refused, kind, part, field):
    folder, _ = latent(kind)
    path = folder / part / "config.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != field}))
    assert refused(kind, folder).startswith(f"config.json lacks {field}, which the weights do not determine")


@pytest.mark.parametrize(
    ("kind", "part", "changed", "message"),
    [
        (
            "kl",
            "vae",
            {"shift_factor": 0.1},
            "latents that are shifted are not supported: config.json of the autoencoder has shift_factor",
        ),
        ("kl", "vae", {"_class_name": "AutoencoderTiny"}, "the checkpoint is a AutoencoderTiny, not a AutoencoderKL"),
        (
            "text",
            "unet",
            {"addition_embed_type": "text_time"},
            "the network takes other inputs than image, step, class and text: addition_embed_type",
        ),
    ],
)
def test_unsupported_configs(latent, refused, kind, part, changed, message):
    folder, _ = latent(kind)
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    assert refused(kind, folder).startswith(message)


def test_a_network_with_further_inputs(latent, refused):
    folder, _ = latent("text", in_channels=9)
    assert refused("text", folder).startswith("the network takes 9 channels, the latents of its autoencoder have 4")


def test_without_a_text_encoder_prompt_zeros_is_needed(latent, refused, read):
    folder, _ = latent("text")
    text = refused("text", folder, prompt="empty")
    assert text.startswith("the checkpoint has no text_encoder/, and its network is conditioned on text")
    assert "prompt=zeros" in text
    assert read("text", folder).parameters > 0
