"""Light commands import no heavy modules: a fresh process reports its modules."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from probebench.plugins.discovery import HEAVY

SLOW = {*HEAVY, "numpy", "safetensors", "tabulate", "psutil"}

HEAVY_OF_A_RUN = set(HEAVY)

SCRIPT = """
import json, os, sys
from probebench.cli import main
out, sys.stdout = sys.stdout, open(os.devnull, "w")
try:
    main(sys.argv[1:])
except SystemExit as end:
    json.dump({"code": end.code, "modules": sorted(sys.modules)}, out)
"""


def modules_after(*arguments: str) -> set[str]:
    """Modules of a fresh process that has run a command with the plugins that are really installed."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["code"] == 0, done.stderr
    return set(answer["modules"])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["list"], ["list", "--json"], ["plugins", "list"], ["show", "--help"]]
)
def test_light_commands_import_nothing_heavy(arguments):
    assert modules_after(*arguments) & SLOW == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_loads_no_plugin(arguments):
    assert "probebench.plugins.discovery" not in modules_after(*arguments)


def test_the_modules_a_plugin_imports_are_light():
    done = subprocess.run(
        [sys.executable, "-c", "import probebench.api, json, sys; print(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(json.loads(done.stdout)) & SLOW == set()


def test_a_run_whose_records_all_exist_imports_no_torch(cli, tmp_path):
    """It finds them by remembered fingerprints, and builds nothing."""
    words = ["run", "--backbone", "pixels", "--dataset", "digits", "--probe", "knn", "--device", "cpu"]
    words += ["--limit", "40", "--results", str(tmp_path / "results"), "--store", str(tmp_path / "store")]
    assert cli(*words).code == 0
    assert modules_after(*words) & HEAVY_OF_A_RUN == set()
