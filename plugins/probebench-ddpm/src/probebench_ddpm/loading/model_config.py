"""What a checkpoint's JSON files must say, and must not.

diffusers fills what a config leaves out with its defaults and passes over what it does not know. The weights fit all
the same, and the features are others. So here a config must say all that the shapes of the weights cannot tell.
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
UNTOLD: dict[type[ModelMixin], tuple[str, ...]] = {
    UNet2DModel: (*_UNET, "time_embedding_type"),
    UNet2DConditionModel: _UNET,
    DiTTransformer2DModel: ("activation_fn", "attention_head_dim", "num_attention_heads", "sample_size"),
    AutoencoderKL: ("act_fn",),
    # Its pipeline did not scale latents before there was such a field, whose default is another.
    VQModel: ("act_fn", "scaling_factor"),
}
"""Fields that change the features and not the weights' shapes. Every diffusers that ever saved such a network wrote
them; for what came later (`resnet_time_scale_shift`, `dropout`, the `scaling_factor` of `AutoencoderKL`, ...) its
default is what an older version did."""

_ALSO_TOLD = ("addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "time_cond_proj_dim")
"""What a U-Net is told besides image, step, class and text."""

_READERS = {"UNet2DModel": "ddpm", "UNet2DConditionModel": "ldm", "DiTTransformer2DModel": "dit"}

_EMA = ("decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power")
"""What diffusers' `EMAModel.save_pretrained` adds to the config of the network that it averages."""

SAVED = "a folder as diffusers' save_pretrained writes it"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UsageError: The file is missing or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.name} is missing", where=str(path.parent), hint=SAVED) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}", where=str(path.parent)) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path.name} is not a JSON object", where=str(path.parent))
    return document


def model_config(path: Path, models: tuple[type[ModelMixin], ...]) -> tuple[type[ModelMixin], dict[str, Any]]:
    """The class of a model and its config, without what `EMAModel` adds.

    Args:
        path: ``config.json``.
        models: Classes that will do; the first one is meant where none is named.

    Raises:
        UsageError: It is of another kind, leaves out what the weights cannot tell, or says what diffusers does not
            know.
    """
    config = {key: value for key, value in read_json(path).items() if key not in _EMA}
    named = {model.__name__: model for model in models}
    kind = config.get("_class_name", models[0].__name__)
    known = set(inspect.signature(named.get(kind, models[0]).__init__).parameters)
    if kind == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero":
        # What a DiT was called before diffusers 0.29. Most of its fields were of other transformers.
        kind = "DiTTransformer2DModel"
        others = set(inspect.signature(Transformer2DModel.__init__).parameters) - known
        config = {key: value for key, value in config.items() if key not in others}
    if kind not in named:
        other = f"{reader}:checkpoint=..." if (reader := _READERS.get(kind)) else f"a {' or '.join(named)}"
        raise UsageError(
            f"the checkpoint is a {kind}, not a {' or a '.join(named)}", where=str(path.parent), hint=other
        )
    model = named[kind]
    if left_out := [name for name in UNTOLD[model] if name not in config]:
        raise UsageError(
            f"config.json does not say {', '.join(left_out)}, and the weights fit any value",
            where=str(path.parent),
            hint="the config.json that save_pretrained wrote for these weights",
        )
    if unknown := [name for name in config if not name.startswith("_") and name not in known]:
        raise UsageError(
            f"config.json says {', '.join(unknown)}, which {kind} does not know",
            where=str(path.parent),
            hint="a newer diffusers, or take out what is a slip of the pen",
        )
    return model, config


def check_conditions(config: dict[str, Any], path: Path) -> None:
    """Refuses a network that is told what nobody can tell it here.

    Args:
        config: Of a network that predicts noise.
        path: Where it is from.

    Raises:
        UsageError: It is told sigma, classes by other means than a table, or more than image, step, class and text.
    """
    time = config.get("time_embedding_type", "positional")
    if time not in ("positional", "learned"):
        raise UsageError(
            f"time_embedding_type {time!r}: the network is told sigma, not the step t",
            where=str(path.parent),
            hint="a DDPM; networks of score-based SDEs are another backbone, not there yet",
        )
    if (classes := config.get("class_embed_type")) is not None:
        raise UsageError(
            f"class_embed_type {classes!r}: there is no table of classes, and so no mean of it to feed",
            where=str(path.parent),
            hint="a network of num_class_embeds, or of none",
        )
    if told := [name for name in _ALSO_TOLD if config.get(name) is not None]:
        raise UsageError(
            f"the network is told more than image, step, class and text: {', '.join(told)}",
            where=str(path.parent),
            hint="a network such as that of Stable Diffusion 1 or 2",
        )


def check_pixels(path: Path) -> None:
    """Refuses pipelines whose network does not see pixels: the shapes of some latent U-Nets do not tell.

    Args:
        path: ``model_index.json``, which need not exist.

    Raises:
        UsageError: There is an encoder before the network, or a text model.
    """
    if not path.is_file():
        return
    index = read_json(path)
    for part in ("vqvae", "vae", "text_encoder", "transformer"):
        # A pipeline that may go without a part says [null, null].
        if index.get(part) not in (None, [None, None]):
            reader = "dit" if index.get("transformer") else "ldm"
            raise UsageError(
                f"the checkpoint is a {index.get('_class_name')} with a {part}",
                where=str(path.parent),
                hint=f"{reader}:checkpoint=...",
            )


def build(path: Path, config: dict[str, Any], make: Callable[[dict[str, Any]], T]) -> T:
    """What diffusers makes of a config.

    Raises:
        UsageError: It cannot.
    """
    try:
        return make(config)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"diffusers cannot build what {path.name} describes: {reason}",
            where=str(path.parent),
            hint="a network and a scheduler as save_pretrained writes them",
        ) from error
