"""Configs that do not fit their weights, or lack a field; the error names the field."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    LDMPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probebench.api import UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.loading.config_mismatch import explain_mismatch
from probebench_ddpm.loading.model_config import REQUIRED_FIELDS
from probebench_ddpm.options import DDPMOptions

PLAIN, ATTENTION = "DownBlock2D", "AttnDownBlock2D"


@pytest.mark.parametrize(
    ("network", "changed", "message"),
    [
        (
            {},
            {"down_block_types": [PLAIN] * 4},
            "down_block_types: no attention in config.json, attention in down_blocks.1 in the weights",
        ),
        (
            {"down_block_types": [PLAIN] * 4},
            {"down_block_types": [PLAIN, PLAIN, ATTENTION, PLAIN]},
            "down_block_types: attention in down_blocks.2 in config.json, no attention in the weights",
        ),
        (
            {},
            {"up_block_types": ["UpBlock2D"] * 4},
            "up_block_types: no attention in config.json, attention in up_blocks.2 in the weights",
        ),
        ({}, {"add_attention": False}, "add_attention: false in config.json, true in the weights"),
        ({}, {"mid_block_type": None}, "mid_block_type: null in config.json, a block in the weights"),
        (
            {},
            {"block_out_channels": [8, 16, 16, 32]},
            "block_out_channels: (8, 16, 16, 32) in config.json, (8, 16, 16, 16) in the weights",
        ),
        ({}, {"layers_per_block": 3}, "layers_per_block: 3 in config.json, 2 in the weights"),
        ({}, {"out_channels": 6}, "out_channels: 6 in config.json, 3 in the weights"),
        ({"in_channels": 4}, {"in_channels": 3}, "in_channels: 3 in config.json, 4 in the weights"),
        (
            {},
            {"resnet_time_scale_shift": "scale_shift"},
            "resnet_time_scale_shift: 'scale_shift' in config.json, 'default' in the weights",
        ),
        (
            {"resnet_time_scale_shift": "scale_shift"},
            {"resnet_time_scale_shift": "default"},
            "resnet_time_scale_shift: 'default' in config.json, 'scale_shift' in the weights",
        ),
        (
            {"num_class_embeds": 10},
            {"num_class_embeds": None},
            "class_embed_type or num_class_embeds: null in config.json, set in the weights",
        ),
        ({}, {"downsample_type": "resnet"}, "downsample_type: 'resnet' in config.json, 'conv' in the weights"),
        ({}, {"upsample_type": "resnet"}, "upsample_type: 'resnet' in config.json, 'conv' in the weights"),
        ({}, {"time_embedding_dim": 64}, "time_embedding_dim: 64 in config.json, 32 in the weights"),
        (
            {},
            {"time_embedding_type": "learned", "num_train_timesteps": 1000},
            "time_embedding_type: another type in config.json, positional in the weights",
        ),
        ({}, {"attention_head_dim": 5}, "attention_head_dim: not a divisor of the channels of down_blocks.1."),
    ],
)
def test_a_field_that_does_not_fit_the_weights_is_named(refused_config, unet, network, changed, message):
    text = refused_config(unet(**network), **changed)
    assert text.startswith("the weights do not fit config.json: ")
    assert message in text
    assert "use the config.json that these weights were saved with" in text


@pytest.mark.parametrize("field", REQUIRED_FIELDS[UNet2DModel])
def test_fields_that_the_weights_do_not_determine_are_required(refused_config, field):
    text = refused_config(without=(field,))
    assert text.startswith(f"config.json lacks {field}, which the weights do not determine")
    assert "save_pretrained wrote" in text


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("act_fn", "mish"),
        ("attention_head_dim", 4),
        ("center_input_sample", True),
        ("flip_sin_to_cos", False),
        ("freq_shift", 1),
        ("mid_block_scale_factor", 2),
        ("norm_eps", 1e-2),
        ("norm_num_groups", 2),
    ],
)
def test_required_fields_change_features_and_no_shape(unet, full_forward, field, other):
    network, changed = unet(), unet(**{field: other})
    changed.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    maps = [full_forward(one, images, 10, {"mid": "mid_block"})["mid"] for one in (network, changed)]
    assert not torch.allclose(*maps, rtol=1e-3)


def test_fields_that_later_versions_added_are_optional(saved, unet):
    """The config of google/ddpm-cifar10-32, which diffusers 0.0.4 wrote, lacks them."""
    network = unet()
    folder = saved(network)
    before = DDPM(DDPMOptions(checkpoint=str(folder))).fingerprint()
    path = folder / "unet/config.json"
    later = ("dropout", "resnet_time_scale_shift", "add_attention", "downsample_type", "upsample_type",
             "attn_norm_num_groups", "mid_block_type", "class_embed_type", "num_class_embeds", "num_train_timesteps",
             "time_embedding_dim")  # fmt: skip
    config = {key: value for key, value in json.loads(path.read_text()).items() if key not in later}
    path.write_text(json.dumps(config))
    assert DDPM(DDPMOptions(checkpoint=str(folder))).fingerprint() == before


@pytest.mark.parametrize("field", ["norm_num_group", "num_attention_heads"])
def test_a_field_that_diffusers_would_ignore(refused_config, field):
    text = refused_config(**{field: 4})
    assert text.startswith(f"config.json has {field}, which UNet2DModel of the installed diffusers does not know")


def test_equal_shapes_have_no_mismatch(unet):
    shapes = {name: tuple(tensor.shape) for name, tensor in unet().state_dict().items()}
    assert explain_mismatch(shapes, shapes) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mismatch_is_reported(unet, data):
    """Missing, unknown and reshaped weights are reported, whether or not a field of the config explains them."""
    expected = {name: tuple(tensor.shape) for name, tensor in unet().state_dict().items()}
    name = data.draw(st.sampled_from(sorted(expected)))
    found = dict(expected)
    match data.draw(st.sampled_from(("missing", "unknown", "reshaped"))):
        case "missing":
            del found[name]
        case "unknown":
            found[f"{name}.more"] = (1,)
        case "reshaped":
            found[name] = (*expected[name][:-1], expected[name][-1] + 1)
    assert explain_mismatch(found, expected)


def test_a_conditional_network_is_another_backbone(tmp_path, refused_config):
    conditional = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=4,
    )
    conditional.save_pretrained(tmp_path / "sd/unet")
    with pytest.raises(UsageError, match=r"is a UNet2DConditionModel, not a UNet2DModel\n.*\n.*ldm:checkpoint="):
        DDPM(DDPMOptions(checkpoint=str(tmp_path / "sd")))


def test_a_latent_network_of_three_channels(tmp_path, unet):
    """CompVis' latent U-Nets have the shapes of pixel-space networks; only the pipeline shows the difference."""
    decoder = VQModel(block_out_channels=(8,), norm_num_groups=4, latent_channels=3, num_vq_embeddings=8)
    LDMPipeline(decoder, unet(), DDIMScheduler()).save_pretrained(tmp_path / "ldm")
    for path in (tmp_path / "ldm", tmp_path / "ldm/unet"):
        with pytest.raises(UsageError, match=r"is a LDMPipeline with a vqvae\n.*\n.*ldm:checkpoint="):
            DDPM(DDPMOptions(checkpoint=str(path)))


def test_a_model_that_is_not_a_unet(tmp_path):
    AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).save_pretrained(tmp_path / "vae")
    with pytest.raises(UsageError, match="the checkpoint is a AutoencoderKL, not a UNet2DModel"):
        DDPM(DDPMOptions(checkpoint=str(tmp_path / "vae")))


def test_a_network_that_takes_sigma(refused_config, unet):
    text = refused_config(unet(time_embedding_type="fourier"))
    assert text.startswith("time_embedding_type 'fourier': the network takes sigma, not the step t")


def test_a_pipeline_without_optional_components(saved, unet):
    folder = saved(unet())
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "vae": [None, None]}))
    assert DDPM(DDPMOptions(checkpoint=str(folder))).parameters > 0
