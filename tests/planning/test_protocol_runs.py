"""Runs under named protocols: the cells, their records, and the requests that are refused."""

from __future__ import annotations

import re

import pytest
from pydantic import Field

from probebench.api import CLEAN, Options, UsageError
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe

HEAD = """
name = "{name}"
summary = "made for a test"
{more}
[source]
work = "a paper"
"""

KNOB = """
[probes.knob]
version = 3
[probes.knob.options]
share = {share}
"""


class Knobs(Options):
    share: float = Field(0.5, ge=0, le=1, description="a share")


class Quiet(ToyBackbone):
    def levels(self):
        return (CLEAN,)


@pytest.fixture(autouse=True)
def _parts(lab):
    lab.probe("knob", ToyProbe, options=Knobs)
    lab.protocol("paper", HEAD.format(name="paper", more="") + KNOB.format(share=0.25))


def fixing(lab, name, more):
    lab.protocol(name, HEAD.format(name=name, more=more) + KNOB.format(share=0.25))


def test_a_record_names_the_protocol_and_the_options_that_it_sets(lab):
    record = lab.record(probe=(), protocol=("paper",))
    assert record.protocol.name == "paper:knob"
    assert record.cell.probe.options == {"share": 0.25}
    assert record.protocol.document["protocol"] == {"name": "paper:knob", "version": 3}
    assert record.protocol.document["probe"]["options"] == {"share": 0.25}


def test_the_same_probe_beside_it_keeps_its_title_as_protocol(lab):
    """So boards that were built without named protocols stay as they are."""
    plain, named = (cell.record for cell in lab.run(probe=("knob:share=0.25",), protocol=("paper",)).cells)
    assert (plain.protocol.name, named.protocol.name) == ("knob:share=0.25", "paper:knob")
    assert plain.protocol.hash != named.protocol.hash
    assert set(plain.protocol.document) == {"version", "probe", "selection", "final_fit", "measured"}
    assert plain.metrics == named.metrics


def test_probes_with_and_without_protocol_share_one_pass(lab):
    lab.run(probe=("means",), protocol=("paper",))
    once = lab.forwarded()
    lab.run(probe=("means",), results=lab.folder / "elsewhere", store=lab.folder / "other")
    assert once == lab.forwarded() > 0


def test_a_second_run_finds_the_record(lab):
    lab.run(probe=(), protocol=("paper",))
    assert [cell.fresh for cell in lab.run(probe=(), protocol=("paper",)).cells] == [False]


def test_a_protocol_that_is_named_twice_is_run_once(lab):
    assert len(lab.run(probe=(), protocol=("paper", "lab/paper", "paper:knob")).cells) == 1


def test_options_may_differ_on_a_dataset(lab):
    lab.dataset("flowers", ToyDataset)
    special = "[probes.knob.datasets.flowers]\nshare = 0.75\n"
    lab.protocol("floral", HEAD.format(name="floral", more="") + KNOB.format(share=0.25) + special)
    records = [c.record for c in lab.run(probe=(), protocol=("floral",), dataset=("shades", "flowers")).cells]
    assert [record.cell.probe.options["share"] for record in records] == [0.25, 0.75]
    assert {record.protocol.name for record in records} == {"floral:knob"}


def test_a_protocol_fixes_what_is_read(lab):
    fixing(lab, "exact", 'pool = "max"\ntaps = ["late"]\nlevels = ["t=10"]')
    free, fixed = (cell.record for cell in lab.run(probe=("means",), protocol=("exact",)).cells)
    assert [str(point) for point in fixed.grid_points()] == ["late@t=10@max"]
    assert fixed.candidates.pool == "max"
    assert fixed.protocol.document["points"] == {"pool": "max", "taps": ["late"], "levels": ["t=10"]}
    assert free.candidates.pool == "gap"
    assert len(free.grid_points()) > 1


@pytest.mark.parametrize(
    ("more", "requested", "words"),
    [
        ('pool = "max"', {"pool": "gap"}, "fixes pool max"),
        ('taps = ["late"]', {"taps": ("early",)}, "fixes taps late"),
        ('levels = ["t=10", "t=100"]', {"levels": ("clean",)}, "fixes levels t=10+t=100"),
    ],
)
def test_an_option_that_contradicts_the_protocol_is_refused(lab, more, requested, words):
    fixing(lab, "exact", more)
    with pytest.raises(UsageError, match=re.escape(f"protocol exact:knob {words}")) as caught:
        lab.run(probe=(), protocol=("exact",), **requested)
    (option,) = requested
    assert caught.value.where == f"--{option}"


