"""The memory that a training will need, told before it has any."""

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
class Need:
    """Memory of a training in one process, in bytes.

    Attributes:
        image: What the forward pass of one image keeps for the backward pass.
        weights: Weights, gradients, the optimiser's moments, averages.
        data: The training images, where they lie in the same memory.
    """

    image: int
    weights: int
    data: int

    def total(self, images: int) -> int:
        """All of it, with so many images at a time."""
        return self.image * images + self.weights + self.data


def need(network: dict[str, Any], *, precision: Precision, device: str, data: int) -> Need:
    """What a training of this network needs, at least: what layers hold for a moment comes on top.

    Args:
        network: Its config.
        precision: Of the pass.
        device: Where the network is.
        data: Bytes of the training images, which stay on the CPU.
    """
    kind = torch.device(device).type
    image, weights = _measure(tuple(sorted(network.items())), precision, kind)
    copies = 5 * 4  # weights, gradients, two moments, average
    copies += 2 * 2 if precision == "bf16" else 0  # weights and gradients of the network that computes
    return Need(image, weights * copies, data if kind == "cpu" else 0)


@lru_cache(maxsize=16)
def _measure(network: tuple[tuple[str, Any], ...], precision: Precision, kind: str) -> tuple[int, int]:
    """Bytes that the pass of one image keeps, and the number of weights.

    Fake tensors have a shape and a device and no memory, and torch chooses the same kernels for them. (On the meta
    device it would choose an attention that keeps the matrix of all pairs.)
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
        own = {weight.untyped_storage()._cdata for weight in weights.values()}
        image = torch.zeros(1, 3, config["sample_size"], config["sample_size"], dtype=dtype)
        with saved_tensors_hooks(note, lambda tensor: tensor):
            functional_call(unet, weights, (image, torch.zeros(1, dtype=torch.long)))
        size = sum(storage.nbytes() for key, storage in kept.items() if key not in own)
        return size, sum(weight.numel() for weight in weights.values())


def free(device: str) -> int | None:
    """Bytes that are free on a device; None where the system does not tell."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        text = _MEMINFO.read_text(encoding="ascii")
    except OSError:
        return None
    found = [int(words[1]) * 1024 for words in map(str.split, text.splitlines()) if words[0] == "MemAvailable:"]
    try:  # a container's own limit; what it holds of files can be dropped
        held = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        limit, used = (int((_CGROUP / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        found.append(limit - used + int(held["inactive_file"]))
    except (OSError, ValueError, KeyError):  # none, or "max"
        pass
    return min(found, default=None)


def check(wanted: Need, *, images: int, accumulate: int, sharing: int, device: str) -> str:
    """Compares what is needed with what is free.

    Args:
        wanted: By each process.
        images: Of a step, in each process.
        accumulate: Parts that they are worked on in.
        sharing: Processes that share the memory.
        device: Where the network is.

    Returns:
        A line for the user.

    Raises:
        UsageError: It is not enough.
    """
    at_once = -(-images // accumulate)
    total, there = wanted.total(at_once) * sharing, free(device)
    each = f"{wanted.image / 2**20:.1f} MiB an image"
    rest = f"{_gib(wanted.weights + wanted.data)} of weights, optimiser, averages and data"
    if there is not None and total > there:
        # The fewest parts that fit: more of them are slower.
        fits = next(
            (n for n in range(accumulate, images + 1) if wanted.total(-(-images // n)) * sharing <= there), None
        )
        raise UsageError(
            f"training needs {_gib(total)} of memory at least, {_gib(there)} are free",
            where=f"{device}: {at_once} images at a time, {each}, and {rest}"
            + f" in {sharing} processes" * (sharing > 1),
            hint=f"accumulate={fits} for the same steps, or a smaller batch_size"
            if fits
            else "a smaller network, smaller images, or another --device: one image at a time does not fit",
        )
    return f"{each}, {at_once} at a time, {rest}: {_gib(total)}" + (f" of {_gib(there)} free" if there else "")


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
