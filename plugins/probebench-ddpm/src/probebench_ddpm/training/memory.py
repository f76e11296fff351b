"""Estimates the memory of a training before any is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call

from probebench.api import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import Precision

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of a training in one process, in bytes.

    Attributes:
        image: Bytes that the forward pass of one image keeps for the backward pass.
        weights: Bytes of weights, gradients, the optimiser's moments and averages.
        data: Bytes of the training images, if they are stored in the same memory.
    """

    image: int
    weights: int
    data: int

    def total(self, images: int) -> int:
        """Returns the memory of a pass of this number of images."""
        return self.image * images + self.weights + self.data


def estimate(network: dict[str, Any], *, precision: Precision, device: str, data: int) -> MemoryEstimate:
    """Estimates the memory of a training; it is a lower bound, because temporary buffers of layers are not counted.

    Args:
        network: Config of the network.
        precision: Precision of the passes.
        device: Device of the network.
        data: Bytes of the training images, which stay on the CPU.
    """
    kind = torch.device(device).type
    image, weights = _measure(tuple(sorted(network.items())), precision, kind)
    copies = 5 * 4  # weights, gradients, two moments, average
    copies += 2 * 2 if precision == "bf16" else 0  # weights and gradients of the bf16 copy
    return MemoryEstimate(image, weights * copies, data if kind == "cpu" else 0)


@lru_cache(maxsize=16)
def _measure(network: tuple[tuple[str, Any], ...], precision: Precision, kind: str) -> tuple[int, int]:
    """Returns the bytes that the pass of one image keeps, and the number of weights.

    Fake tensors have a shape and a device but no memory, and torch selects the same kernels for them. (On the meta
    device it would select an attention that keeps the matrix of all pairs.)
    """
    config = dict(network)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with torch.random.fork_rng(devices=[]), FakeTensorMode(), torch.device(kind):
        unet = UNet2DModel.from_config(config).train()
        weights = {name: weight.to(dtype) for name, weight in unet.named_parameters()}
        of_weights = {weight.untyped_storage()._cdata for weight in weights.values()}
        image = torch.zeros(1, 3, config["sample_size"], config["sample_size"], dtype=dtype)
        with saved_tensors_hooks(note, lambda tensor: tensor):
            functional_call(unet, weights, (image, torch.zeros(1, dtype=torch.long)))
        size = sum(storage.nbytes() for key, storage in kept.items() if key not in of_weights)
        return size, sum(weight.numel() for weight in weights.values())


def free_memory(device: str) -> int | None:
    """Returns the free bytes of a device; None if the system does not report them."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        text = _MEMINFO.read_text(encoding="ascii")
    except OSError:
        return None
    limits = [int(words[1]) * 1024 for words in map(str.split, text.splitlines()) if words[0] == "MemAvailable:"]
    try:  # the limit of a container; cached files do not count, because they can be dropped
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        limit, used = (int((_CGROUP / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        limits.append(limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no such files, or "max"
        pass
    return min(limits, default=None)


def check_memory(needed: MemoryEstimate, *, images: int, accumulate: int, processes: int, device: str) -> str:
    """Compares the estimate with the free memory.

    Args:
        needed: Memory of each process.
        images: Images per step and process.
        accumulate: Number of micro-batches that they are split into.
        processes: Processes that share the memory.
        device: Device of the network.

    Returns:
        A line for the user.

    Raises:
        UsageError: There is not enough memory.
    """
    micro_batch = -(-images // accumulate)
    total, free = needed.total(micro_batch) * processes, free_memory(device)
    terms = (
        f"{needed.image / 2**20:.1f} MiB per image x {micro_batch} images + {_gib(needed.weights + needed.data)} for "
        f"weights, optimiser, average and data"
    )
    terms = f"({terms}) x {processes} processes" if processes > 1 else terms
    if free is not None and total > free:
        # The smallest number of micro-batches that fits, because more of them are slower.
        fits = next(
            (n for n in range(accumulate, images + 1) if needed.total(-(-images // n)) * processes <= free), None
        )
        raise UsageError(
            f"training needs at least {_gib(total)} of memory, {_gib(free)} are free",
            where=f"{device}: {terms}",
            hint=f"--recipe accumulate={fits} (the same steps in smaller parts), or a smaller batch_size"
            if fits
            else "a smaller network (widths), smaller images or another --device: even one image does not fit",
        )
    return f"{terms} = {_gib(total)}" + (f" ({_gib(free)} free)" if free else "")


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
