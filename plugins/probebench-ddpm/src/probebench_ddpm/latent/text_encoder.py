"""What a network of text and image is told: the empty text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from probebench.api import UsageError
from probebench_ddpm.loading.layout import part_of_pipeline
from probebench_ddpm.loading.model_config import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from torch import Tensor

Prompt = Literal["empty", "zeros"]


def text_condition(place: Path, network: UNet2DConditionModel, prompt: Prompt) -> Tensor:
    """The text that the network attends to, for any image.

    Args:
        place: The network's checkpoint.
        network: Who is told.
        prompt: The empty text through the checkpoint's own text encoder, or zeros in its place.

    Returns:
        float32 ``(1, tokens, channels)``. Of zeros one token is enough: attention over equal ones gives the same for
        any number of them.

    Raises:
        UsageError: There is no text encoder that can be read, or it is another network's.
    """
    channels = network.config.cross_attention_dim
    widths = {channels} if isinstance(channels, int) else set(channels)
    if len(widths) != 1:
        raise UsageError(f"the network attends to texts of different widths: {sorted(widths)}", where=str(place))
    (width,) = widths
    if prompt == "zeros":
        return torch.zeros(1, 1, width)
    encoded = _empty_text(place)
    if encoded.shape[-1] != width:
        raise UsageError(
            f"the text encoder gives {encoded.shape[-1]} channels, the network attends to {width}",
            where=str(place),
            hint="the text encoder that the network was trained with, or prompt=zeros",
        )
    return encoded


def _empty_text(place: Path) -> Tensor:
    """The last hidden states of a CLIP text encoder for the empty text, padded as Stable Diffusion pads it."""
    encoder, tokens = part_of_pipeline(place, "text_encoder"), part_of_pipeline(place, "tokenizer")
    if encoder is None or tokens is None:
        raise UsageError(
            f"there is no {'text_encoder' if encoder is None else 'tokenizer'}/, and the network attends to a text",
            where=str(place),
            hint="the folder of the whole pipeline, or prompt=zeros",
        )
    config = read_json(encoder / "config.json")
    if config.get("model_type") != "clip_text_model":
        raise UsageError(
            f"the text encoder is a {config.get('model_type')}, not a clip_text_model",
            where=str(encoder),
            hint="prompt=zeros",
        )
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise UsageError(
            "the empty text needs transformers",
            where="option prompt of ldm",
            hint="pip install 'probebench-ddpm[text]', or prompt=zeros",
        ) from error
    try:
        tokenizer = CLIPTokenizer.from_pretrained(tokens, local_files_only=True)
        model, loading = CLIPTextModel.from_pretrained(encoder, local_files_only=True, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"transformers cannot read the text encoder: {reason}", where=str(encoder)) from error
    if missing := sorted(loading["missing_keys"]):
        raise UsageError(f"weights of the text encoder are missing: {', '.join(missing[:3])}", where=str(encoder))
    padded = tokenizer(
        "", padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    mask = padded.attention_mask if getattr(model.config, "use_attention_mask", False) else None
    with torch.inference_mode():
        states: Tensor = model.float().eval()(padded.input_ids, attention_mask=mask)[0]
    return states.clone()
