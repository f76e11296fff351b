"""Measures how long the import of a plugin's light module takes, which delays every command, in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from probebench.plugins.discovery import HEAVY

# The plugin API is imported first, because the core needs it anyway. The plugin's output goes to stderr.
_SCRIPT = """
import importlib, json, sys, time
sys.path[:] = json.loads(sys.argv[2])
import probebench.plugins
out, sys.stdout = sys.stdout, sys.stderr
before = set(sys.modules)
start = time.perf_counter()
importlib.import_module(sys.argv[1])
seconds = time.perf_counter() - start
json.dump({"seconds": seconds, "modules": sorted(set(sys.modules) - before)}, out)
"""


@dataclass(frozen=True, slots=True)
class ImportCost:
    """The cost of an import.

    Attributes:
        seconds: Wall time.
        heavy: Modules of `probebench.plugins.discovery.HEAVY` that the import loaded.
    """

    seconds: float
    heavy: tuple[str, ...]


def measure_import(module: str) -> ImportCost | None:
    """Imports a module in a fresh interpreter with the import path of this one.

    Returns:
        None if the import fails there.
    """
    command = [sys.executable, "-c", _SCRIPT, module, json.dumps(sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no untrusted input
    if done.returncode != 0:
        return None
    result = json.loads(done.stdout)
    return ImportCost(result["seconds"], tuple(name for name in HEAVY if name in result["modules"]))
