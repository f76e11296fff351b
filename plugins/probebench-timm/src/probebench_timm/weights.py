"""Weights from a file, strictly: what the network has must be in the file, and nothing else but a classifier."""

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
            under ``state_dict`` or ``model``; or ``package``, see `packaged_weights`. Nothing is executed.

    Raises:
        UsageError: There is no such file or package, it cannot be read, or its weights are not those of the network.
    """
    path, found = _from_package(net) if name == "package" else _from_file(name)
    classifier = _prefixes(net.pretrained_cfg.get("classifier"))
    state = {key: tensor for key, tensor in found.items() if not key.startswith(classifier)}
    expected = net.state_dict()
    if wrong := _misfits(state, expected):
        shown = "; ".join(wrong[:2]) + (f"; and {len(wrong) - 2} more" if len(wrong) > 2 else "")
        raise UsageError(
            f"weights do not fit {net.pretrained_cfg['architecture']}: {shown}",
            where=str(path),
            hint="option model must name the model they were saved from",
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
            hint="a .safetensors, .pth or .pt file, package or none",
        )
    return path, _read(path)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise UsageError(
            f"weights of type {path.suffix or 'unknown'!r} cannot be read",
            where=str(path),
            hint="a .safetensors, .pth or .pt file",
        )
    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # a damaged pickle ends in whatever exception it leads its reader to
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"{path.name} cannot be read: {cause}",
            where=str(path),
            hint="save the model's state_dict() with safetensors.torch.save_file",
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not found or not all(map(_is_weight, found.items())):
        raise UsageError(
            f"{path.name} holds no state dict",
            where=str(path),
            hint="names and tensors, alone or under 'state_dict' or 'model'",
        )
    return found


def _is_weight(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _prefixes(classifier: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """What the names of a classifier's weights begin with; some models have two."""
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    return tuple(f"{name}." for name in names)


def _misfits(state: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    # Batch normalisation counts its batches and never uses the count in eval mode; old files do not have it.
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
