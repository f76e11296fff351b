"""Loads weights into a network: all of them, no unknown ones, and without running code from the file."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from probebench.api import UsageError
from probebench_ddpm.loading.config_mismatch import explain_mismatch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

_OLD_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names in an attention layer before diffusers 0.15. Networks of that time, such as those of the DDPM paper on the hub,
are still stored with them; diffusers renames them on loading, and so does this module."""


def load_weights(network: nn.Module, path: Path) -> None:
    """Loads weights in fp32.

    Args:
        network: The network that the config describes.
        path: ``.safetensors``, or ``.bin``, ``.pt`` and ``.pth``, from which only tensors are read.

    Raises:
        UsageError: The file cannot be read, or does not fit the network.
    """
    state = {_current_name(name): tensor for name, tensor in read_tensors(path).items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if problems := explain_mismatch(shapes, expected):
        shown = "; ".join(problems[:2]) + (f"; and {len(problems) - 2} more" if len(problems) > 2 else "")
        raise UsageError(
            f"the weights do not fit config.json: {shown}",
            where=str(path),
            hint="use the config.json that these weights were saved with",
        )
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a file, by name.

    Raises:
        UsageError: The file cannot be read, or contains something else.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, str(error)) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path.name} is damaged or contains other objects than tensors; it is not loaded, because unpickling "
            "those can run code",
            where=str(path.parent),
            hint="if you trust it, load it in diffusers and call save_pretrained(FOLDER, safe_serialization=True)",
        ) from error
    except (AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise _unreadable(path, str(error).partition("\n")[0]) from error
    return _check_state_dict(state, path)


def _unreadable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{path.name} cannot be read: {reason}", where=str(path.parent), hint="copy or download the file again"
    )


def _check_state_dict(state: Any, path: Path) -> dict[str, Tensor]:  # noqa: ANN401 - any content of a file
    if isinstance(state, dict) and state and all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        return state
    content = ", ".join(map(str, list(state)[:4])) if isinstance(state, dict) else type(state).__name__
    raise UsageError(
        f"{path.name} is not the state dict of a network: it contains {content or 'nothing'}",
        where=str(path.parent),
        hint="save the network with torch.save(unet.state_dict(), FILE) or unet.save_pretrained(FOLDER)",
    )


def _current_name(name: str) -> str:
    match = re.fullmatch(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)", name)
    return f"{match[1]}.{_OLD_ATTENTION_NAMES[match[2]]}.{match[3]}" if match else name
