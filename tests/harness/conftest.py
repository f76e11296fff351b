"""A laboratory: toy components that a test can watch or break, and runs of them in this process."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from probebench import provenance, records
from probebench.api import BackboneSpec, DatasetSpec, ProbeSpec, ProtocolSpec, Spec
from probebench.harness import RunResult, plan, run
from probebench.loading import Plugin
from probebench.plan import Request
from probebench.plugins import Discovery
from probebench.registry import Registry
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULE = "laboratory_parts"


@dataclass(frozen=True)
class Call:
    """One batch that went through a backbone."""

    backbone: str
    source: str
    index: tuple[int, ...]
    points: frozenset[str]


@dataclass
class Lab:
    """Components by name, and what was done with them. `net`, `shades` and `means` are there from the start."""

    folder: Path
    module: types.ModuleType
    specs: dict[tuple[type, str], Spec] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    protocols: list[ProtocolSpec] = field(default_factory=list)

    def protocol(self, name: str, document: str) -> None:
        path = self.folder / f"{name}.toml"
        path.write_text(document)
        self.protocols.append(ProtocolSpec(name=name, document=path))

    def backbone(self, name: str, factory: Callable[..., Any], **card: Any) -> None:
        self._add(BackboneSpec, name, factory, card)

    def dataset(self, name: str, factory: Callable[..., Any], **card: Any) -> None:
        self._add(DatasetSpec, name, factory, card)

    def probe(self, name: str, factory: Callable[..., Any], **card: Any) -> None:
        self._add(ProbeSpec, name, factory, card)

    def _add(self, kind: type, name: str, factory: Callable[..., Any], card: dict[str, Any]) -> None:
        attribute = f"{kind.__name__}_{name.replace('-', '_')}"
        setattr(self.module, attribute, factory)
        card.setdefault("summary", "made for a test")
        self.specs[kind, name] = kind(name=name, factory=f"{MODULE}:{attribute}", **card)

    @property
    def registry(self) -> Registry:
        plugin = Plugin(
            entry_point="main",
            module=MODULE,
            distribution="lab",
            version="1.0",
            api=1,
            specs=tuple(self.specs.values()),
            import_seconds=0.0,
            heavy=(),
            protocols=tuple(self.protocols),
        )
        return Registry(Discovery((plugin,), ()))

    def request(self, **changes: Any) -> Request:
        settings: dict[str, Any] = {
            "backbones": ("net",),
            "datasets": ("shades",),
            "probes": ("means",),
            "results": self.folder / "results",
            "store": self.folder / "store",
            "precision": "fp32",
            "device": "cpu",
        }
        return Request(**settings | changes)

    def run(self, **changes: Any) -> RunResult:
        return run(self.request(**changes), argv=("run",), registry=self.registry)

    def plan(self, **changes: Any):
        return plan(self.request(**changes), registry=self.registry)

    def record(self, **changes: Any) -> records.Record:
        """The record of a run of one cell."""
        (cell,) = self.run(**changes).cells
        return cell.record

    def forwarded(self) -> int:
        """Images that have gone through the counting backbones since the last call."""
        count = sum(len(call.index) for call in self.calls)
        self.calls.clear()
        return count

    def counting(self, name: str, base: type[ToyBackbone] = ToyBackbone) -> type[ToyBackbone]:
        """A backbone that notes what goes through it."""
        calls = self.calls

        class Counting(base):
            def extract(self, batch, points, *, seed):
                calls.append(Call(name, batch.source, tuple(batch.index.tolist()), frozenset(map(str, points))))
                return super().extract(batch, points, seed=seed)

        return Counting


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Lab:
    # A commit made while the tests run is no difference between two of their runs.
    monkeypatch.setattr(provenance, "git_state", lambda _: None)
    module = types.ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    lab = Lab(tmp_path, module)
    lab.backbone("net", lab.counting("net"))
    lab.dataset("shades", ToyDataset)
    lab.probe("means", ToyProbe)
    return lab


@pytest.fixture
def probebench(lab, cli, monkeypatch):
    """The command line, with the components of the laboratory and folders of its own."""
    for module in ("plan", "series"):
        monkeypatch.setattr(f"probebench.{module}.installed", lambda: lab.registry)
    monkeypatch.chdir(lab.folder)
    standard = {"--backbone": "net", "--dataset": "shades", "--probe": "means"}

    def run(*arguments: str, config: bool = False):
        given = {name: value for name, value in standard.items() if name not in arguments and not config}
        return cli("run", *(word for pair in given.items() for word in pair), *arguments)

    return run


def comparable(folder: Path) -> dict[str, Any]:
    """All records under a folder, without what honest repetitions differ in."""
    return {
        str(path.relative_to(folder)): records.comparable(records.read_record(path))
        for path in sorted(folder.rglob("*.json"))
    }


def files(folder: Path) -> dict[str, bytes]:
    """All files under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(name="comparable")
def _comparable():
    return comparable


@pytest.fixture(name="files")
def _files():
    return files
