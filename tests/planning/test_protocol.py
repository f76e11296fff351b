"""Protocol documents of third parties, and `probebench protocol`."""

from __future__ import annotations

import pytest

from probebench.api import API_VERSION, PluginError, ProtocolSpec
from probebench.planning.protocol import find
from probebench.planning.protocol_files import settings

PROBES = """
from pydantic import Field

class NearOptions(Options):
    k: int = Field(5, ge=1, description="neighbours")
    far: bool = Field(False, description="look far")

@hookimpl
def probebench_probes():
    yield ProbeSpec(name="near", factory="nowhere:Near", options=NearOptions, summary="looks around")
"""

PROTOCOLS = """
from pathlib import Path

@hookimpl
def probebench_protocols():
    yield ProtocolSpec(name="paper", document=Path(__file__).with_name("paper.toml"))
"""

PAPER = """
name = "paper"
summary = "as printed"
pool = "gap"

[source]
work = "A. Author, A title, 2020"

[probes.near]
version = 2

[probes.near.options]
k = 7

[[open]]
field = "probes.near.k"
reading = "7"
reason = "a misprint says 77"
"""


@pytest.fixture
def paper(site):
    """Installs a plugin with this text as its protocol, and returns the registry."""

    def install(text: str = PAPER, source: str = PROBES + PROTOCOLS):
        site.add("fake", source, version="1.5")
        (site.folder / "paper.toml").write_text(text)
        return site.registry()

    return install


def test_a_third_party_ships_a_protocol(paper):
    paper()
    (ruled,) = find("paper").ruled(None)
    assert ruled.protocol.name == "paper:near"
    assert ruled.probe.title == "near:k=7"


def test_a_document_inside_a_package(paper, site):
    (site.folder / "fake_papers").mkdir()
    (site.folder / "fake_papers" / "__init__.py").write_text("")
    (site.folder / "fake_papers" / "paper.toml").write_text(PAPER)
    source = PROTOCOLS.replace('Path(__file__).with_name("paper.toml")', '"fake_papers:paper.toml"')
    paper("not read", PROBES + source)
    assert find("fake/paper").document.summary == "as printed"


def test_a_plugin_without_protocols_loads_under_the_same_api_version(paper):
    registry = paper(source=PROBES)
    assert API_VERSION == 1
    assert registry.discovery.problems == ()
    assert registry.discovery.plugins[0].protocols == ()


def test_a_probe_of_the_protocols_own_distribution_comes_first(paper, site):
    site.add("stranger", PROBES)
    paper()
    (ruled,) = find("paper").ruled(None)
    assert ruled.probe.entry.qualified == "fake/near"


def test_two_distributions_with_one_name(paper, site, cli):
    site.add("stranger", PROTOCOLS)
    paper()
    answer = cli("protocol", "show", "paper")
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "error: several distributions have a protocol 'paper': fake 1.5 and stranger 1.0",
        "  try: write fake/paper or stranger/paper",
    ]


def test_the_hash_changes_with_every_setting_and_not_with_the_text(paper, site):
    def hashed(old, new):
        (site.folder / "paper.toml").write_text(PAPER.replace(old, new))
        (ruled,) = find("paper").ruled(None)
        return ruled.protocol.hash

    paper()
    first = hashed("", "")
    assert hashed("a misprint", "an old misprint") == first
    assert hashed("as printed", "as it was printed") == first
    settings = [
        ("k = 7", "far = true\nk = 7"),
        ("version = 2", "version = 3"),
        ('pool = "gap"', 'pool = "max"'),
        ('pool = "gap"', 'pool = "gap"\nlevels = ["10"]'),
        ('pool = "gap"', 'pool = "gap"\ntaps = ["mid"]'),
    ]
    assert len({first, *(hashed(old, new) for old, new in settings)}) == 1 + len(settings)


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ('pool = "gap"', 'poool = "gap"', "unknown key poool", "did you mean 'pool'?"),
        ("work =", "page = 3\nwork =", "unknown key source.page", "one of file, repository, section, work"),
        (
            "version = 2",
            "versions = 2",
            "probes.near.version is missing; unknown key probes.near.versions",
            "did you mean 'version'?",
        ),
        (
            "reason =",
            "because =",
            "open.0.reason is missing; unknown key open.0.because",
            "one of field, reading, reason",
        ),
        ("version = 2", "version = 0", "probes.near.version: Input should be greater than or equal to 1", None),
        ('reading = "7"', 'reading = "77"', "open: probes.near.k is 7 here, not 77", None),
        ('field = "probes.near.k"', 'field = "probes.near.m"', "open: probes.near.m is not among the settings", None),
    ],
)
def test_a_document_that_is_not_valid(paper, old, new, what, hint):
    paper(PAPER.replace(old, new))
    with pytest.raises(PluginError) as caught:
        find("paper")
    assert caught.value.what == f"protocol paper: {what}"
    assert caught.value.where.endswith("paper.toml of fake 1.5")
    assert caught.value.hint == hint


