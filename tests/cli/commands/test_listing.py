"""`probebench list`."""

from __future__ import annotations

import re
import sys

import pytest

SOURCE = """
@hookimpl
def probebench_backbones():
    yield BackboneSpec(name="net", factory="a:b", summary="a network")

@hookimpl
def probebench_probes():
    yield ProbeSpec(name="near", factory="a:b", summary="looks around", license="MIT", version=2)
    yield ProbeSpec(name="needy", factory="a:b", summary="wants more", requires=("absent-thing>=2",))
"""


def test_components_are_listed_with_their_origin(site, cli):
    site.add("fake", SOURCE, version="1.5")
    site.load()
    answer = cli("list")
    assert answer.code == 0
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines[:2] == ["backbones from", "net fake 1.5 a network"]
    assert lines[3:5] == ["datasets from", "(none)"]
    assert lines[7] == "near fake 1.5 looks around"


def test_a_component_without_its_requirements_shows_the_problem(site, cli):
    site.add("fake", SOURCE)
    site.load()
    assert "wants more [needs absent-thing>=2 (not installed)]" in cli("list", "probes").out


def test_on_a_terminal_the_table_fits_its_width(site, cli, monkeypatch):
    site.add("fake", SOURCE)
    site.load()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = re.sub(r"\x1b\[\d*m", "", cli("list", "probes").out)
    assert max(map(len, out.splitlines())) <= 40
    assert "wants more" in out
    assert "[needs" in out


def test_problems_are_mentioned_in_one_line_and_the_rest_works(site, cli):
    site.add("fake", SOURCE)
    site.add("broken", "import absent_dependency")
    site.load()
    answer = cli("list")
    assert answer.code == 0
    assert "net" in answer.out
    assert answer.err == "2 problems with plugins (broken, fake); for details run: probebench plugins doctor\n"


def test_one_kind_can_be_listed(site, cli):
    site.add("fake", SOURCE)
    site.load()
    out = cli("list", "backbones").out
    assert "net" in out
    assert "near" not in out


def test_an_unknown_kind_is_refused(cli):
    answer = cli("list", "probe")
    assert answer.code == 2
    assert "'probe' is not one of 'backbones', 'datasets', 'probes'" in answer.err


def test_json_holds_what_the_table_holds(site, cli):
    site.add("fake", SOURCE, version="1.5")
    site.add("broken", "print('noise')\nimport absent_dependency")
    site.load()
    document = cli("list", "--json").json
    assert [item["name"] for item in document["backbones"]] == ["net"]
    assert document["datasets"] == []
    near, needy = document["probes"]
    assert near == {
        "name": "near",
        "qualified": "fake/near",
        "distribution": "fake",
        "distribution_version": "1.5",
        "version": 2,
        "summary": "looks around",
        "license": "MIT",
        "requires": [],
        "problem": None,
    }
    assert needy["problem"] == "needs absent-thing>=2 (not installed)"
    assert [problem["stage"] for problem in document["problems"]] == ["import", "requires"]
    assert set(cli("list", "datasets", "--json").json) == {"datasets", "problems"}


def test_a_name_given_twice_is_listed_qualified(site, cli):
    site.add("one", SOURCE)
    site.add("two", SOURCE)
    site.load()
    assert [item["name"] for item in cli("list", "--json").json["backbones"]] == ["one/net", "two/net"]


@pytest.mark.parametrize("selection", ["", "nothing-of-that-name"])
def test_nothing_installed_is_an_empty_list(cli, site, monkeypatch, selection):
    site.names.extend(filter(None, [selection]))
    site.load()
    answer = cli("list")
    assert answer.code == 0
    assert answer.out.count("(none)") == 3
    assert bool(answer.err) == bool(selection)
