"""Options of published protocols, read from their documents."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import probebench_probes


@pytest.fixture(scope="session")
def thesis2024():
    """Options of each probe under the thesis' protocol."""
    path = Path(probebench_probes.__file__).with_name("protocols") / "thesis2024.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: rules["options"] for name, rules in document["probes"].items()}
