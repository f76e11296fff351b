"""The studies of probebench can be run: their components exist, and they train the backbones that they probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from probebench.cli.settings import from_file, study_of
from probebench.harness.study import check
from probebench.planning import jobs
from probebench.util.spec_text import parse_spec

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_can_be_run(path):
    study = study_of(from_file(path))
    check(study)
    trained = {str(one.out) for one in study.trainings}
    texts = [text for request in study.requests for text in request.backbone]
    probed = {parse_spec(text).options.get("run") for text in texts}
    assert probed - {None} == trained  # a bundled network has no run
    assert {study.results, study.boards, study.plots} == {
        Path("studies", path.stem, name) for name in ("records", "boards", "plots")
    }


def test_there_are_studies():
    assert {path.stem for path in STUDIES} >= {"attention", "epochs", "image-size", "noise", "normalisation"}


@pytest.mark.parametrize("path", sorted((ROOT / "leaderboards").glob("*.toml")), ids=lambda path: path.stem)
def test_the_study_of_a_board_can_be_run(path):
    study = study_of(from_file(path))
    assert study.results == Path("leaderboards/records")
    for request in study.requests:
        jobs.check(request)
