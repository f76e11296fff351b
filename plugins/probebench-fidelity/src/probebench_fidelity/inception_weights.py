"""The weights of Inception: the path of their file, its verification and its download; and random weights."""

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
    """Returns the path of the file: the user's, or else that of torch-fidelity."""
    return Path(options.weights).expanduser() if options.weights else Path(torch.hub.get_dir()) / "checkpoints" / NAME


def load(options: InceptionOptions) -> dict[str, Tensor]:
    """Reads the weights. Nothing is downloaded, and no code in the file is executed.

    Raises:
        DataError: The file does not exist, or has another content.
    """
    path = path_of(options)
    if not path.is_file():
        raise DataError(
            f"the file of Inception's weights does not exist: {path}",
            where="backbone inception",
            hint=f"add --download to probebench run, or save {URL} as this file",
        )
    _verify(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def fetch(options: InceptionOptions, progress: Callable[[str, int, int], None]) -> None:
    """Downloads the weights unless they exist. Called by `probebench run --download`.

    Raises:
        UsageError: The user named a file, and it does not exist.
        DataError: The file has another content, cannot be downloaded, or cannot be written.
    """
    path = path_of(options)
    if not options.pretrained:
        return
    if path.is_file():
        _verify(path)
        return
    if options.weights:
        raise UsageError(
            f"no file {options.weights!r}",
            where="option weights of inception",
            hint="remove the option weights, so that --download fetches them",
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
            hint=f"run the same command again, or save the file yourself as {path}",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _receive(part: Path, progress: Callable[[str, int, int], None]) -> None:
    with urllib.request.urlopen(URL, timeout=_TIMEOUT) as response, part.open("wb") as file:
        total, done = int(response.headers.get("Content-Length") or 0), 0
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress(NAME, done, total)


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise DataError(
            f"{path.name} is not torch-fidelity's file: its SHA-256 begins with {digest[:16]}, not {SHA256[:16]}",
            where=str(path),
            hint=f"delete it and add --download to probebench run, or save {URL} as this file",
        )


def initialise_(network: torch.nn.Module, seed: int) -> None:
    """Sets random weights (He et al. 2015, arXiv 1502.01852); the global random state is not used."""
    generator = torch.Generator().manual_seed(seed)
    module: Any
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
