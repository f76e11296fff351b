"""The conformance checks, for each kind of network and each noise policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probebench.testing import Subject, parametrize_with_checks
from probebench_ddpm.backbones.latent import LDM, DiT
from probebench_ddpm.options import DiTOptions, LDMOptions

if TYPE_CHECKING:
    from pathlib import Path

TINY = "ddpm:checkpoint=none,widths=8+8+8+8"

_folders: dict[str, Path] = {}


@pytest.fixture(scope="module", autouse=True)
def _pipelines(latent_in, tmp_path_factory):
    """Saves pipelines for the factories below, which pytest collects before fixtures exist."""
    for kind in ("dit", "text"):
        _folders[kind] = tmp_path_factory.mktemp(kind)
        latent_in(_folders[kind], kind)
    yield
    _folders.clear()


@parametrize_with_checks(
    [
        *(TINY, f"{TINY},attention=false", f"{TINY},noise=shared", f"{TINY},noise=mean,draws=2", f"{TINY},noise=none"),
        Subject("backbone", "dit", lambda: DiT(DiTOptions(checkpoint=str(_folders["dit"])))),
        Subject("backbone", "ldm", lambda: LDM(LDMOptions(checkpoint=str(_folders["text"]), prompt="zeros"))),
    ]
)
def test_conformance(subject, check):
    check(subject)
