"""Boards of generated images: a separate page, and a column on the boards of the same network's features."""

from __future__ import annotations

import csv
import io
import json

import pytest
import torch

from probebench.api import Options, SampleOptions
from probebench.board.files import check, outputs, write
from probebench.records.files import read_record, write_record
from probebench.testing.fakes import ToyBackbone, ToyMeasure
from probebench.util.errors import RecordError

NAME = "gap@5/test30[net@early@clean]"


class GapOptions(SampleOptions):
    count: int = 5
    extractor: str = "net"
    point: str = "early@clean"


class ArtistOptions(Options):
    shade: int = 128


class Artist(ToyBackbone):
    def __init__(self, options=None):
        super().__init__()
        self.shade = options.shade if options else 128

    def fingerprint(self):
        return super().fingerprint()[:-3] + f"{self.shade:03d}"


def painter(job):
    shades = [job.backbone.shade + job.seed + number for number in job.index]
    yield job.index, torch.tensor(shades, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)


@pytest.fixture
def generation_lab(lab):
    """Records of two networks, of their features and of their generated images, with two seeds."""
    lab.module.sampler = painter
    lab.backbone("artist", Artist, options=ArtistOptions, sampler="laboratory_parts:sampler")
    lab.probe("gap", ToyMeasure, options=GapOptions, consumes="samples")
    lab.run(backbone=("artist", "artist:shade=200"), probe=("means", "gap"), seeds=(0, 1), baselines=False)
    return lab


def built(lab):
    found = outputs(lab.folder / "results", lab.folder / "boards")
    return {str(path.relative_to(lab.folder / "boards")): text for path, text in found.items()}


def rows(text, header):
    """The first table whose header holds a text."""
    [found, *_] = [part for part in text.split("\n\n") if part.startswith("|") and header in part.splitlines()[0]]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_the_page_has_the_best_first_and_real_images_beside(generation_lab):
    files = built(generation_lab)
    assert set(files) == {
        "README.md",
        "shades/means.md",
        "shades/means.csv",
        "shades/means.json",
        "shades/generation.md",
        "shades/generation.csv",
    }
    found = rows(files["shades/generation.md"], "Real images")
    assert [row["Backbone"] for row in found[:2]] == ["`artist`", "`artist:shade=200`"]
    assert float(found[0][f"`{NAME}` (lower is better)"]) < float(found[1][f"`{NAME}` (lower is better)"])
    assert all(row["Seeds"] == "2" for row in found)
    assert "Rank" not in found[0]
    assert "[shades](shades/generation.md)" in files["README.md"]


def test_means_and_deviations_are_those_of_the_records(generation_lab):
    [line] = [
        line
        for line in csv.DictReader(io.StringIO(built(generation_lab)["shades/generation.csv"]))
        if (line["metric"], line["backbone"]) == (NAME, "artist")
    ]
    measures = [
        record.metrics[NAME]
        for record in map(
            read_record, sorted((generation_lab.folder / "results" / "shades" / "artist").glob("gap*.json"))
        )
    ]
    first, second = (measure.value for measure in measures)
    assert float(line["value"]) == pytest.approx((first + second) / 2, rel=1e-5)
    assert float(line["sd"]) == pytest.approx(abs(first - second) / 2**0.5, rel=1e-4)
    assert float(line["floor"]) == pytest.approx(measures[0].floor, rel=1e-5)


def test_the_column_beside_the_features_ranks_nothing(generation_lab):
    files = built(generation_lab)
    found = rows(files["shades/means.md"], "Rank")
    by_backbone = {row["Backbone"]: row for row in found}
    assert float(by_backbone["`artist`"][f"`{NAME}`"]) < float(by_backbone["`artist:shade=200`"][f"`{NAME}`"])
    assert {row["Rank"] for row in found} == {"=1"}  # the same features, with different generated images
    document = json.loads(files["shades/means.json"])
    assert [set(row["drawn"]) for row in document["rows"]] == [{NAME}, {NAME}]
    assert "Generated images" in document["rules"]
    header = next(csv.reader(io.StringIO(files["shades/means.csv"])))
    assert NAME in header