def test_an_option_that_repeats_the_protocol_is_accepted(lab):
    fixing(lab, "exact", 'pool = "max"')
    assert lab.record(probe=(), protocol=("exact",), pool="max").candidates.pool == "max"


@pytest.mark.parametrize(
    ("document", "code", "lines"),
    [
        (
            HEAD.format(name="odd", more="") + KNOB.format(share=0.25) + "shares = 1\n",
            3,
            [
                "error: knob: there is no option 'shares'",
                "  in: protocol odd of lab 1.0",
                "  try: did you mean 'share'? (options: share)",
            ],
        ),
        (
            HEAD.format(name="odd", more="") + KNOB.format(share=2),
            3,
            ["error: knob: option share=2 ", "  in: protocol odd of lab 1.0", "  try: probebench show knob"],
        ),
        (
            HEAD.format(name="odd", more="") + KNOB.replace("knob", "forest").format(share=0.5),
            3,
            [
                "error: the protocol needs the probe 'forest': no probe is called 'forest'",
                "  in: protocol odd of lab 1.0",
                "  try: probebench list probes",
            ],
        ),
        (
            HEAD.format(name="odd", more='levels = ["t=11"]') + KNOB.format(share=0.5),
            2,
            ["error: the backbone has no level 't=11'", "  in: protocol odd:knob", "  try: one of clean, t=10, t=100"],
        ),
        (
            HEAD.format(name="odd", more='taps = ["lat"]') + KNOB.format(share=0.5),
            2,
            ["error: no tap is called 'lat'", "  in: protocol odd:knob", "  try: did you mean 'late'?"],
        ),
    ],
)
def test_a_protocol_that_cannot_be_run_is_reported_before_any_work(lab, probebench, document, code, lines):
    lab.protocol("odd", document)
    answer = probebench("--protocol", "odd", "--probe", "means")
    assert (answer.code, answer.out) == (code, "")
    assert len(answer.err.splitlines()) == len(lines)
    assert all(found.startswith(line) for found, line in zip(answer.err.splitlines(), lines, strict=True))
    assert not list((lab.folder / "results").rglob("*.json"))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("papers", ["error: no protocol is called 'papers'", "  try: did you mean 'paper'? (available: paper)"]),
        (
            "other/paper",
            ["error: no protocol is called 'other/paper'", "  try: did you mean 'paper'? (available: paper)"],
        ),
        (
            "paper:knop",
            [
                "error: protocol paper has no probe 'knop'",
                "  in: paper:knop",
                "  try: did you mean 'knob'? (probes: knob)",
            ],
        ),
    ],
)
def test_an_unknown_protocol_is_reported_with_those_that_are_installed(probebench, name, lines):
    answer = probebench("--protocol", name)
    assert (answer.code, answer.err.splitlines()) == (2, lines)


def test_a_protocol_without_probe_is_run_alone(lab, probebench):
    answer = probebench("--backbone", "net", "--dataset", "shades", "--protocol", "paper", "--dry-run", config=True)
    assert [line.split()[2] for line in answer.out.splitlines()] == ["probe", "paper:knob"]


def test_a_config_file_names_protocols(lab, probebench):
    config = lab.folder / "run.toml"
    config.write_text(
        'backbone = "net"\ndataset = "shades"\nprobe = "means"\nprotocol = ["paper"]\nbaselines = false\n'
    )
    answer = probebench("--config", str(config), "--dry-run", config=True)
    assert [line.split()[2] for line in answer.out.splitlines()] == ["probe", "means", "paper:knob"]


def test_a_level_that_only_some_backbones_have(lab):
    """Beside another backbone, one without noise levels is read clean, as with --levels."""
    lab.backbone("quiet", Quiet)
    fixing(lab, "noisy", 'levels = ["t=10"]')
    noisy, quiet = (c.record for c in lab.run(probe=(), protocol=("noisy",), backbone=("net", "quiet")).cells)
    assert (noisy.candidates.levels, quiet.candidates.levels) == (("t=10",), ("clean",))
