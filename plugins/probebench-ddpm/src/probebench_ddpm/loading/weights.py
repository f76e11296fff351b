"""Weights from a file into a network: all of them, none besides, and no code from the file."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from probebench.api import UsageError
from probebench_ddpm.loading.config_mismatch import explain

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names in an attention layer before diffusers 0.15. Networks of that time, such as those of the DDPM paper on the hub,
are still stored with them; diffusers renames them when it loads one, and so do we."""


def fill(network: nn.Module, path: Path) -> None:
    """Loads weights in fp32.

    Args:
        network: As the config gives it.
        path: ``.safetensors``, or ``.bin``, ``.pt`` and ``.pth``, of which nothing but tensors is read.

    Raises:
        UsageError: The file cannot be read, or does not fit the network.
    """
    state = {_renamed(name): tensor for name, tensor in read(path).items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if wrong := explain(found, expected):
        shown = "; ".join(wrong[:2]) + (f"; and {len(wrong) - 2} more" if len(wrong) > 2 else "")
        raise UsageError(
            f"weights do not fit config.json: {shown}", where=str(path), hint="the config they were saved with"
        )
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Raises:
        UsageError: It cannot be read, or holds something else.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UsageError(f"{path.name} cannot be read: {error}", where=str(path.parent)) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path.name} holds more than tensors, or is damaged: it is not read, because a pickle can run code",
            where=str(path.parent),
            hint="where you trust it, load it there and save_pretrained(FOLDER, safe_serialization=True)",
        ) from error
    except (AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path.name} cannot be read: {reason}", where=str(path.parent)) from error
    return _state_dict(state, path)


def _state_dict(state: Any, path: Path) -> dict[str, Tensor]:  # noqa: ANN401 - whatever was in the file
    if isinstance(state, dict) and state and all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        return state
    inside = ", ".join(map(str, list(state)[:4])) if isinstance(state, dict) else type(state).__name__
    raise UsageError(
        f"{path.name} is not the state dict of a network: it holds {inside or 'nothing'}",
        where=str(path.parent),
        hint="torch.save(unet.state_dict(), FILE), or save_pretrained",
    )


def _renamed(name: str) -> str:
    match = re.fullmatch(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)", name)
    return f"{match[1]}.{_OLD_ATTENTION[match[2]]}.{match[3]}" if match else name
