"""How the tests are spread over the cores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Every worker has a core of its own; more threads than cores wait for each other. Read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Spreads the whole suite over the cores; tests asked for by path run in this process, which starts sooner."""
    if config.args_source is config.ArgsSource.ARGS:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
