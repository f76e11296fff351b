"""Checkpoints on the Hugging Face hub: ``hub:owner/name@revision``.

Only `fetch`, which `probebench run --download` calls, uses the internet. Everything else reads the cache of
huggingface_hub, which diffusers and the command ``hf download`` fill as well.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from probebench.api import DataError, ProbebenchWarning, UsageError
from probebench_ddpm.loading.layout import PICKLED_FILE, WEIGHTS_FILE, locate, weights_file
from probebench_ddpm.options import DDPMOptions, DiTOptions, LatentOptions, LDMOptions

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "hub:"
_PATTERN = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_AUTOENCODERS = ("vae/", "vqvae/")
_JSON = ("model_index.json", "manifest.json", "scheduler_config.json", "scheduler/scheduler_config.json")
_TEXT = ("text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/*")


class Reference(NamedTuple):
    """A repository at a revision."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}@{self.revision}"


def parse(text: str) -> Reference:
    """Parses ``hub:owner/name@revision``; without a revision it is ``main``.

    Raises:
        UsageError: The text has another form.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} does not name a repository", where="option checkpoint", hint="checkpoint=hub:owner/name@revision"
        )
    return Reference(match["repo"], match["revision"] or "main")


def cached(reference: Reference) -> Path:
    """Returns the folder of a downloaded checkpoint, without using the internet.

    A branch or tag is read as of its last download. A warning, which is stored in the record, names its commit.

    Raises:
        UsageError: The checkpoint was not downloaded.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _snapshot(reference, _JSON, offline=True)
    except (LocalEntryNotFoundError, FileNotFoundError):
        raise UsageError(
            f"{reference} is not in the cache of huggingface_hub",
            where="option checkpoint",
            hint="probebench run --download ..., or copy its files into a folder and use checkpoint=FOLDER",
        ) from None
    if reference.revision != folder.name:
        warnings.warn(
            f"{reference} is read at commit {folder.name}; use this commit as the revision to read it again",
            ProbebenchWarning,
            stacklevel=2,
        )
    return folder


def fetch(options: DDPMOptions | LatentOptions, progress: Callable[[str, int, int], None]) -> None:  # noqa: ARG001
    """Downloads a checkpoint on the hub that is not in the cache. `probebench run --download` calls it.

    Args:
        options: Nothing is downloaded for a `checkpoint` that is not on the hub.
        progress: Not called, because huggingface_hub has its own progress bars.

    Raises:
        UsageError: The option has another form.
        DataError: There is no such repository or revision, or the hub cannot be reached.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not options.checkpoint.startswith(PREFIX):
        return
    reference = parse(options.checkpoint)
    if _is_complete(reference, options):
        return
    folders = _network_folders(options)
    configs = (*_JSON, *(f"{folder}config.json" for folder in folders), *(_TEXT if _needs_text(options) else ()))
    try:
        for name in (WEIGHTS_FILE, PICKLED_FILE):  # pickled weights only if there are no safetensors
            _snapshot(reference, (*configs, *(f"{folder}{name}" for folder in folders)), offline=False)
            if _is_complete(reference, options):
                return
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{reference} cannot be downloaded: {reason}",
            hint="check name and revision; for a private or gated repository run: hf auth login",
        ) from error


def _subfolder(options: DDPMOptions | LatentOptions) -> str:
    return "transformer" if isinstance(options, DiTOptions) else "unet"


def _network_folders(options: DDPMOptions | LatentOptions) -> tuple[str, ...]:
    """Returns the folders of a repository that may contain networks which the backbone reads."""
    subfolder = _subfolder(options)
    networks = ("", f"{subfolder}/", f"{subfolder}_ema/", f"{subfolder}_raw/")
    return (*networks, *_AUTOENCODERS) if isinstance(options, LatentOptions) else networks


def _needs_text(options: DDPMOptions | LatentOptions) -> bool:
    return isinstance(options, LDMOptions) and options.prompt == "empty"


def _is_complete(reference: Reference, options: DDPMOptions | LatentOptions) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _snapshot(reference, _JSON, offline=True)
        locate(folder, options.weights, _subfolder(options))
        if isinstance(options, LatentOptions):
            weights_file(next(folder / part for part in _AUTOENCODERS if (folder / part).is_dir()))
    except (LocalEntryNotFoundError, FileNotFoundError, StopIteration, UsageError):
        return False
    text = folder / "text_encoder"
    return not _needs_text(options) or not text.is_dir() or (text / "model.safetensors").is_file()


def _snapshot(reference: Reference, patterns: tuple[str, ...], *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            reference.repo, revision=reference.revision, allow_patterns=list(patterns), local_files_only=offline
        )
    )
