"""Checkpoints on the Hugging Face hub: ``hub:owner/name@revision``.

The network is asked only by `fetch`, which `probebench run --download` calls. Everything else reads the cache of
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
_FORM = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
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
    """What ``hub:owner/name@revision`` means; without a revision, ``main``.

    Raises:
        UsageError: It has another form.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} names no repository", where="option checkpoint", hint="hub:owner/name@revision")
    return Reference(match["repo"], match["revision"] or "main")


def cached(reference: Reference) -> Path:
    """The folder of a downloaded checkpoint. Asks nothing of the network.

    A branch or tag is what it was at its last download. Which commit that is, is a warning, which stands in the record.

    Raises:
        UsageError: It was not downloaded.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _snapshot(reference, _JSON, offline=True)
    except (LocalEntryNotFoundError, FileNotFoundError):
        raise UsageError(
            f"{reference} is not in the cache of huggingface_hub",
            where="option checkpoint",
            hint="probebench run --download ..., or copy its files into a folder and name that: checkpoint=FOLDER",
        ) from None
    if reference.revision != folder.name:
        warnings.warn(
            f"{reference} is the commit {folder.name}; name that as the revision to stay with it",
            ProbebenchWarning,
            stacklevel=2,
        )
    return folder


def fetch(options: DDPMOptions | LatentOptions, progress: Callable[[str, int, int], None]) -> None:  # noqa: ARG001
    """Downloads a checkpoint that is on the hub and not in the cache. Called for `probebench run --download`.

    Args:
        options: Nothing is done for a `checkpoint` that is not on the hub.
        progress: Not called: huggingface_hub draws its own bars.

    Raises:
        UsageError: The option has another form.
        DataError: There is no such repository or revision, or the hub cannot be reached.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not options.checkpoint.startswith(PREFIX):
        return
    reference = parse(options.checkpoint)
    if _is_whole(reference, options):
        return
    folders = _folders(options)
    configs = (*_JSON, *(f"{folder}config.json" for folder in folders), *(_TEXT if _tells_a_text(options) else ()))
    try:
        for name in (WEIGHTS_FILE, PICKLED_FILE):  # pickles only where there is nothing better
            _snapshot(reference, (*configs, *(f"{folder}{name}" for folder in folders)), offline=False)
            if _is_whole(reference, options):
                return
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{reference} cannot be downloaded: {reason}",
            hint="look at name and revision; hf auth login where it is not public",
        ) from error


def _stem(options: DDPMOptions | LatentOptions) -> str:
    return "transformer" if isinstance(options, DiTOptions) else "unet"


def _folders(options: DDPMOptions | LatentOptions) -> tuple[str, ...]:
    """Where networks lie that the backbone reads."""
    stem = _stem(options)
    networks = ("", f"{stem}/", f"{stem}_ema/", f"{stem}_raw/")
    return (*networks, *_AUTOENCODERS) if isinstance(options, LatentOptions) else networks


def _tells_a_text(options: DDPMOptions | LatentOptions) -> bool:
    return isinstance(options, LDMOptions) and options.prompt == "empty"


def _is_whole(reference: Reference, options: DDPMOptions | LatentOptions) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _snapshot(reference, _JSON, offline=True)
        locate(folder, options.weights, _stem(options))
        if isinstance(options, LatentOptions):
            weights_file(next(folder / part for part in _AUTOENCODERS if (folder / part).is_dir()))
    except (LocalEntryNotFoundError, FileNotFoundError, StopIteration, UsageError):
        return False
    text = folder / "text_encoder"
    return not _tells_a_text(options) or not text.is_dir() or (text / "model.safetensors").is_file()


def _snapshot(reference: Reference, patterns: tuple[str, ...], *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            reference.repo, revision=reference.revision, allow_patterns=list(patterns), local_files_only=offline
        )
    )
