"""Reads and checks the ``config.json`` of a network.

diffusers fills missing fields with its current defaults and ignores unknown ones. The weights load in any case, but the
features differ. So a config must contain every field that the shapes of the weights do not determine.
"""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, TypeVar

from diffusers import (
    AutoencoderKL,
    DiTTransformer2DModel,
    Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)

from probebench.api import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from diffusers import ModelMixin

T = TypeVar("T")

_UNET = (
    "act_fn",
    "attention_head_dim",
    "center_input_sample",
    "downsample_padding",
    "flip_sin_to_cos",
    "freq_shift",
    "mid_block_scale_factor",
    "norm_eps",
    "norm_num_groups",
)
REQUIRED_FIELDS: dict[type[ModelMixin], tuple[str, ...]] = {
    UNet2DModel: (*_UNET, "time_embedding_type"),
    UNet2DConditionModel: _UNET,
    DiTTransformer2DModel: ("activation_fn", "attention_head_dim", "num_attention_heads", "sample_size"),
    AutoencoderKL: ("act_fn",),
    # The pipeline of VQModel did not scale latents before this field existed, and its default is another value.
    VQModel: ("act_fn", "scaling_factor"),
}
"""Fields that change the features but not the shapes of the weights. Every version of diffusers that saved such a
network wrote them. Fields that were added later (`resnet_time_scale_shift`, `dropout`, the `scaling_factor` of
`AutoencoderKL`, ...) are not required, because their default is what older versions did."""

_UNSUPPORTED_CONDITIONS = ("addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "time_cond_proj_dim")
"""Fields of U-Nets that take other inputs than image, step, class and text."""

_BACKBONE_OF = {"UNet2DModel": "ddpm", "UNet2DConditionModel": "ldm", "DiTTransformer2DModel": "dit"}

_EMA_FIELDS = (
    "decay",
    "min_decay",
    "optimization_step",
    "update_after_step",
    "use_ema_warmup",
    "inv_gamma",
    "power",
)
"""Fields that diffusers' `EMAModel.save_pretrained` adds to the config of the averaged network."""

SAVED_HINT = "copy it from the folder that diffusers' save_pretrained wrote"


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UsageError: The file is missing or contains something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.name} is missing", where=str(path.parent), hint=SAVED_HINT) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}", where=str(path.parent), hint=SAVED_HINT) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path.name} is not a JSON object", where=str(path.parent), hint=SAVED_HINT)
    return document


def model_config(path: Path, models: tuple[type[ModelMixin], ...]) -> tuple[type[ModelMixin], dict[str, Any]]:
    """Returns the class of a model and its config, without the fields that `EMAModel` adds.

    Args:
        path: ``config.json``.
        models: Accepted classes; the first one is used where the config names none.

    Raises:
        UsageError: The model is of another class, or the config lacks a required field or has an unknown one.
    """
    config = {key: value for key, value in read_json(path).items() if key not in _EMA_FIELDS}
    accepted = {model.__name__: model for model in models}
    kind = config.get("_class_name", models[0].__name__)
    known = set(inspect.signature(accepted.get(kind, models[0]).__init__).parameters)
    if kind == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero":
        # The name of a DiT before diffusers 0.29. Most fields of that class belong to other transformers.
        kind = "DiTTransformer2DModel"
        others = set(inspect.signature(Transformer2DModel.__init__).parameters) - known
        config = {key: value for key, value in config.items() if key not in others}
    if kind not in accepted:
        backbone = _BACKBONE_OF.get(kind)
        raise UsageError(
            f"the checkpoint is a {kind}, not a {' or a '.join(accepted)}",
            where=str(path.parent),
            hint=f"{backbone}:checkpoint=..." if backbone else f"the folder of a {' or '.join(accepted)}",
        )
    model = accepted[kind]
    if missing := [name for name in REQUIRED_FIELDS[model] if name not in config]:
        raise UsageError(
            f"config.json lacks {', '.join(missing)}, which the weights do not determine",
            where=str(path.parent),
            hint="use the config.json that save_pretrained wrote for these weights",
        )
    if unknown := [name for name in config if not name.startswith("_") and name not in known]:
        raise UsageError(
            f"config.json has {', '.join(unknown)}, which {kind} of the installed diffusers does not know",
            where=str(path.parent),
            hint="pip install --upgrade diffusers, or correct the name of the field",
        )
    return model, config


def check_conditions(config: dict[str, Any], path: Path) -> None:
    """Refuses networks that need an input which a frozen backbone cannot give.

    Args:
        config: Config of a network that predicts noise.
        path: Its file.

    Raises:
        UsageError: The network takes sigma in place of the step, classes by other means than a table, or other inputs
            than image, step, class and text.
    """
    time = config.get("time_embedding_type", "positional")
    if time not in ("positional", "learned"):
        raise UsageError(
            f"time_embedding_type {time!r}: the network takes sigma, not the step t",
            where=str(path.parent),
            hint="use a DDPM checkpoint; networks of score-based SDEs are not supported",
        )
    if (classes := config.get("class_embed_type")) is not None:
        raise UsageError(
            f"class_embed_type {classes!r}: there is no table of classes, so there is no mean class to feed",
            where=str(path.parent),
            hint="use a network with num_class_embeds, or one without classes",
        )
    if extra := [name for name in _UNSUPPORTED_CONDITIONS if config.get(name) is not None]:
        raise UsageError(
            f"the network takes other inputs than image, step, class and text: {', '.join(extra)}",
            where=str(path.parent),
            hint="use a network such as that of Stable Diffusion 1 or 2",
        )


def check_pixel_space(path: Path) -> None:
    """Refuses pipelines of latents and of text; the shapes of some latent U-Nets are those of pixel-space ones.

    Args:
        path: ``model_index.json``, which need not exist.

    Raises:
        UsageError: The pipeline has an autoencoder, a text encoder or a transformer.
    """
    if not path.is_file():
        return
    index = read_json(path)
    for part in ("vqvae", "vae", "text_encoder", "transformer"):
        # A pipeline that lacks an optional component stores [null, null].
        if index.get(part) not in (None, [None, None]):
            backbone = "dit" if index.get("transformer") else "ldm"
            raise UsageError(
                f"the checkpoint is a {index.get('_class_name')} with a {part}",
                where=str(path.parent),
                hint=f"{backbone}:checkpoint=...",
            )


def build(path: Path, config: dict[str, Any], make: Callable[[dict[str, Any]], T]) -> T:
    """Builds the object that a config describes.

    Args:
        path: File of the config, for the error.
        config: The config.
        make: Constructor of diffusers.

    Raises:
        UsageError: diffusers raises an error.
    """
    try:
        return make(config)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"diffusers cannot build the object that {path.name} describes: {reason}",
            where=str(path.parent),
            hint=SAVED_HINT,
        ) from error
