"""Where a network runs and in which arithmetic, when the user leaves it to us."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from probebench.util.errors import UsageError, suggest

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


def check_precision(wanted: str) -> None:
    """Raises an error unless there is such a precision; ``auto`` is one.

    Raises:
        UsageError: There is none.
    """
    if wanted not in PRECISIONS:
        raise UsageError(f"no precision {wanted!r}", where="--precision", hint=suggest(wanted, PRECISIONS))


def pick_precision(wanted: str, device: str, *, bf16_pays: bool) -> Precision:
    """``auto`` is bf16 where it pays and the hardware multiplies matrices in it (AMX, CUDA from Ampere on), else fp32.

    Args:
        wanted: ``auto``, ``fp32`` or ``bf16``.
        device: What the network runs on.
        bf16_pays: Whether bf16 is the faster one for this work.

    Raises:
        UsageError: There is no such precision.
    """
    check_precision(wanted)
    if wanted != "auto":
        return cast("Precision", wanted)
    return "bf16" if bf16_pays and _multiplies_bf16(device) else "fp32"


def _multiplies_bf16(device: str) -> bool:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def device_name(device: str) -> str:
    """The processor or accelerator behind a device, as its maker calls it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
