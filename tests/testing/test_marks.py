"""`parametrize_with_checks`: one test for each component and check, and strict expected failures."""

from __future__ import annotations

import pytest

from probebench.api import UsageError
from probebench.testing import Subject, checks_for, parametrize_with_checks, subjects
from probebench.testing.fakes import ToyDataset, ToyProbe

AUTHORS_TEST = """
from probebench.testing import parametrize_with_checks
from probebench.testing.broken.backbones import DeepestTapFirst, ReversedSchedule
from probebench.testing.fakes import ToyBackbone

class Bare(ToyBackbone):
    levels = lambda self: ToyBackbone.levels(self)[:1]

@parametrize_with_checks(
    [("backbone", DeepestTapFirst), ("backbone", Bare), ("backbone", ReversedSchedule)],
    expected_failures={
        "DeepestTapFirst": {"costs_rise": "listed as in the paper", "taps_are_unique": "fixed before"},
    },
)
def test_conformance(subject, check):
    if check.name in ("costs_rise", "taps_are_unique", "sigma_rises_with_t"):
        check(subject)
"""


def test_there_is_one_test_per_component_and_check():
    mark = parametrize_with_checks([("dataset", ToyDataset), ("probe", ToyProbe)]).mark
    names, parameters = mark.args
    assert names == ("subject", "check")
    assert [parameter.id for parameter in parameters] == [
        f"{name}-{check.name}"
        for name, kind in (("ToyDataset", "dataset"), ("ToyProbe", "probe"))
        for check in checks_for(kind)
    ]


def test_outcomes_of_the_tests_of_a_plugin_author(forks, tmp_path):
    (tmp_path / "test_mine.py").write_text(AUTHORS_TEST)
    pytest_alone = "import pytest; raise SystemExit(pytest.console_main())"
    words = ["-q", "-rA", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    run = forks.python(pytest_alone, *words, folder=tmp_path)
    assert run.wait() == pytest.ExitCode.TESTS_FAILED
    lines = [line for line in run.stdout.splitlines() if "test_mine.py" in line]

    def line(outcome: str, test: str) -> str:
        (found,) = [line for line in lines if line.startswith(outcome) and test in line]
        return found

    assert "listed as in the paper" in line("XFAIL", "DeepestTapFirst-costs_rise")
    assert "XPASS(strict)" in run.stdout
    assert "DeepestTapFirst-taps_are_unique" in line("FAILED", "DeepestTapFirst")
    assert line("FAILED", "ReversedSchedule-sigma_rises_with_t")
    assert "t=100 has sigma 0.1, less than t=10 with 0.8" in run.stdout
    (skipped,) = [line for line in run.stdout.splitlines() if line.startswith("SKIPPED")]
    assert "the backbone has no two levels t=N" in skipped


@pytest.mark.parametrize(
    "expected", [{"ToyProbe": {"no_such_check": "why"}}, {"Misspelt": {"scores_are_usable": "why"}}]
)
def test_an_expected_failure_that_names_nothing_is_an_error(expected):
    with pytest.raises(UsageError, match=r"do not name a check of these components[\s\S]*probebench check --list"):
        parametrize_with_checks([("probe", ToyProbe)], expected_failures=expected)


def test_a_subject_of_unknown_kind_is_an_error():
    with pytest.raises(UsageError, match="'model' is not a kind of component"):
        subjects(("model", ToyProbe))


def test_a_subject_is_returned_as_it_is():
    subject = Subject("probe", "mine", ToyProbe)
    assert subjects(subject) == (subject,)


def test_an_unknown_name_is_an_error_at_collection(site):
    site.registry()
    with pytest.raises(UsageError, match="no component is called 'no-such-thing'"):
        parametrize_with_checks(["no-such-thing"])
