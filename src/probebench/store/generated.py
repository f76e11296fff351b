"""Names of the folders and files of generated images in a feature store. Needs no image library.

Layout, below the root of the store::

    samples/<digest of what they were generated from>/    a `probebench.generation.folder.SampleFolder`
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER = "samples"

IMAGES = "images"

MANIFEST = "samples.json"
"""Name of the file that states how the images were generated. It is deleted last, after the images."""

_SET = re.compile(r"[0-9a-f]{32}")
_IMAGE = re.compile(r"\d{6,}\.png")


def folders(root: Path) -> list[Path]:
    """Returns the folders of generated images in a store, sorted."""
    if not (root / FOLDER).is_dir():
        return []
    return sorted(
        path for path in (root / FOLDER).iterdir() if _SET.fullmatch(path.name) and (path / MANIFEST).is_file()
    )


def images(folder: Path) -> list[Path]:
    """Returns the images in a folder, sorted."""
    return sorted(path for path in (folder / IMAGES).glob("*.png") if _IMAGE.fullmatch(path.name))


def files(folder: Path) -> list[Path]:
    """Returns all files that a store writes to such a folder."""
    return [*images(folder), folder / MANIFEST]


def describe(folder: Path) -> tuple[str, str]:
    """Returns the backbone with the start of its fingerprint, and the seed; ``?`` if they are not known."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return f"{document['title']} {document['run']['fingerprint'][:8]}", f"seed {document['run']['seed']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "?", "?"


def deletion_order(paths: Iterable[Path]) -> list[Path]:
    """Sorts the manifests of generated images last, so that an interrupted deletion leaves a valid, smaller set."""
    return sorted(paths, key=lambda path: path.name == MANIFEST)
