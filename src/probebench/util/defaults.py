"""What is used where the user names nothing: components, and the folders of records and features."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_RESULTS = Path("results")
"""Where records go when ``--results`` does not say."""

DEFAULT_BACKBONE, DEFAULT_DATASET, DEFAULT_PROBE = "ddpm", "scattered-digits", "knn"
"""What ``probebench run`` alone means: components that need no download."""


def default_store() -> Path:
    """Folder of the feature store: ``PROBEBENCH_STORE``, else the user's cache folder."""
    if chosen := os.environ.get("PROBEBENCH_STORE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("probebench")) / "store"
