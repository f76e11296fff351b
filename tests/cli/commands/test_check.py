"""`probebench check NAME`."""

from __future__ import annotations

import pytest

from probebench.testing import CONTRACTS, checks_for

SOURCE = """
@hookimpl
def probebench_backbones():
    yield BackboneSpec(name="toy", factory="probebench.testing.fakes:ToyBackbone", summary="good")
    yield BackboneSpec(name="two", factory="probebench.testing.fakes:ToyBackbone", summary="one of two")
    yield BackboneSpec(name="deepest-first", summary="bad",
                       factory="probebench.testing.broken.backbones:DeepestTapFirst")
    yield BackboneSpec(name="gone", factory="fake_absent:x", summary="cannot be imported")
    yield BackboneSpec(name="loud", factory="fake_loud:Loud", summary="prints")

@hookimpl
def probebench_probes():
    yield ProbeSpec(name="two", factory="probebench.testing.fakes:ToyProbe", summary="the other")
"""

LOUD = """
from probebench.testing.fakes import ToyBackbone

class Loud(ToyBackbone):
    def prepare(self, images):
        print("hello from the forward pass")
        return super().prepare(images)
"""


@pytest.fixture(autouse=True)
def _plugins(site):
    (site.folder / "fake_loud.py").write_text(LOUD)
    site.add("some-plugin", SOURCE)
    site.load()


def test_a_good_component_passes_every_check(cli):
    answer = cli("check", "toy")
    assert (answer.code, answer.err) == (0, "")
    assert "toy (backbone)" in answer.out
    for check in checks_for("backbone"):
        assert f"{check.name} " in answer.out
    assert f"{len(checks_for('backbone'))} passed, 0 failed, 0 skipped" in answer.out


def test_a_failed_check_is_reported_with_a_remedy_and_exits_3(cli):
    answer = cli("check", "some-plugin/deepest-first")
    assert answer.code == 3
    (row,) = [line for line in answer.out.splitlines() if "FAIL" in line]
    assert row.startswith("costs_rise")
    assert row.rstrip().endswith("order taps() from the shallowest to the deepest")
    count = len(checks_for("backbone"))
    assert f"error: some-plugin/deepest-first fails 1 of {count} checks" in answer.err


def test_json_holds_every_result_and_nothing_else_is_on_stdout(cli):
    answer = cli("check", "loud", "--json")
    assert answer.code == 0
    (component,) = answer.json["components"]
    assert (component["name"], component["kind"]) == ("loud", "backbone")
    assert {result["status"] for result in component["checks"]} == {"passed"}
    assert answer.json["passed"] == len(component["checks"]) == len(checks_for("backbone"))
    assert answer.json["failed"] == answer.json["skipped"] == 0


def test_json_of_a_failure_exits_3_too(cli):
    answer = cli("check", "deepest-first", "--json")
    assert answer.code == 3
    (failed,) = [result for result in answer.json["components"][0]["checks"] if result["status"] == "failed"]
    assert failed["check"] == "costs_rise"
    assert "less than head before it" in failed["message"]


def test_a_name_of_two_kinds_checks_both(cli):
    answer = cli("check", "two", "--json")
    assert [component["kind"] for component in answer.json["components"]] == ["backbone", "probe"]


def test_the_list_is_exactly_what_runs(cli):
    listed = cli("check", "--list", "--json").json
    assert list(listed) == list(CONTRACTS)
    run = {
        part["kind"]: part["checks"] for name in ("two",) for part in cli("check", name, "--json").json["components"]
    }
    for kind, results in run.items():
        assert list(listed[kind]) == [result["check"] for result in results]
    plain = cli("check", "--list").out
    for kind, laws in listed.items():
        assert f"{kind} checks" in plain
        assert all(name in plain and law in plain for name, law in laws.items())


def test_nothing_to_check_is_a_usage_error(cli):
    answer = cli("check")
    assert answer.code == 2
    assert answer.err.splitlines()[0] == "error: there is nothing to check"


def test_an_unknown_name_is_a_usage_error_with_a_suggestion(cli):
    answer = cli("check", "deepest-frist")
    assert answer.code == 2
    assert "deepest-first" in answer.err


def test_an_unknown_option_is_a_usage_error(cli):
    answer = cli("check", "toy:depth=3")
    assert answer.code == 2
    assert "depth" in answer.err


def test_what_cannot_be_built_has_one_error_not_one_per_check(cli):
    answer = cli("check", "gone")
    assert answer.code == 3
    assert answer.out == ""
    assert "fake_absent" in answer.err