def test_a_document_that_is_not_toml(paper, cli):
    paper("name = paper")
    answer = cli("protocol", "show", "paper")
    assert answer.code == 3
    assert answer.err.startswith("error: protocol paper is not TOML: ")
    assert len(answer.err.splitlines()) == 2


def test_a_missing_document(paper, site, cli):
    paper()
    (site.folder / "paper.toml").unlink()
    answer = cli("protocol", "show", "paper")
    assert answer.code == 3
    assert answer.err.startswith("error: protocol paper cannot be read: ")
    assert len(answer.err.splitlines()) == 2


def test_a_document_of_another_name(paper):
    paper(PAPER.replace('name = "paper"', 'name = "pager"'))
    with pytest.raises(PluginError, match="the document of protocol paper has the name 'pager'") as caught:
        find("paper")
    assert caught.value.hint == 'name = "paper"'


@pytest.mark.parametrize(
    "changes", [{"name": "No"}, {"document": "folder/file.toml"}, {"document": "package:file.json"}]
)
def test_a_spec_with_an_invalid_name_or_document(changes):
    with pytest.raises(ValueError, match="is not"):
        ProtocolSpec(**{"name": "paper", "document": "package:paper.toml"} | changes)


def test_a_protocol_provided_twice_is_a_problem_of_its_plugin(paper):
    registry = paper(source=PROBES + PROTOCOLS + PROTOCOLS.splitlines()[-1])
    (problem,) = registry.discovery.problems
    assert problem.error == "protocol paper is provided twice, by entry points 'main' and 'main'"
    assert find("paper").label == "paper"


def test_the_list_names_an_invalid_document_and_shows_the_others(paper, site, cli):
    site.add("good", PROTOCOLS.replace("paper", "works"))
    paper("name = 3")
    (site.folder / "works.toml").write_text(PAPER.replace('"paper"', '"works"'))
    answer = cli("protocol", "list")
    assert answer.code == 3
    assert [line.split("  ")[0].strip() for line in answer.out.splitlines()] == ["protocol", "paper", "works"]
    assert "cannot be read" in answer.out.splitlines()[1]
    assert answer.err.startswith("error: protocol paper: name: ")


def test_show_marks_the_settings_that_the_source_leaves_open(paper, cli):
    paper()
    out = cli("protocol", "show", "paper").out
    assert "A. Author, A title, 2020" in out
    assert any(line.split() == ["probes.near.k", "7", "open", "in", "the", "source"] for line in out.splitlines())
    assert any(line.startswith("levels") and "left to the run" in line for line in out.splitlines())
    assert "a misprint says 77" in out


def test_show_as_json(paper, cli):
    paper()
    (ruled,) = find("paper").ruled(None)
    shown = cli("protocol", "show", "paper:near", "--json").json
    assert shown["hashes"] == {"near": ruled.protocol.hash}
    assert shown["document"]["probes"]["near"]["options"] == {"k": 7}


def test_diff_shows_settings_side_by_side(paper, site, cli):
    source = PROTOCOLS + PROTOCOLS.splitlines()[-1].replace("paper", "reprint")
    reprint = PAPER.replace("paper", "reprint").replace("7", "9").replace("k = 9", "far = true\nk = 9")
    (site.folder / "reprint.toml").write_text(reprint)
    paper(source=PROBES + source)
    lines = cli("protocol", "diff", "paper", "reprint").out.splitlines()
    assert [line.split() for line in lines] == [
        ["setting", "paper", "reprint"],
        ["pool", "gap", "gap"],
        ["taps", *["left", "to", "the", "run"], *["left", "to", "the", "run"]],
        ["levels", *["left", "to", "the", "run"], *["left", "to", "the", "run"]],
        ["*", "probes.near.k", "7", "9"],
        ["*", "probes.near.far", "-", "true"],
    ]
    assert len({line.index(word) for line, word in zip(lines[:2], ("paper", "gap"), strict=True)}) == 1  # aligned
    fields = cli("protocol", "diff", "paper", "reprint", "--json").json["fields"]
    assert fields[-1] == {"field": "probes.near.far", "a": None, "b": "true", "same": False}


def test_list_as_json(paper, cli):
    paper()
    (row,) = cli("protocol", "list", "--json").json["protocols"]
    assert row == {
        "name": "paper",
        "distribution": "fake",
        "distribution_version": "1.5",
        "probes": {"near": 2},
        "summary": "as printed",
        "error": None,
    }


def test_a_document_may_run_one_probe_in_two_ways_under_two_names(paper):
    ways = (
        PAPER + '\n[probes.near-wide]\nprobe = "near"\npool = "grid2"\nversion = 1\n[probes.near-wide.options]\nk = 7\n'
    )
    paper(ways)
    first, second = find("paper").ruled(None)
    assert (first.protocol.name, second.protocol.name) == ("paper:near", "paper:near-wide")
    assert first.probe == second.probe
    assert (first.pool, second.pool) == ("gap", "grid2")
    assert first.protocol.hash != second.protocol.hash
    assert settings(find("paper").document)["probes.near-wide.pool"] == "grid2"
