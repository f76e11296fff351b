"""The device that a network runs on, and the precision of its arithmetic."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from probebench.util.errors import UsageError, suggest

if TYPE_CHECKING:
    from probebench.api.types import Precision

PRECISIONS = ("auto", "bf16", "fp32")


def pick_device(requested: str) -> str:
    """Resolves ``auto`` to the first CUDA device, or to the CPU.

    PyTorch is imported only where a device could be found: the import takes longer than a run that has nothing to do.

    Raises:
        UsageError: There is no such device.
    """
    if requested == "cpu" or (requested == "auto" and not _may_have_accelerator()):
        return "cpu"
    import torch

    available = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if requested == "auto":
        return available[0] if available else "cpu"
    if requested in available or (requested == "cuda" and available):
        return requested
    raise UsageError(
        f"there is no device {requested!r}", where="--device", hint="one of " + ", ".join(["auto", "cpu", *available])
    )


def _may_have_accelerator() -> bool:
    """Returns False only where no driver is loaded: on Linux, those of NVIDIA, AMD and WSL have device files."""
    if sys.platform != "linux":
        return True
    return any(Path(f"/dev/{name}").exists() for name in ("nvidiactl", "nvidia0", "kfd", "dxg"))


def check_precision(requested: str) -> None:
    """Checks the name of a precision, which may be ``auto``.

    Raises:
        UsageError: There is no such precision.
    """
    if requested not in PRECISIONS:
        raise UsageError(f"{requested!r} is not a precision", where="--precision", hint=suggest(requested, PRECISIONS))


def pick_precision(requested: str, device: str, *, prefers_bf16: bool) -> Precision:
    """Resolves ``auto`` to bf16 where that is faster and the hardware multiplies in it (AMX, CUDA from Ampere on).

    Args:
        requested: ``auto``, ``fp32`` or ``bf16``.
        device: What the network runs on.
        prefers_bf16: Whether bf16 is the faster arithmetic for this network.

    Raises:
        UsageError: There is no such precision.
    """
    check_precision(requested)
    if requested != "auto":
        return cast("Precision", requested)
    return "bf16" if prefers_bf16 and multiplies_bf16(device) else "fp32"


def multiplies_bf16(device: str) -> bool:
    """Returns whether a device multiplies matrices in bf16. Of a CPU under Linux, without importing PyTorch."""
    if device == "cpu" and (processor := _processor()):
        return "amx_bf16" in processor.get("flags", "").split()
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def device_name(device: str) -> str:
    """Returns the maker's name of the processor or accelerator behind a device."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return _processor().get("model name") or platform.processor() or platform.machine()


def _processor() -> dict[str, str]:
    """Returns what Linux reports of the first processor; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def peak_memory_mb() -> float | None:
    """Returns the largest resident memory of this process so far, in MiB; None where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
