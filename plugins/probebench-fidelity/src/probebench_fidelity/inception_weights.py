"""The file of Inception's weights: where it lies, what is in it, and its download when the user asks for that."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from probebench.api import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from probebench_fidelity.options import InceptionOptions

NAME = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

_CHUNK = 1 << 20
_TIMEOUT = 60.0


def path_of(options: InceptionOptions) -> Path:
    """Where the file is looked for: what the user says, or else where torch-fidelity itself keeps it."""
    return Path(options.weights).expanduser() if options.weights else Path(torch.hub.get_dir()) / "checkpoints" / NAME


def load(options: InceptionOptions) -> dict[str, Tensor]:
    """Reads the weights. Nothing is downloaded, and nothing in the file is executed.

    Raises:
        DataError: The file is not there, or it is another one.
    """
    path = path_of(options)
    if not path.is_file():
        raise DataError(
            f"Inception's weights are not there: no file {path}",
            where="backbone inception",
            hint=f"probebench run --download ..., or put {URL} there; or another extractor=",
        )
    _verify(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def fetch(options: InceptionOptions, progress: Callable[[str, int, int], None]) -> None:
    """Downloads the weights if they are not there. Called for `probebench run --download`.

    Raises:
        UsageError: The user named a file of their own, and it is not there.
        DataError: The file is another one, cannot be downloaded, or cannot be written.
    """
    path = path_of(options)
    if not options.pretrained:
        return
    if path.is_file():
        _verify(path)
        return
    if options.weights:
        raise UsageError(
            f"no file {options.weights!r}", where="option weights of inception", hint="without it, they are downloaded"
        )
    part = path.with_name(f"{NAME}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _receive(part, progress)
        _verify(part)
        part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DataError(
            f"{NAME} cannot be downloaded: {reason}",
            where=URL,
            hint=f"the same command again; or fetch it by other means, and put it at {path}",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _receive(part: Path, progress: Callable[[str, int, int], None]) -> None:
    with urllib.request.urlopen(URL, timeout=_TIMEOUT) as answer, part.open("wb") as file:
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress(NAME, done, total)


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise DataError(
            f"{path.name} is not torch-fidelity's file: its SHA-256 begins with {found[:16]}, not {SHA256[:16]}",
            where=str(path),
            hint=f"move it away, and run with --download or put {URL} there",
        )


def random_(network: torch.nn.Module, seed: int) -> None:
    """Gives a network random weights (He et al. 2015, arXiv 1502.01852), without the global random state."""
    generator = torch.Generator().manual_seed(seed)
    module: Any
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
