"""Neighbours that a probe found, kept in the feature store so that any vote of them can be counted later.

Layout, below the root of the store::

    neighbours/<SHA-256 of the file>.safetensors

A record holds the digests of its files, so a file needs no key and proves by itself that it is whole; cells with equal
neighbours share it. They are kept for the chosen point alone: 10,000 images take 24 MB.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.api import Neighbours
from probebench.store.shards import storage_errors
from probebench.util.errors import StoreError
from probebench.util.files import write_bytes
from probebench.util.hashing import canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

KEPT = 200
"""How many neighbours of each image are kept, where there are as many."""

FOLDER = "neighbours"

NAME = re.compile(r"([0-9a-f]{64})\.safetensors")

_OWNER = "probebench"  # the only header entry: safetensors writes several in no fixed order
_AGAIN = "remove the record and run its command again; features that are stored are used"


@dataclass(frozen=True)
class Kept:
    """The neighbours of some labelled images.

    Attributes:
        neighbours: Of each image; at most `KEPT` are stored.
        labels: int64 ``(N,)``, classes of the train images that `Neighbours.index` counts.
        truth: int64 ``(Q,)``, classes of the images themselves.
    """

    neighbours: Neighbours
    labels: Tensor
    truth: Tensor


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose neighbours a file holds, for people.

    Attributes:
        backbone: Name, and the head of the fingerprint.
        split: Source of the images.
        point: Tap, level and pool.
    """

    backbone: str
    split: str
    point: str


def keep(root: Path, kept: Kept, origin: Origin) -> str:
    """Stores neighbours; those that are there already are used again.

    Args:
        root: The store.
        kept: What to store.
        origin: Whose they are.

    Returns:
        SHA-256 of the file, in hexadecimal: what `load` finds it by.

    Raises:
        StoreError: It cannot be written.
    """
    data = _encode(kept, origin)
    digest = hashlib.sha256(data).hexdigest()
    path = place(root, digest)
    there = fault(path) is None
    with storage_errors("write", path):
        if there:
            os.utime(path)
        else:
            write_bytes(path, data)
    return digest


def load(root: Path, digest: str) -> Kept:
    """Reads neighbours that `keep` has stored.

    Raises:
        StoreError: They are not there, or not what was stored.
    """
    import torch
    from safetensors.torch import load as decode

    path = place(root, digest)
    with storage_errors("read", path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise StoreError("the neighbours are not in the feature store", where=str(path), hint=_AGAIN) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreError("the neighbours in the feature store are truncated or altered", where=str(path), hint=_AGAIN)
    with suppress(OSError):  # it tells gc what was used last; a store that cannot be written can still be read
        os.utime(path)
    found = decode(data)
    return Kept(
        Neighbours(found["index"].to(torch.int64), found["similarity"]),
        labels=found["labels"].to(torch.int64),
        truth=found["truth"].to(torch.int64),
    )


def place(root: Path, digest: str) -> Path:
    """Where a file lies."""
    return root / FOLDER / f"{digest}.safetensors"


def fault(path: Path) -> str | None:
    """What is wrong with a file, as the end of a sentence that its name begins; None when it is whole.

    Raises:
        StoreError: It is there and cannot be read.
    """
    match = NAME.fullmatch(path.name)
    with storage_errors("read", path):
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return "is missing"
    whole = match is not None and found == match[1]
    return None if whole else "is truncated or altered: its bytes do not have the digest that is its name"


def describe(path: Path) -> tuple[Origin, int, int]:
    """Whose neighbours a file holds, of how many images, and how many of each. Reads the header alone.

    Raises:
        ValueError: It holds none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            rows, count = file.get_slice("index").get_shape()
            return Origin(**json.loads((file.metadata() or {})[_OWNER])), rows, count
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ValueError(f"no file of neighbours: {error}") from error


def _encode(kept: Kept, origin: Origin) -> bytes:
    import torch
    from safetensors.torch import save

    tensors = {
        "index": kept.neighbours.index[:, :KEPT].to("cpu", torch.int32),
        "similarity": kept.neighbours.similarity[:, :KEPT].to("cpu", torch.float64),  # a vote is to be the same vote
        "labels": kept.labels.to("cpu", torch.int32),
        "truth": kept.truth.to("cpu", torch.int32),
    }
    owner = {"backbone": origin.backbone, "split": origin.split, "point": origin.point}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save(contiguous, {_OWNER: canonical_json(owner)})
