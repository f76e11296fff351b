"""Why weights do not fit a network, in words of its config.

A network's config shows in the names and shapes of its weights. What can be read off them is read off twice, once from
the weights in the file and once from the network that the config gives, and where the two differ the field is known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Shapes = dict[str, tuple[int, ...]]


def explain(found: Shapes, expected: Shapes) -> list[str]:
    """What is wrong, by fields of the config where they are to blame, else by the names of the weights.

    Args:
        found: Shapes of the weights in the file, by name.
        expected: Those of the network.

    Returns:
        Short phrases, the most telling ones first; empty when everything fits.
    """
    given, wanted = _read_off(found), _read_off(expected)
    fields = [
        f"{field} is {wanted[field]} by config.json and {value} by the weights"
        for field, value in given.items()
        if value != wanted[field] and None not in (value, wanted[field])
    ]
    missing = [f"{name} is missing" for name in expected if name not in found]
    unknown = [f"{name} is unknown" for name in found if name not in expected]
    shapes = [
        f"{name} is {shape}, not {expected[name]}"
        for name, shape in found.items()
        if name in expected and shape != expected[name]
    ]
    return fields or missing + unknown + shapes


def _read_off(shapes: Shapes) -> dict[str, str | None]:
    """Fields of the config as the weights show them; None for what they do not show."""
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
        # One row more than classes: that of an image of none.
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
    first, attention = _layers(shapes, levels), _attention(shapes)
    conv_in, conv_out = shapes.get("conv_in.weight"), shapes.get("conv_out.weight")
    linear = shapes.get("time_embedding.linear_1.weight")
    classes = sorted({name.split(".")[1] for name in shapes if name.startswith("class_embedding.")})
    rows = {name: shape[0] for name, shape in shapes.items() if name.endswith(".to_q.weight")}
    text = sorted({shape[1] for name, shape in shapes.items() if name.endswith(".attn2.to_k.weight")})
    wide = sorted(name.partition(".to_q")[0] for name, row in rows.items() if row != shapes[name][1])
    return {
        "in_channels": str(conv_in[1]) if conv_in else None,
        "out_channels": str(conv_out[0]) if conv_out else None,
        "block_out_channels": str(tuple(first)) if first and None not in first else None,
        "layers_per_block": _count(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": f"with attention at {attention['down_blocks']}",
        "add_attention": attention["mid_block"] if any(name.startswith("mid_block.") for name in shapes) else None,
        "up_block_types": f"with attention at {attention['up_blocks']}",
        "mid_block_type": "a block" if any(name.startswith("mid_block.") for name in shapes) else "null",
        "resnet_time_scale_shift": _time_scale_shift(shapes),
        "class_embed_type or num_class_embeds": "set" if classes else "null",
        "cross_attention_dim": ", ".join(map(str, text)) or None,
        "transformer_layers_per_block": _count(shapes, r".*\.attentions\.0\.transformer_blocks\.(\d+)\."),
        "time_embedding_dim": str(linear[0]) if linear else None,
        "time_embedding_type": "positional" if "time_proj.weight" not in shapes else "another",
        "downsample_type": _resampler(shapes, "downsamplers"),
        "upsample_type": _resampler(shapes, "upsamplers"),
        "attention_head_dim": f"no divisor of the channels at {', '.join(wide)}" if wide else "a divisor",
    }


def _layers(shapes: Mapping[str, tuple[int, ...]], levels: int) -> list[int | None]:
    """Channels of each level."""
    names = [f"down_blocks.{level}.resnets.0.conv1.weight" for level in range(levels)]
    return [shapes[name][0] if name in shapes else None for name in names]


def _attention(shapes: Shapes) -> dict[str, str]:
    """Where there is attention, for the two lists of blocks; for the middle whether."""
    found = {
        side: sorted({int(n) for name in shapes for n in re.findall(rf"^{side}\.(\d+)\.attentions\.", name)})
        for side in ("down_blocks", "up_blocks")
    }
    texts = {side: ", ".join(map(str, blocks)) or "none" for side, blocks in found.items()}
    middle = any(name.startswith("mid_block.attentions.") for name in shapes)
    return {**texts, "mid_block": "true" if middle else "false"}


def _count(shapes: Shapes, pattern: str) -> str | None:
    numbers = {int(number) for name in shapes for number in re.findall("^" + pattern, name)}
    return str(1 + max(numbers)) if numbers else None


def _time_scale_shift(shapes: Shapes) -> str | None:
    """A layer that is scaled as well as shifted by t takes two numbers for each channel."""
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
