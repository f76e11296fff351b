"""The example plugin, built, installed with the core in a new environment, and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "probebench-example"
UV = shutil.which("uv")
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_", "UV_", "XDG_", "OMP_NUM_", "http", "HTTP", "no_proxy", "NO_PROXY")

pytestmark = pytest.mark.skipif(UV is None, reason="uv is not on the path: it builds and installs the wheels")


def _call(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command without the variables of this environment, such as PYTHONPATH and VIRTUAL_ENV."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    environment["PROBEBENCH_STORE"] = str(cwd / "store")
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Returns a folder with an environment in which the two wheels are installed.

    All dependencies are resolved again, constrained to the versions of this environment, which are in the cache of uv.
    """
    folder = tmp_path_factory.mktemp("installed")
    for project in (ROOT, EXAMPLE):
        _call(UV, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", project, cwd=folder)
    versions = [f"{item.name}=={item.version}" for item in metadata.distributions()]
    (folder / "versions.txt").write_text("\n".join(pin for pin in versions if not pin.startswith("probebench")))
    _call(UV, "venv", "--quiet", "--python", sys.executable, folder / "env", cwd=folder)
    wheels = sorted((folder / "dist").glob("*.whl"))
    assert [wheel.name.partition("-")[0] for wheel in wheels] == ["probebench", "probebench_example"]
    install = (UV, "pip", "install", "--quiet", "--python", folder / "env", "--constraints", folder / "versions.txt")
    # Links in place of copies, because torch alone takes some gigabytes.
    _call(*install, "--link-mode", "symlink", *wheels, "pytest", cwd=folder)
    return folder


@pytest.fixture
def probebench(home):
    """Runs the installed command."""
    return lambda *arguments: _call(home / "env" / "bin" / "probebench", *arguments, cwd=home, check=False)


def test_nothing_is_imported_from_this_checkout(home):
    code = "import probebench, probebench_example as example; print(probebench.__file__); print(example.__file__)"
    files = _call(home / "env" / "bin" / "python", "-c", code, cwd=home).stdout.split()
    assert all(Path(file).is_relative_to(home / "env") for file in files)


def test_list_names_exactly_what_is_installed(probebench):
    done = probebench("list", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    names = {kind: [item["qualified"] for item in listed[kind]] for kind in ("backbones", "datasets", "probes")}
    assert names == {
        "backbones": ["probebench-example/edge-directions"],
        "datasets": ["probebench-example/shapes"],
        "probes": ["probebench-example/centroid"],
    }
    assert listed["problems"] == []


@pytest.mark.parametrize("name", ["edge-directions", "shapes", "centroid"])
def test_check_passes(probebench, name):
    done = probebench("check", name, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["passed"] > 10
    assert result["failed"] == 0


def test_a_run_has_a_high_accuracy(probebench):
    command = ("run", "--backbone", "edge-directions", "--dataset", "shapes", "--probe", "centroid", "--no-baselines")
    done = probebench(*command, "--json")
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    record = cell["record"]
    assert record["status"] == "success"
    assert record["chosen"]["tap"] == "edges"
    assert record["metrics"]["top1"]["value"] > 0.95
    assert record["provenance"]["plugins"] == {"probebench-example": "0.1.0"}


def test_its_own_tests_pass(home):
    shutil.copytree(EXAMPLE / "tests", home / "tests")
    done = _call(home / "env" / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=home)
    assert " passed" in done.stdout


def test_it_imports_nothing_but_the_api():
    for file in (EXAMPLE / "src").rglob("*.py"):
        imported = [line.split()[1] for line in file.read_text().splitlines() if line.startswith(("from ", "import "))]
        own = [name for name in imported if name.startswith("probebench")]
        assert set(own) <= {"probebench.api", "probebench_example"}, file


def test_its_dependencies_are_those_it_imports():
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    declared = {dependency.partition(">")[0] for dependency in project["dependencies"]}
    roots = {
        line.split()[1].partition(".")[0]
        for file in (EXAMPLE / "src").rglob("*.py")
        for line in map(str.strip, file.read_text().splitlines())
        if line.startswith(("from ", "import "))
    }
    assert roots - sys.stdlib_module_names - {"probebench_example"} == declared
