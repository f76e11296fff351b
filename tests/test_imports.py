"""Every first-party distribution declares exactly what it imports, and plugins import only the API."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CORE = ROOT
PLUGINS = sorted(path.parent for kind in ("plugins", "examples") for path in ROOT.glob(f"{kind}/*/pyproject.toml"))

UNDECLARED = {"probebench": {"pytest"}}
"""`probebench.testing.parametrize_with_checks` is called in a running pytest only."""


def name_of(project: Path) -> str:
    return tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]


def declared(project: Path) -> set[str]:
    requirements = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def optional(project: Path) -> set[str]:
    """Returns the dependencies of the extras."""
    extras = tomllib.loads((project / "pyproject.toml").read_text())["project"].get("optional-dependencies", {})
    return {canonicalize_name(Requirement(text).name) for texts in extras.values() for text in texts}


def imports(folder: Path) -> dict[str, list[str]]:
    """Returns all modules that the sources of a folder import, with file and line; ``tensor.numpy()`` imports numpy."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                # `from probebench import records` imports probebench.records.files.
                whole = node.module == "probebench"
                names = [f"probebench.{alias.name}" for alias in node.names] if whole else [str(node.module)]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "numpy":
                names = ["numpy"]
            for name in names:
                found.setdefault(name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def distributions(project: Path) -> dict[str, list[str]]:
    """Returns the distributions that the sources of a project import, with file and line."""
    providers = metadata.packages_distributions()
    own = {path.name for path in (project / "src").iterdir()}
    found: dict[str, list[str]] = {}
    for module, places in imports(project / "src").items():
        top = module.partition(".")[0]
        if top in own or top in sys.stdlib_module_names:
            continue
        # Editable distributions do not list their modules, but have the same name. The same holds for distributions of
        # an extra that is not installed.
        same_name = top.startswith("probebench") or (top not in providers and top in optional(project))
        names = [top.replace("_", "-")] if same_name else providers.get(top, [f"(unknown) {top}"])
        found.setdefault(canonicalize_name(names[0]), []).extend(places)
    return found


@pytest.mark.parametrize("project", [CORE, *PLUGINS], ids=name_of)
def test_what_is_imported_is_declared(project):
    allowed = declared(project) | optional(project) | UNDECLARED.get(name_of(project), set())
    assert {name: places for name, places in distributions(project).items() if name not in allowed} == {}


@pytest.mark.parametrize("project", [CORE, *PLUGINS], ids=name_of)
def test_what_is_declared_is_imported(project):
    assert declared(project) - set(distributions(project)) == set()


@pytest.mark.parametrize("project", PLUGINS, ids=name_of)
def test_a_plugin_imports_the_api_and_nothing_else_of_the_core(project):
    inside = {name: places for name, places in imports(project / "src").items() if name.split(".")[0] == "probebench"}
    assert set(inside) == {"probebench.api"}, inside


@pytest.mark.parametrize("project", [CORE, *PLUGINS], ids=name_of)
def test_a_distribution_ships_its_types(project):
    [package] = [path for path in (project / "src").iterdir() if path.is_dir() and not path.name.endswith("-info")]
    assert (package / "py.typed").is_file()
