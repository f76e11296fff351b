"""The folders of downloaded datasets and of the cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def data_root(option: str | None) -> Path:
    """Returns the folder of downloaded datasets: one folder for each, named as torchvision names it.

    Args:
        option: The dataset's option ``root``. If it is empty or None, the variable ``PROBEBENCH_DATA`` is used, then
            the platform's folder for the user's data. A tilde is the home folder.
    """
    if chosen := option or os.environ.get("PROBEBENCH_DATA"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_dir("probebench", appauthor=False)) / "datasets"


def cache_root() -> Path:
    """Returns the folder of files that can be computed again.

    It is ``PROBEBENCH_CACHE``, or the platform's folder for the user's cache.
    """
    if chosen := os.environ.get("PROBEBENCH_CACHE"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("probebench", appauthor=False))
