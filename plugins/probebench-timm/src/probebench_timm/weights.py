"""Strict loading of weights: the file has exactly the weights of the network, with or without a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from probebench.api import UsageError
from probebench_timm.packaged_weights import packaged

if TYPE_CHECKING:
    from probebench_timm.network import TimmModel


def load(net: TimmModel, name: str) -> None:
    """Loads weights into a network, in fp32.

    Args:
        net: A timm model without a classifier.
        name: Path of a ``.safetensors`` file, or of a ``.pth`` or ``.pt`` file that holds a state dict, alone or
            under ``state_dict`` or ``model``; or ``package``, see `packaged_weights`. No code is executed.

    Raises:
        UsageError: The file or package does not exist or cannot be read, or its weights do not fit the network.
    """
    path, stored = _from_package(net) if name == "package" else _from_file(name)
    classifier = _prefixes(net.pretrained_cfg.get("classifier"))
    state = {key: tensor for key, tensor in stored.items() if not key.startswith(classifier)}
    expected = net.state_dict()
    if mismatches := _mismatches(state, expected):
        more = len(mismatches) - 2
        shown = "; ".join(mismatches[:2]) + (f"; and {more} more" if more > 0 else "")
        raise UsageError(
            f"weights do not fit {net.pretrained_cfg['architecture']}: {shown}",
            where=str(path),
            hint="set the option model to the model that the weights were saved from",
        )
    net.load_state_dict({**expected, **{key: _fp32(tensor) for key, tensor in state.items()}})


def _from_package(net: TimmModel) -> tuple[Path, dict[str, Tensor]]:
    source = packaged(net.pretrained_cfg["architecture"])
    path = source.path()
    return path, {source.rename(key): tensor for key, tensor in _read(path).items()}


def _from_file(name: str) -> tuple[Path, dict[str, Tensor]]:
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(
            f"no file {name!r}",
            where="option weights of timm",
            hint="weights=FILE, a .safetensors, .pth or .pt file; or weights=package, or weights=none",
        )
    return path, _read(path)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise UsageError(
            f"weights of type {path.suffix or 'unknown'!r} are not supported",
            where=str(path),
            hint="save the model's state_dict() with safetensors.torch.save_file",
        )
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # a damaged pickle can raise any exception
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"{path.name} cannot be read: {cause}",
            where=str(path),
            hint="save the model's state_dict() with safetensors.torch.save_file",
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(map(_is_weight, content.items())):
        raise UsageError(
            f"{path.name} does not contain a state dict",
            where=str(path),
            hint="save names and tensors, alone or under 'state_dict' or 'model'",
        )
    return content


def _is_weight(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _prefixes(classifier: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns the prefixes of the classifier's weights; some models have two classifiers."""
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    return tuple(f"{name}." for name in names)


def _mismatches(state: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    # Batch normalisation counts its batches, but does not use the count in eval mode; old files lack it.
    missing = [f"{key} is missing" for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [f"{key} is unknown" for key in state if key not in expected]
    shapes = [
        f"{key} is {tuple(tensor.shape)}, not {tuple(expected[key].shape)}"
        for key, tensor in state.items()
        if key in expected and tensor.shape != expected[key].shape
    ]
    return missing + unknown + shapes


def _fp32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
