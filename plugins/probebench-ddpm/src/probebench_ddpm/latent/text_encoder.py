"""The text condition of a text-to-image network: the empty text, encoded by the CLIP text encoder of its pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from probebench.api import UsageError
from probebench_ddpm.loading.layout import pipeline_component
from probebench_ddpm.loading.model_config import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from torch import Tensor

Prompt = Literal["empty", "zeros"]


def text_condition(path: Path, network: UNet2DConditionModel, prompt: Prompt) -> Tensor:
    """Returns the text embedding that the network attends to, for all images.

    Args:
        path: The network's checkpoint.
        network: The network that gets the embedding.
        prompt: ``empty``: the empty text, encoded by the checkpoint's text encoder. ``zeros``: zeros.

    Returns:
        float32 ``(1, tokens, channels)``. For zeros there is one token: attention over equal tokens has the same
        result for any number of them.

    Raises:
        UsageError: There is no text encoder that can be read, or its width is not that of the network.
    """
    channels = network.config.cross_attention_dim
    widths = {channels} if isinstance(channels, int) else set(channels)
    if len(widths) != 1:
        raise UsageError(
            f"the network attends to texts of several widths: {', '.join(map(str, sorted(widths)))}",
            where=str(path),
            hint="use a network such as that of Stable Diffusion 1 or 2",
        )
    (width,) = widths
    if prompt == "zeros":
        return torch.zeros(1, 1, width)
    embedding = _encode_empty_text(path)
    if embedding.shape[-1] != width:
        raise UsageError(
            f"the text encoder has {embedding.shape[-1]} channels, the network attends to {width}",
            where=str(path),
            hint="use the text encoder that the network was trained with, or prompt=zeros",
        )
    return embedding


def _encode_empty_text(path: Path) -> Tensor:
    """Returns the last hidden states of a CLIP text encoder for the empty text, padded as in Stable Diffusion."""
    encoder, tokens = pipeline_component(path, "text_encoder"), pipeline_component(path, "tokenizer")
    if encoder is None or tokens is None:
        missing = "text_encoder" if encoder is None else "tokenizer"
        raise UsageError(
            f"the checkpoint has no {missing}/, and its network is conditioned on text",
            where=str(path),
            hint="checkpoint=FOLDER, the folder of the whole pipeline, or prompt=zeros",
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
            "prompt=empty needs the package transformers, which is not installed",
            where="option prompt of ldm",
            hint="pip install 'probebench-ddpm[text]', or prompt=zeros",
        ) from error
    try:
        tokenizer = CLIPTokenizer.from_pretrained(tokens, local_files_only=True)
        model, loading = CLIPTextModel.from_pretrained(encoder, local_files_only=True, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"transformers cannot load the text encoder: {reason}",
            where=str(encoder),
            hint="copy text_encoder/ and tokenizer/ of the pipeline again, or prompt=zeros",
        ) from error
    if missing_keys := sorted(loading["missing_keys"]):
        raise UsageError(
            f"weights of the text encoder are missing: {', '.join(missing_keys[:3])}",
            where=str(encoder),
            hint="copy text_encoder/ of the pipeline again, or prompt=zeros",
        )
    padded = tokenizer(
        "", padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    mask = padded.attention_mask if getattr(model.config, "use_attention_mask", False) else None
    with torch.inference_mode():
        states: Tensor = model.float().eval()(padded.input_ids, attention_mask=mask)[0]
    return states.clone()
