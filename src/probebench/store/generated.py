"""Where drawn images lie: the names in a folder of them, and the folders of a feature store. Needs no image library.

Layout, below the root of the store::

    samples/<digest of what they were drawn from>/    a `probebench.generation.folder.SampleFolder`
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
"""What the images were drawn from. Without it a folder with images in it belongs to nobody, so it is removed last."""

_SET = re.compile(r"[0-9a-f]{32}")
_IMAGE = re.compile(r"\d{6,}\.png")


def folders(root: Path) -> list[Path]:
    """The folders of drawn images in a store, sorted."""
    if not (root / FOLDER).is_dir():
        return []
    return sorted(
        path for path in (root / FOLDER).iterdir() if _SET.fullmatch(path.name) and (path / MANIFEST).is_file()
    )


def images(folder: Path) -> list[Path]:
    """The images of a set, sorted."""
    return sorted(path for path in (folder / IMAGES).glob("*.png") if _IMAGE.fullmatch(path.name))


def files(folder: Path) -> list[Path]:
    """All that a store writes in such a folder."""
    return [*images(folder), folder / MANIFEST]


def describe(folder: Path) -> tuple[str, str]:
    """Whom a set was drawn from, with the head of its fingerprint, and with which seed; ``?`` where nothing says."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return f"{document['title']} {document['run']['fingerprint'][:8]}", f"seed {document['run']['seed']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "?", "?"


def removal_order(paths: Iterable[Path]) -> list[Path]:
    """Paths with the manifests of drawn images last: what is left of a removal that was cut short is a set of fewer."""
    return sorted(paths, key=lambda path: path.name == MANIFEST)
