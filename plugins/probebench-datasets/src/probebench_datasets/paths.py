"""Where downloaded datasets lie, and where what was worked out from them is remembered."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def data_root(option: str | None) -> Path:
    """The folder that holds a folder for each downloaded dataset, laid out as torchvision does.

    Args:
        option: What the user gave as the dataset's ``root``; empty or None where nothing was given. Then it is
            ``PROBEBENCH_DATA``, then the platform's folder for a user's data. A tilde stands for the home folder.
    """
    if chosen := option or os.environ.get("PROBEBENCH_DATA"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_dir("probebench", appauthor=False)) / "datasets"


def cache_root() -> Path:
    """The folder of what can be made again: ``PROBEBENCH_CACHE``, then the platform's folder for a user's cache."""
    if chosen := os.environ.get("PROBEBENCH_CACHE"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("probebench", appauthor=False))