def test_boards_without_generated_images_have_no_column(lab):
    lab.run()
    files = built(lab)
    assert "shades/generation.md" not in files
    assert "Generated images" not in files["shades/means.md"]
    assert "drawn" not in json.loads(files["shades/means.json"])["rows"][0]


def test_numbers_of_other_counts_are_in_other_tables(generation_lab):
    generation_lab.run(backbone=("artist",), probe=("gap:count=4",), baselines=False)
    text = built(generation_lab)["shades/generation.md"]
    assert text.index("## `gap`") < text.index("## `gap:count=4`")
    assert [row["Backbone"] for row in rows(text, "gap@4")[:1]] == ["`artist`"]


def test_two_protocols_with_the_same_metric_name_have_their_own_columns(generation_lab):
    generation_lab.probe("gap", ToyMeasure, options=GapOptions, consumes="samples")
    generation_lab.probe("gap-b", ToyMeasure, options=GapOptions, consumes="samples")
    generation_lab.run(backbone=("artist",), probe=("gap-b",), baselines=False)
    [row] = [row for row in rows(built(generation_lab)["shades/means.md"], "Rank") if row["Backbone"] == "`artist`"]
    assert {"`gap`", "`gap-b`"} <= set(row)


def change(lab, **updates):
    """Alters the record of `artist` with seed 0, as a later run would have left it beside the old one."""
    paths = sorted((lab.folder / "results" / "shades" / "artist").glob("gap-seed0*.json"))
    record = read_record(paths[0])
    document = record.model_dump(mode="json")
    document["provenance"]["created"] = "2999-01-01T00:00:00Z"
    for key, value in updates.items():
        outer, _, inner = key.partition("__")
        target = document[outer]
        *path, last = inner.split("__")
        for part in path:
            target = target[part]
        target[last] = value
    write_record(type(record).model_validate(document), paths[0].with_name("gap-later.json"))


@pytest.mark.parametrize(
    ("updates", "reason"),
    [
        ({}, "superseded by a newer record of the same cell, gap-later.json"),
        ({"protocol__hash": "a" * 64}, "stale: protocol "),
        ({"parts__reference__count": 29}, "stale: compared with other real images"),
        ({"samples__extractor__fingerprint": "b" * 64}, "stale: measured with another extractor"),
    ],
)
def test_records_of_another_edition_are_left_out_with_the_reason(generation_lab, updates, reason):
    change(generation_lab, **updates)
    left_out = rows(built(generation_lab)["shades/generation.md"], "Left out")
    assert any(row["Reason"].startswith(reason) for row in left_out)


def test_a_failed_cell_is_left_out_with_the_reason(generation_lab):
    generation_lab.module.sampler = lambda job: iter([])
    generation_lab.run(backbone=("artist",), probe=("gap:count=9",), baselines=False)
    text = built(generation_lab)["shades/generation.md"]
    assert rows(text, "Left out")[0]["Reason"] == "failed: PluginError"


def test_the_page_is_checked_and_removed_like_any_board(generation_lab):
    records, out = generation_lab.folder / "results", generation_lab.folder / "boards"
    write(outputs(records, out), out)
    check(outputs(records, out), out, "build")
    for path in records.rglob("gap*.json"):
        path.unlink()
    write(outputs(records, out), out)
    assert not list(out.rglob("generation.*"))


def test_a_probe_called_generation_would_take_the_page(generation_lab):
    generation_lab.probe("generation", type(generation_lab.module.ProbeSpec_means()))
    generation_lab.run(backbone=("artist",), probe=("generation",), baselines=False)
    with pytest.raises(RecordError) as caught:
        built(generation_lab)
    assert str(caught.value).splitlines()[0] == (
        "two boards would have the same file: the generated images of shades (lab/shades) and another board"
    )
