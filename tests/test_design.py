"""docs/design.md describes the tree: its packages, their layers, and the way of one run."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "probebench"
PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d?) ?\| `([a-z/]+)` \| (.+) \|$", PAGE, re.MULTILINE)
WAY = re.findall(r"^\d+\. `([\w.]+)` ", PAGE, re.MULTILINE)


def summary(package: Path) -> str:
    """First line of a package's docstring."""
    return (ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or "").splitlines()[0]


def test_every_package_has_its_line_and_every_line_its_package():
    packages = {path.parent for path in CORE.rglob("__init__.py")} - {CORE}
    assert {name: duty for _, name, duty in ROWS} == {
        path.relative_to(CORE).as_posix(): summary(path) for path in packages
    }


def test_layers_are_those_that_import_linter_checks():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    checked = [{name.strip() for name in line.split("|")} for line in contracts[0]["layers"]]
    listed: list[set[str]] = []
    for number, name, _ in ROWS:
        if number:
            listed += [set() for _ in range(int(number) - len(listed))]
            listed[int(number) - 1].add(name)
    assert listed == checked
    assert len(listed) <= 8


def test_the_root_of_the_core_holds_packages_only():
    files = {path.name for path in CORE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


def function(name: str):
    """The function or method of a dotted name below the core."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(["probebench", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


def test_a_run_enters_the_listed_functions_in_order(probebench):
    """The page lists at most ten, and a run calls each of them, for the first time in this order."""
    codes = {function(name).__code__: name for name in WAY}
    entered: list[str] = []

    def profile(frame, event, _):
        if event == "call" and (name := codes.get(frame.f_code)) and name not in entered:
            entered.append(name)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        assert probebench("--levels", "t=10", "--taps", "early").code == 0
    finally:
        sys.setprofile(before)
    assert entered == WAY
    assert 5 < len(WAY) <= 10
