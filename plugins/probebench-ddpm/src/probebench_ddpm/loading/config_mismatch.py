"""Explains why weights do not fit a network, by the fields of its config.

The names and shapes of weights determine many fields of a config. They are inferred twice, from the weights in the file
and from the network that the config describes; a field that differs is the cause.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Shapes = dict[str, tuple[int, ...]]


def explain_mismatch(shapes: Shapes, expected: Shapes) -> list[str]:
    """Lists the fields of the config that differ; if there are none, the weights that do.

    Args:
        shapes: Shapes of the weights in the file, by name.
        expected: Shapes of the network's weights.

    Returns:
        Short phrases, the most informative ones first; empty if everything fits.
    """
    of_file, of_config = _infer_config(shapes), _infer_config(expected)
    fields = [
        f"{field}: {of_config[field]} in config.json, {value} in the weights"
        for field, value in of_file.items()
        if value != of_config[field] and None not in (value, of_config[field])
    ]
    missing = [f"{name} is missing" for name in expected if name not in shapes]
    unknown = [f"{name} is unknown" for name in shapes if name not in expected]
    reshaped = [
        f"{name} has shape {shape}, not {expected[name]}"
        for name, shape in shapes.items()
        if name in expected and shape != expected[name]
    ]
    return fields or missing + unknown + reshaped


def _infer_config(shapes: Shapes) -> dict[str, str | None]:
    """Infers fields of the config from the weights; None for a field that they do not determine."""
    if "pos_embed.proj.weight" in shapes:
        return _transformer(shapes)
    if any(name.startswith("encoder.") for name in shapes):
        return _autoencoder(shapes)
    return _unet(shapes)


def _transformer(shapes: Shapes) -> dict[str, str | None]:
    width, channels, patch, _ = shapes["pos_embed.proj.weight"]
    last = shapes.get("proj_out_2.weight")
    classes = shapes.get("transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight")
    return {
        "num_layers": _count(shapes, r"transformer_blocks\.(\d+)\."),
        "num_attention_heads x attention_head_dim": str(width),
        "in_channels": str(channels),
        "patch_size": str(patch),
        "out_channels": str(last[0] / patch**2).removesuffix(".0") if last else None,
        # One row more than there are classes: the null class.
        "num_embeds_ada_norm": str(classes[0] - 1) if classes else None,
        "attention_bias": str("transformer_blocks.0.attn1.to_q.bias" in shapes).lower(),
    }


def _autoencoder(shapes: Shapes) -> dict[str, str | None]:
    first, latent = shapes.get("encoder.conv_in.weight"), shapes.get("decoder.conv_in.weight")
    codes = shapes.get("quantize.embedding.weight")
    levels = int(_count(shapes, r"encoder\.down_blocks\.(\d+)\.") or 0)
    widths = [shapes.get(f"encoder.down_blocks.{level}.resnets.0.conv1.weight", (0,))[0] for level in range(levels)]
    return {
        "in_channels": str(first[1]) if first else None,
        "latent_channels": str(latent[1]) if latent else None,
        "block_out_channels": str(tuple(widths)) if widths and all(widths) else None,
        "layers_per_block": _count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "mid_block_add_attention": str(any(".mid_block.attentions." in name for name in shapes)).lower(),
        "use_quant_conv": str("quant_conv.weight" in shapes).lower(),
        "num_vq_embeddings": str(codes[0]) if codes else None,
        "vq_embed_dim": str(codes[1]) if codes else None,
    }


def _unet(shapes: Shapes) -> dict[str, str | None]:
    levels = 1 + max(
        (int(n) for n in re.findall(r"^down_blocks\.(\d+)\.", "\n".join(shapes), re.MULTILINE)), default=-1
    )
    widths, attention = _level_widths(shapes, levels), _attention(shapes)
    conv_in, conv_out = shapes.get("conv_in.weight"), shapes.get("conv_out.weight")
    linear = shapes.get("time_embedding.linear_1.weight")
    classes = sorted({name.split(".")[1] for name in shapes if name.startswith("class_embedding.")})
    rows = {name: shape[0] for name, shape in shapes.items() if name.endswith(".to_q.weight")}
    text = sorted({shape[1] for name, shape in shapes.items() if name.endswith(".attn2.to_k.weight")})
    wide = sorted(name.partition(".to_q")[0] for name, row in rows.items() if row != shapes[name][1])
    return {
        "in_channels": str(conv_in[1]) if conv_in else None,
        "out_channels": str(conv_out[0]) if conv_out else None,
        "block_out_channels": str(tuple(widths)) if widths and None not in widths else None,
        "layers_per_block": _count(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": attention["down_blocks"],
        "add_attention": attention["mid_block"] if any(name.startswith("mid_block.") for name in shapes) else None,
        "up_block_types": attention["up_blocks"],
        "mid_block_type": "a block" if any(name.startswith("mid_block.") for name in shapes) else "null",
        "resnet_time_scale_shift": _time_scale_shift(shapes),
        "class_embed_type or num_class_embeds": "set" if classes else "null",
        "cross_attention_dim": ", ".join(map(str, text)) or None,
        "transformer_layers_per_block": _count(shapes, r".*\.attentions\.0\.transformer_blocks\.(\d+)\."),
        "time_embedding_dim": str(linear[0]) if linear else None,
        "time_embedding_type": "positional" if "time_proj.weight" not in shapes else "another type",
        "downsample_type": _resampler(shapes, "downsamplers"),
        "upsample_type": _resampler(shapes, "upsamplers"),
        "attention_head_dim": f"not a divisor of the channels of {', '.join(wide)}" if wide else "a divisor",
    }


def _level_widths(shapes: Mapping[str, tuple[int, ...]], levels: int) -> list[int | None]:
    """Returns the channels of each level."""
    names = [f"down_blocks.{level}.resnets.0.conv1.weight" for level in range(levels)]
    return [shapes[name][0] if name in shapes else None for name in names]


def _attention(shapes: Shapes) -> dict[str, str]:
    """Describes where there is attention, for the two lists of blocks and for the middle block."""
    blocks = {
        side: sorted({int(n) for name in shapes for n in re.findall(rf"^{side}\.(\d+)\.attentions\.", name)})
        for side in ("down_blocks", "up_blocks")
    }
    texts = {
        side: f"attention in {', '.join(f'{side}.{number}' for number in numbers)}" if numbers else "no attention"
        for side, numbers in blocks.items()
    }
    middle = any(name.startswith("mid_block.attentions.") for name in shapes)
    return {**texts, "mid_block": "true" if middle else "false"}


def _count(shapes: Shapes, pattern: str) -> str | None:
    numbers = {int(number) for name in shapes for number in re.findall("^" + pattern, name)}
    return str(1 + max(numbers)) if numbers else None


def _time_scale_shift(shapes: Shapes) -> str | None:
    """Returns the kind of conditioning on t: a layer that is both scaled and shifted has two numbers per channel."""
    layer = "down_blocks.0.resnets.0"
    projected, channels = shapes.get(f"{layer}.time_emb_proj.weight"), shapes.get(f"{layer}.conv1.weight")
    if not (projected and channels):
        return None
    return "'scale_shift'" if projected[0] == 2 * channels[0] else "'default'"


def _resampler(shapes: Shapes, kind: str) -> str | None:
    inside = {name.split(f".{kind}.0.")[1] for name in shapes if f".{kind}.0." in name}
    if not inside:
        return None
    return "'resnet'" if any(name.startswith("conv1.") for name in inside) else "'conv'"
