"""Default components, and default folders of records and features."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_RESULTS = Path("results")
"""Default of ``--results``."""

DEFAULT_BACKBONE, DEFAULT_DATASET, DEFAULT_PROBE = "ddpm", "scattered-digits", "knn"
"""Components of ``probebench run`` without arguments. They need no download."""


def default_store() -> Path:
    """Returns the folder of the feature store: ``PROBEBENCH_STORE``, or a folder in the user's cache folder."""
    if chosen := os.environ.get("PROBEBENCH_STORE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("probebench")) / "store"
