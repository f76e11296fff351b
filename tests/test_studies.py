"""The studies that come with probebench can be run: what they name exists, and what they probe they have trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from probebench.cli.settings import from_file, study_of
from probebench.config import parse_spec
from probebench.study import check

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_is_sound(path):
    study = study_of(from_file(path))
    check(study)
    trained = {str(one.out) for one in study.trainings}
    probed = {parse_spec(text).options.get("run") for text in study.request.backbones}
    assert probed - {None} == trained  # a bundled network is of no run
    assert {study.request.results, study.boards, study.plots} == {
        Path("studies", path.stem, name) for name in ("records", "boards", "plots")
    }


def test_there_are_studies():
    assert {path.stem for path in STUDIES} >= {"attention", "epochs", "noise"}
