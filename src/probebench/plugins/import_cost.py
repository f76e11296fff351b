"""What the import of a plugin's light module costs every command, measured where nothing is loaded yet."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from probebench.plugins.discovery import HEAVY

# The plugin API is loaded first: its cost is the core's. What the plugin prints goes to stderr.
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
class Footprint:
    """The cost of an import.

    Attributes:
        seconds: Wall time.
        heavy: Those of `probebench.plugins.discovery.HEAVY` that came with it.
    """

    seconds: float
    heavy: tuple[str, ...]


def measure(module: str) -> Footprint | None:
    """Imports a module in a fresh interpreter with this one's import path.

    Returns:
        None when the import fails there.
    """
    command = [sys.executable, "-c", _SCRIPT, module, json.dumps(sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no word of a stranger
    if done.returncode != 0:
        return None
    result = json.loads(done.stdout)
    return Footprint(result["seconds"], tuple(name for name in HEAVY if name in result["modules"]))
