"""Where a network runs and in which arithmetic, when the user leaves it to us."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from probebench.config import suggest
from probebench.errors import UsageError

if TYPE_CHECKING:
    from probebench.api.types import Precision

PRECISIONS = ("auto", "bf16", "fp32")


def pick_device(wanted: str) -> str:
    """``auto`` is the first CUDA device, or the CPU.

    Raises:
        UsageError: There is no such device.
    """
    import torch

    available = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if wanted == "auto":
        return available[0] if available else "cpu"
    if wanted == "cpu" or wanted in available or (wanted == "cuda" and available):
        return wanted
    raise UsageError(f"no device {wanted!r}", where="--device", hint="one of " + ", ".join(["auto", "cpu", *available]))


def pick_precision(wanted: str, device: str) -> Precision:
    """``auto`` is bf16 where the hardware multiplies matrices in it (AMX, CUDA from Ampere on), else fp32.

    Raises:
        UsageError: There is no such precision.
    """
    if wanted not in PRECISIONS:
        raise UsageError(f"no precision {wanted!r}", where="--precision", hint=suggest(wanted, PRECISIONS))
    if wanted != "auto":
        return cast("Precision", wanted)
    return "bf16" if _multiplies_bf16(device) else "fp32"


def _multiplies_bf16(device: str) -> bool:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
