"""Fixtures of all tests of the core: fake installed distributions, and the command line in this process."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tests.fixtures.lab import _comparable, _files, lab, probebench  # noqa: F401 - fixtures
from tests.fixtures.records import _images, _save_record  # noqa: F401 - fixtures

from probebench.plugins.discovery import Discovery, discover
from probebench.plugins.registry import Registry, installed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _separate_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses a feature store in the folder of the test, and not that of the user."""
    monkeypatch.setenv("PROBEBENCH_STORE", str(tmp_path / "store"))


def _clear_caches() -> None:
    importlib.invalidate_caches()
    discover.cache_clear()
    installed.cache_clear()


@dataclass
class Site:
    """A folder on the import path, to which distributions are written as an installer does."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    names: list[str] = field(default_factory=list)

    def add(
        self,
        distribution: str,
        source: str = "",
        *,
        api: int | str | None = 1,
        entry_point: str = "main",
        version: str = "1.0",
        module: str = "",
        entry_points: str = "",
        folder: Path | None = None,
    ) -> str:
        """Installs a distribution whose light module has this source, and returns the name of the module."""
        folder = folder or self.folder
        module = module or "fake_" + distribution.replace("-", "_").lower()
        head = "from probebench.api import *\n" + (f"PROBEBENCH_API = {api}\n" if api is not None else "")
        (folder / f"{module}.py").write_text(head + textwrap.dedent(source))
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points or f"[probebench]\n{entry_point} = {module}\n")
        self.names.append(distribution)
        return module

    def load(self) -> Discovery:
        """Discovers the added distributions only."""
        self.monkeypatch.setenv("PROBEBENCH_PLUGINS", ",".join(self.names))
        _clear_caches()
        return discover()

    def registry(self) -> Registry:
        """Returns the registry of the added distributions."""
        self.load()
        return installed()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns an empty `Site`."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield Site(folder, monkeypatch)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if name.startswith("fake_") or file.startswith(str(tmp_path)):
            del sys.modules[name]
    _clear_caches()


@dataclass
class Answer:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, parsed as one JSON document."""
        return json.loads(self.out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]):
    """Runs the command line in this process."""
    from probebench.cli import main

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    return run
