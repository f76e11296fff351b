"""`probebench plugins list` and `probebench plugins doctor`."""

from __future__ import annotations

import re

from probebench.plugins import import_cost

GOOD = """
@hookimpl
def probebench_probes():
    yield ProbeSpec(name="good", factory="a:b", summary="works", requires=("pluggy>=1",))
"""
NEEDY = GOOD.replace("pluggy>=1", "absent-thing>=2")


def test_all_entry_points_are_listed_broken_ones_too(site, cli):
    site.add("fake", GOOD, version="1.5")
    site.add("broken", "import absent_dependency", entry_point="other", version="0.3")
    site.load()
    answer = cli("plugins", "list")
    assert answer.code == 0
    rows = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert rows == [
        "distribution version entry point API components state",
        "broken 0.3 other 1 problem: probebench plugins doctor",
        "fake 1.5 main 1 good ok",
    ]


def test_the_list_as_json(site, cli):
    site.add("fake", GOOD, version="1.5")
    site.load()
    (row,) = cli("plugins", "list", "--json").json["plugins"]
    assert (row["distribution"], row["version"], row["entry_point"], row["api"]) == ("fake", "1.5", "main", 1)
    assert [item["name"] for item in row["components"]] == ["good"]
    assert row["problems"] == []


def test_the_doctor_finds_a_healthy_plugin_healthy(site, cli):
    site.add("fake", GOOD, version="1.5")
    site.load()
    answer = cli("plugins", "doctor")
    assert answer.code == 0
    assert answer.err == ""
    first, module, provides, requires, *_, last = answer.out.splitlines()
    assert first == "fake 1.5, entry point 'main'"
    assert module.startswith("  module fake_fake, API 1, imported in ")
    assert provides == "  provides probe good"
    assert re.fullmatch(r"  requires pluggy>=1: [\d.]+ is installed", requires)
    assert last == "1 plugin, 0 problems"


def test_the_doctor_shows_every_problem_and_exits_with_3(site, cli):
    site.add("aa-good", GOOD)
    site.add("needy", NEEDY)
    site.add("broken", "import absent_dependency")
    site.add("old", GOOD, api=0)
    site.load()
    answer = cli("plugins", "doctor")
    assert answer.code == 3
    assert answer.err == ""
    assert "PROBLEM (import): ModuleNotFoundError: No module named 'absent_dependency'" in answer.out
    assert "    try: reinstall it, or remove it with: pip uninstall broken" in answer.out
    assert "PROBLEM (api): the plugin is written for plugin API 0, but this probebench has plugin API 1" in answer.out
    assert "  requires absent-thing>=2: not installed" in answer.out
    assert "PROBLEM (requires): needs absent-thing>=2 (not installed)" in answer.out
    assert "provides probe good" in answer.out
    assert answer.out.endswith("4 plugins, 3 problems\n")


def test_the_doctor_as_json(site, cli):
    site.add("fake", "print('noise')" + GOOD)
    site.add("broken", "import absent_dependency")
    site.load()
    answer = cli("plugins", "doctor", "--json")
    assert answer.code == 3
    broken, fake = answer.json["plugins"]
    assert broken["problems"][0]["stage"] == "import"
    assert broken["import_seconds"] is None
    assert fake["import_seconds"] >= 0
    assert fake["heavy"] == []
    assert fake["components"][0]["requires"][0]["met"] is True


def test_the_doctor_measures_in_a_fresh_process_where_nothing_is_loaded_yet(site, cli):
    (site.folder / "transformers.py").write_text("")
    site.add("aa-heavy", "import transformers" + GOOD)
    site.add("bb-heavy", "import transformers" + GOOD)
    assert [plugin.heavy for plugin in site.load().plugins] == [("transformers",), ()]
    answer = cli("plugins", "doctor")
    assert answer.code == 0
    assert answer.out.count("warning: its import loads transformers, which slows every command") == 2


def test_a_slow_import_is_measured(site, cli):
    site.add("slow", "import time\ntime.sleep(0.2)" + GOOD)
    site.load()
    assert cli("plugins", "doctor", "--json").json["plugins"][0]["import_seconds"] >= 0.2


def test_a_module_that_only_fails_in_a_fresh_process_is_not_measured(site, cli, monkeypatch):
    site.add("fake", "import os\nif 'FRESH' in os.environ: os._exit(1)" + GOOD)
    site.load()
    assert import_cost.measure_import("fake_fake") is not None
    monkeypatch.setenv("FRESH", "1")
    assert import_cost.measure_import("fake_fake") is None
    assert "API 1, not measured" in cli("plugins", "doctor").out


def test_names_given_by_several_distributions_are_noted(site, cli):
    site.add("one", GOOD)
    site.add("two", GOOD)
    site.load()
    answer = cli("plugins", "doctor")
    assert answer.code == 0
    assert "note: several distributions have a probe called good; write one/good or two/good" in answer.out
    assert cli("plugins", "doctor", "--json").json["shared_names"] == [
        {"kind": "probe", "name": "good", "distributions": ["one", "two"]}
    ]
