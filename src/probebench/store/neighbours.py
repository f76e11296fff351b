"""Nearest neighbours in the feature store, from which other votes can be computed later.

Layout, below the root of the store::

    neighbours/<SHA-256 of the file>.safetensors

A record contains the digests of its files, so that the files need no key and can be checked. Cells with equal
neighbours share a file. Neighbours are stored for the chosen point only: 10,000 images take 24 MB.
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

MAX_NEIGHBOURS = 200
"""Largest number of neighbours that are stored for each image."""

FOLDER = "neighbours"

FILE_NAME = re.compile(r"([0-9a-f]{64})\.safetensors")

_OWNER = "probebench"  # a single header entry, because safetensors does not fix the order of several
_RERUN = "delete the record and run its command again, which uses the stored features"


@dataclass(frozen=True)
class StoredNeighbours:
    """The neighbours of labelled images.

    Attributes:
        neighbours: The neighbours of each image, of which at most `MAX_NEIGHBOURS` are stored.
        labels: int64 ``(N,)``, classes of the train images; `Neighbours.index` holds positions in it.
        truth: int64 ``(Q,)``, classes of the images themselves.
    """

    neighbours: Neighbours
    labels: Tensor
    truth: Tensor


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of the neighbours in a file, for display.

    Attributes:
        backbone: Name, and the start of the fingerprint.
        split: Source of the images.
        point: Tap, level and pool.
    """

    backbone: str
    split: str
    point: str


def save_neighbours(root: Path, stored: StoredNeighbours, origin: Origin) -> str:
    """Writes neighbours to the store, unless the file exists already.

    Args:
        root: The store.
        stored: The neighbours.
        origin: Their origin.

    Returns:
        SHA-256 of the file in hexadecimal, by which `load_neighbours` reads it.

    Raises:
        StoreError: The file cannot be written.
    """
    data = _encode(stored, origin)
    digest = hashlib.sha256(data).hexdigest()
    path = file_path(root, digest)
    exists = fault(path) is None
    with storage_errors("write", path):
        if exists:
            os.utime(path)
        else:
            write_bytes(path, data)
    return digest


def load_neighbours(root: Path, digest: str) -> StoredNeighbours:
    """Reads neighbours that `save_neighbours` has written.

    Raises:
        StoreError: The file is missing, truncated or altered.
    """
    import torch
    from safetensors.torch import load

    path = file_path(root, digest)
    with storage_errors("read", path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise StoreError("the neighbours are not in the feature store", where=str(path), hint=_RERUN) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreError("the neighbours in the feature store are truncated or altered", where=str(path), hint=_RERUN)
    with suppress(OSError):  # the time of the last use, for gc; a read-only store can still be read
        os.utime(path)
    tensors = load(data)
    return StoredNeighbours(
        Neighbours(tensors["index"].to(torch.int64), tensors["similarity"]),
        labels=tensors["labels"].to(torch.int64),
        truth=tensors["truth"].to(torch.int64),
    )


def file_path(root: Path, digest: str) -> Path:
    """Returns the path of a file of neighbours."""
    return root / FOLDER / f"{digest}.safetensors"


def fault(path: Path) -> str | None:
    """Returns the fault of a file, as the end of a sentence that starts with the path; None if there is no fault.

    Raises:
        StoreError: The file exists and cannot be read.
    """
    match = FILE_NAME.fullmatch(path.name)
    with storage_errors("read", path):
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return "is missing"
    intact = match is not None and digest == match[1]
    return None if intact else "is truncated or altered: its SHA-256 is not the digest in its name"


def describe(path: Path) -> tuple[Origin, int, int]:
    """Returns the origin of a file, its number of images, and its number of neighbours. Reads only the header.

    Raises:
        ValueError: It is not a file of neighbours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            rows, count = file.get_slice("index").get_shape()
            return Origin(**json.loads((file.metadata() or {})[_OWNER])), rows, count
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of neighbours: {error}") from error


def _encode(stored: StoredNeighbours, origin: Origin) -> bytes:
    import torch
    from safetensors.torch import save

    tensors = {
        "index": stored.neighbours.index[:, :MAX_NEIGHBOURS].to("cpu", torch.int32),
        "similarity": stored.neighbours.similarity[:, :MAX_NEIGHBOURS].to(
            "cpu", torch.float64
        ),  # so that votes are equal
        "labels": stored.labels.to("cpu", torch.int32),
        "truth": stored.truth.to("cpu", torch.int32),
    }
    owner = {"backbone": origin.backbone, "split": origin.split, "point": origin.point}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save(contiguous, {_OWNER: canonical_json(owner)})
