from __future__ import annotations

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest

from probebench.board import files as board
from probebench.board.collect import load
from probebench.board.index import BEGIN, END
from probebench.board.pages.text import EMPTY, code, link, size, slug, three_digits
from probebench.board.ranking import boards
from probebench.stats.intervals import accuracy_interval
from probebench.stats.significance import mcnemar
from probebench.util.errors import RecordError, StaleBoardError, UsageError


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "boards"


@pytest.fixture
def only_board(records):
    def build():
        [found] = boards(load(records))
        return found

    return build


def labels(found):
    return [ranked.label for ranked in found.ranked]


def reasons(found):
    return [(one.loaded.path.stem, one.reason) for one in found.excluded]


def page_of(records, out, name="scattered-digits/knn.md", **kwargs):
    return board.outputs(records, out, **kwargs)[out / name]


def table_rows(text, heading=None):
    """Cells of the first markdown table after a heading."""
    text = text if heading is None else text.split(heading, 1)[1]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    first = text.splitlines().index(lines[0])
    block = []
    for line in text.splitlines()[first:]:
        if not line.startswith("|"):
            break
        block.append([cell.strip() for cell in line.strip("|").split("|")])
    return block[0], block[2:]


# Ranks and ties


def test_rows_are_ranked_by_the_mean_over_seeds(save_record, images, only_board):
    save_record("one-lucky-seed", correct=images(180), seed=0)
    save_record("one-lucky-seed", correct=images(20), seed=1)
    save_record("steady", correct=images(120), seed=0)
    save_record("steady", correct=images(121), seed=1)
    assert labels(only_board()) == ["steady", "one-lucky-seed"]


def test_a_metric_that_should_be_low_is_ranked_from_the_lowest(save_record, images, only_board):
    save_record("high", correct=images(150), higher_is_better=False)
    save_record("low", correct=images(50), higher_is_better=False)
    assert labels(only_board()) == ["low", "high"]


def test_the_row_holds_mean_deviation_and_interval_at_the_mean(save_record, images, only_board):
    for seed, right in enumerate((100, 110, 130)):
        save_record(correct=images(right), seed=seed)
    [ranked] = only_board().ranked
    shares = np.array([0.5, 0.55, 0.65])
    assert ranked.row.value == pytest.approx(shares.mean())
    assert ranked.row.sd == pytest.approx(shares.std(ddof=1))
    assert (ranked.row.low, ranked.row.high) == pytest.approx(accuracy_interval(200 * shares.mean(), 200))
    assert ranked.row.metrics["top5"] == pytest.approx((shares.mean() + 1) / 2)
    assert ranked.row.seeds == (0, 1, 2)


def test_one_seed_has_no_deviation(save_record, only_board):
    save_record()
    assert only_board().ranked[0].row.sd is None


def test_a_metric_without_interval_gets_none(save_record, only_board):
    save_record(method=None)
    row = only_board().ranked[0].row
    assert (row.low, row.high) == (None, None)


def test_rows_that_cannot_be_told_apart_share_a_rank(save_record, images, only_board):
    first, near, far = images(range(100)), images(range(2, 101)), images(range(50))
    assert mcnemar(first, near) >= 0.05 > mcnemar(first, far)
    save_record("first", correct=first)
    save_record("near", correct=near)
    save_record("far", correct=far)
    ranked = only_board().ranked
    assert [(ranked.label, ranked.rank, ranked.tie_group, ranked.tied) for ranked in ranked] == [
        ("first", 1, 1, True),
        ("near", 1, 1, True),
        ("far", 3, 2, False),
    ]


def test_ranks_are_decided_by_paired_tests_not_by_intervals(save_record, images, only_board):
    """The intervals of the two overlap by far; but one is never wrong where the other is right."""
    better, worse = images(range(110)), images(range(100))
    save_record("better", correct=better)
    save_record("worse", correct=worse)
    ranked = only_board().ranked
    assert ranked[0].row.low < ranked[1].row.value < ranked[1].row.high
    assert [ranked.rank for ranked in ranked] == [1, 2]


def test_ties_are_tested_on_the_lowest_common_seed(save_record, images, only_board):
    """Seed 0 only one row has; on seed 1 both are right on the same images, on seed 2 they are not."""
    save_record("a", correct=images(200), seed=0)
    save_record("a", correct=images(100), seed=1)
    save_record("a", correct=images(150), seed=2)
    save_record("b", correct=images(100), seed=1)
    save_record("b", correct=images(50), seed=2)
    found = only_board()
    assert labels(found) == ["a", "b"]
    assert [ranked.rank for ranked in found.ranked] == [1, 1]


def test_rows_without_a_common_seed_are_compared_by_their_lowest(save_record, images, only_board):
    save_record("a", correct=images(150), seed=0)
    save_record("b", correct=images(50), seed=1)
    assert [ranked.rank for ranked in only_board().ranked] == [1, 2]


def test_a_network_in_two_precisions_is_two_rows(save_record, only_board):
    save_record(precision="fp32", name="a")
    save_record(precision="bf16", name="b")
    assert {ranked.row.lowest_seed.record.cell.precision for ranked in only_board().ranked} == {"fp32", "bf16"}


def test_two_networks_with_one_title_have_their_fingerprints_in_the_labels(save_record, only_board):
    save_record(fingerprint="mine", name="a")
    save_record(fingerprint="yours", name="b")
    found = only_board()
    assert len(found.ranked) == 2
    expected = {f"ddpm #{ranked.row.backbone.fingerprint[:8]}" for ranked in found.ranked}
    assert set(labels(found)) == expected
    assert len(expected) == 2


def test_the_most_frequent_point_is_shown_with_its_votes(save_record, records, out):
    save_record(seed=0, tap="mid", level="t=0")
    save_record(seed=1)
    save_record(seed=2)
    page = page_of(records, out)
    header, [row] = table_rows(page)
    assert row[header.index("Point")] == "`up.1@t=50@gap` (2 of 3 seeds)"
    assert row[header.index("Sigma")] == "0.25"
    assert "**Bold**: the point most seeds chose; where they disagree, see the column Point." in page


def test_of_equally_frequent_points_the_lowest_seeds_is_shown(save_record, only_board):
    save_record(seed=1)
    save_record(seed=0, tap="mid", level="t=0")
    row = only_board().ranked[0].row
    assert (row.chosen.tap, row.chosen_by) == ("mid", 1)


def test_speed_is_of_all_records_that_forwarded_images(save_record, only_board, records):
    save_record(probe="knn", forwarded=0)
    save_record(probe="linear", forwarded=3000)
    for found in boards(load(records)):
        assert found.ranked[0].row.seconds == pytest.approx(2.5)


def test_speed_on_another_machine_is_another_speed(save_record, records):
    save_record(probe="knn", forwarded=0, device_name="Small CPU")
    save_record(probe="linear", forwarded=3000, device_name="Big GPU")
    assert [found.ranked[0].row.seconds for found in boards(load(records))] == [None, pytest.approx(2.5)]


# What is left out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"failure": "DataError"}, "failed: DataError"),
        ({"limit": 20}, "smoke run on 20 images per split"),
        ({"dirty": True}, "made from uncommitted source"),
        ({"version": 0}, "stale: version 0 of the backbone; now 1"),
        ({"dataset_version": 0}, "stale: version 0 of the dataset"),
        ({"images_fingerprint": "former"}, "stale: the images of the dataset were different"),
        ({"test_indices": "former"}, "stale: measured on other test images, or ranked by another metric"),
        ({"primary": "mean_per_class"}, "stale: measured on other test images, or ranked by another metric"),
    ],
)
def test_what_is_left_out_is_listed_with_its_reason(save_record, only_board, records, out, changes, reason):
    save_record()
    save_record("ddpm", name="left-out", seed=7, created="2025-01-01T00:00:00Z", **changes)
    found = only_board()
    assert labels(found) == ["ddpm"]
    assert found.ranked[0].row.seeds == (0,)
    assert reasons(found) == [("left-out", reason)]
    _, rows = table_rows(page_of(records, out), "## Not ranked")
    assert rows == [["`ddpm`", "7", reason, "[record](../../records/left-out.json)"]]


def test_an_unusable_record_is_left_out_even_when_it_is_the_newest(save_record, only_board):
    save_record()
    save_record(name="new", dirty=True, protocol_hash="another", created="2027-01-01T00:00:00Z")
    assert labels(only_board()) == ["ddpm"]


def test_the_board_is_for_the_protocol_of_the_newest_record(save_record, only_board):
    old = save_record("old", protocol_hash="one", created="2026-01-01T00:00:00Z")
    save_record("new", protocol_hash="two", created="2026-01-02T00:00:00Z")
    found = only_board()
    assert labels(found) == ["new"]
    [(stem, reason)] = reasons(found)
    assert stem == old.stem
    assert reason.startswith("stale: protocol ")


def test_the_newest_protocol_does_not_depend_on_file_names(save_record, records):
    """Two protocols of the same second: the same one wins whatever the files are called."""
    save_record("a", name="1", protocol_hash="one")
    save_record("b", name="2", protocol_hash="two")
    [first] = boards(load(records))
    shutil.rmtree(records)
    save_record("a", name="2", protocol_hash="one")
    save_record("b", name="1", protocol_hash="two")
    [second] = boards(load(records))
    assert labels(first) == labels(second)


def test_a_repeated_cell_counts_once_and_the_newest_counts(save_record, images, only_board):
    save_record(name="first", correct=images(50), created="2026-01-01T00:00:00Z")
    save_record(name="again", correct=images(60), created="2026-01-02T00:00:00Z")
    found = only_board()
    assert found.ranked[0].row.value == pytest.approx(0.3)
    assert reasons(found) == [("first", "superseded by a newer record of the same cell, again.json")]


def test_a_row_that_lacks_the_others_seeds_is_incomplete(save_record, only_board):
    for name in ("a", "b"):
        for seed in (0, 1, 2):
            save_record(name, seed=seed)
    save_record("c", seed=0)
    found = only_board()
    assert labels(found) == ["a", "b"]
    assert reasons(found) == [("c-scattered-digits-knn-s0", "incomplete: no seed 1, 2")]


def test_a_seed_that_few_rows_have_is_not_required(save_record, only_board):
    save_record("a", seed=0)
    save_record("a", seed=1)
    save_record("b", seed=0)
    assert sorted(labels(only_board())) == ["a", "b"]


@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_a_row_without_its_predictions_is_incomplete(save_record, only_board, fault):
    save_record("a")
    path = save_record("b")
    file = path.with_suffix(".predictions.safetensors")
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(b"rubbish")
    found = only_board()
    assert labels(found) == ["a"]
    [(_, reason)] = reasons(found)
    assert reason.startswith("incomplete: ")


def test_an_invalid_record_stops_the_build(save_record, records, out):
    save_record().write_text("{}")
    with pytest.raises(RecordError, match="no schema_version"):
        board.outputs(records, out)


@pytest.mark.parametrize("changes", [{"limit": 5}, {"failure": "DataError"}])
def test_a_board_without_rows_states_it(save_record, records, out, changes):
    save_record(**changes)
    text = page_of(records, out)
    assert "No record can be ranked yet." in text
    assert "## Not ranked" in text
    assert (json.loads(page_of(records, out, "scattered-digits/knn.json")))["rows"] == []
    assert page_of(records, out, "scattered-digits/knn.csv") == ""


# Pages


def test_the_table_shows_the_values_of_the_records(save_record, images, records, out):
    save_record("ddpm", correct=images(142), seed=0)
    save_record("ddpm", correct=images(150), seed=1)
    save_record("pixels", correct=images(50), baseline=True, parameters=0, seed=0)
    save_record("pixels", correct=images(50), baseline=True, parameters=0, seed=1)
    header, [first, second] = table_rows(page_of(records, out))
    low, high = accuracy_interval(146, 200)
    row = dict(zip(header, first, strict=True))
    assert row == {
        "Rank": "1",
        "Backbone": "`ddpm`",
        "top-1 (95 % interval)": f"73.0 ({100 * low:.1f} to {100 * high:.1f})",
        "sd": "2.8",
        "Seeds": "2",
        "top-5": "86.5",
        "mean/class": "65.7",
        "Point": "`up.1@t=50@gap`",
        "Sigma": "0.25",
        "Dim": "128",
        "Parameters": "2.2 M",
        "Cost": "75 %",
        "Precision": "fp32",
        "s / 1000 img": "2.5",
        "Record": "[seed 0](../../records/ddpm-scattered-digits-knn-s0.json)",
    }
    assert dict(zip(header, second, strict=True))["Backbone"] == "*`pixels`*"


def test_a_shared_rank_is_marked(save_record, records, out):
    save_record("a")
    save_record("b")
    _, rows = table_rows(page_of(records, out))
    assert [row[0] for row in rows] == ["=1", "=1"]


def test_every_link_leads_to_a_record(save_record, records, out):
    save_record("ddpm:attention=false,widths=32+64")
    save_record("smoke", limit=3)
    links = re.findall(r"\]\(([^)]+\.json)\)", page_of(records, out))
    assert len(links) == 2
    for target in links:
        assert (out / "scattered-digits" / target).resolve().is_file()


def test_the_heat_map_is_the_mean_over_seeds_with_the_chosen_point_bold(save_record, records, out):
    grid = {("mid", "t=0"): 0.5, ("mid", "t=50"): 0.6, ("up.1", "t=0"): 0.7, ("up.1", "t=50"): 0.8}
    save_record(seed=0, grid=grid)
    save_record(seed=1, grid={point: value + 0.1 for point, value in grid.items()})
    header, rows = table_rows(page_of(records, out), "### `ddpm`")
    assert header == ["Tap", "`t=0`", "`t=50`"]
    assert rows == [["`mid`", "55.0", "65.0"], ["`up.1`", "75.0", "**85.0**"]]


def test_baselines_with_several_points_have_a_heat_map_too(save_record, records, out):
    save_record("ddpm:checkpoint=none", baseline=True)
    save_record("pixels", baseline=True, grid={("image", "clean"): 0.5}, tap="image", level="clean")
    text = page_of(records, out)
    assert "### *`ddpm:checkpoint=none`*" in text
    assert "### *`pixels`*" not in text


def test_a_point_that_was_not_read_is_empty_in_the_heat_map(save_record, records, out):
    save_record(grid={("mid", "t=0"): 0.5, ("up.1", "t=50"): 0.8})
    _, rows = table_rows(page_of(records, out), "### `ddpm`")
    assert rows == [["`mid`", "50.0", EMPTY], ["`up.1`", EMPTY, "**80.0**"]]


def test_the_footer_states_the_rules(save_record, records, out):
    save_record()
    save_record("smoke", limit=3)
    footer = page_of(records, out).split("## How to read this")[1]
    for words in (
        "By top-1 on the test split",
        "McNemar",
        "p < 0.05",
        "Wilson",
        "100 validation images (10 % of train), never on test",
        "Rule: highest value, first wins.",
        "newest usable record",
        "1 ranked, 1 not",
        '"k": [',
    ):
        assert words in footer
    [found] = boards(load(records))
    assert found.newest.protocol.hash[:16] in footer


def test_a_board_by_mean_per_class_is_ranked_by_it(save_record, images, records, out):
    save_record("a", correct=images(100), primary="mean_per_class")
    header, [row] = table_rows(page_of(records, out))
    assert row[header.index("mean/class (95 % interval)")] == "45.0"
    assert row[header.index("top-1")] == "50.0"


def test_csv_and_json_hold_the_same_rows(save_record, images, records, out):
    save_record("a", correct=images(150), seed=0)
    save_record("a", correct=images(140), seed=1)
    save_record("b", correct=images(20), seed=0, baseline=True)
    save_record("b", correct=images(20), seed=1, baseline=True)
    document = json.loads(page_of(records, out, "scattered-digits/knn.json"))
    rows = list(csv.DictReader(io.StringIO(page_of(records, out, "scattered-digits/knn.csv"))))
    assert [row["backbone"] for row in rows] == [row["backbone"] for row in document["rows"]] == ["a", "b"]
    for flat, row in zip(rows, document["rows"], strict=True):
        assert float(flat["value"]) == row["value"]
        assert float(flat["top5"]) == row["metrics"]["top5"]
        assert flat["baseline"] == str(row["baseline"]).lower()
        assert flat["seeds"] == "0 1"
    assert [seed["value"] for seed in document["rows"][0]["per_seed"]] == [0.75, 0.7]
    assert document["rows"][0]["heat"][0] == {"tap": "down.0", "level": "t=0", "value": 0.4}


def test_one_board_for_each_dataset_and_protocol(save_record, records, out):
    save_record(dataset="digits", probe="knn")
    save_record(dataset="digits", probe="linear:protocol=thesis2024")
    save_record(dataset="shapes", probe="knn")
    files = {path.relative_to(out).as_posix() for path in board.outputs(records, out)}
    boards = ("digits/knn", "digits/linear-protocol-thesis2024", "shapes/knn")
    assert files == {f"{name}.{kind}" for name in boards for kind in ("md", "csv", "json")} | {"README.md"}


def test_two_boards_in_one_file_are_an_error(save_record, records, out):
    save_record("a", dataset="digits", dataset_name="one/digits")
    save_record("b", dataset="digits", dataset_name="two/digits")
    with pytest.raises(RecordError, match=r"one/digits.*two/digits") as caught:
        board.outputs(records, out)
    assert len(str(caught.value).splitlines()) == 3


def test_the_index_lists_each_board_with_its_best_row(save_record, images, records, out):
    save_record("better", correct=images(150))
    save_record("worse", correct=images(50))
    save_record("other", correct=images(150), probe="linear")
    header, rows = table_rows(page_of(records, out, "README.md"))
    assert [row[:2] for row in rows] == [
        ["[scattered-digits: knn](scattered-digits/knn.md)", "`better`"],
        ["[scattered-digits: linear](scattered-digits/linear.md)", "`other`"],
    ]
    assert [row[header.index("Rows")] for row in rows] == ["2", "1"]


def test_protocols_are_side_by_side(save_record, images, records, out):
    """A line for each backbone, a column for each protocol; bold is the best and what shares its rank."""
    save_record("ours", correct=images(150))
    save_record("ours", correct=images(60), probe="linear")
    save_record("theirs", correct=images(100), name="theirs-knn")
    save_record("theirs", correct=images(64), probe="linear", name="theirs-linear")
    save_record("new", correct=images(120), probe="linear")
    save_record("baseline", correct=images(180), baseline=True)
    text = page_of(records, out, "README.md")
    header, rows = table_rows(text, "## Protocols side by side")
    assert header == ["Backbone", "[knn](scattered-digits/knn.md)", "[linear](scattered-digits/linear.md)"]
    assert rows == [
        ["`ours`", "75.0", "30.0"],
        ["`new`", EMPTY, "**60.0**"],
        ["`theirs`", "50.0", "32.0"],
        ["*`baseline`*", "**90.0**", EMPTY],
    ]


def test_a_network_trained_with_the_probe_has_a_separate_line(save_record, images, records, out):
    save_record("ours", correct=images(150))
    save_record("ours", correct=images(60), probe="finetune", frozen=False)
    _, rows = table_rows(page_of(records, out, "README.md"), "## Protocols side by side")
    assert rows == [["`ours`", EMPTY, "**75.0**"], ["`ours` (trained, not frozen)", "**30.0**", EMPTY]]


def test_one_board_has_no_side_by_side_table(save_record, records, out):
    save_record()
    assert "side by side" not in page_of(records, out, "README.md")


def test_a_summary_without_rows_states_it(save_record, records, out, tmp_path):
    save_record(limit=20)
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    assert "No record can be ranked yet." in board.outputs(records, out, readme)[readme]


# Files


def test_equal_records_give_equal_files_in_every_folder(save_record, tmp_path):
    texts = []
    for root in (tmp_path / "one", tmp_path / "two" / "deeper"):
        for name in ("b", "a"):
            save_record(name, folder=root / "boards" / "records")
        files = board.outputs(root / "boards" / "records", root / "boards")
        texts.append({path.relative_to(root).as_posix(): text for path, text in files.items()})
    assert texts[0] == texts[1]


def test_a_build_writes_what_check_accepts(save_record, records, out):
    save_record()
    files = board.outputs(records, out)
    assert sorted(board.write(files, out)) == sorted(files)
    board.check(files, out, "command")
    assert board.write(files, out) == []


@pytest.mark.parametrize("name", ["scattered-digits/knn.md", "scattered-digits/knn.csv", "README.md"])
@pytest.mark.parametrize("fault", ["edited", "missing"])
def test_check_names_the_file_and_the_command(save_record, records, out, name, fault):
    save_record()
    files = board.outputs(records, out)
    board.write(files, out)
    if fault == "edited":
        (out / name).write_text(files[out / name].replace("70", "99") + " ")
    else:
        (out / name).unlink()
    with pytest.raises(StaleBoardError) as caught:
        board.check(files, out, "the command that updates it")
    assert str(out / name) in str(caught.value)
    assert "the command that updates it" in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_new_record_makes_the_board_stale(save_record, records, out):
    save_record("a")
    board.write(board.outputs(records, out), out)
    save_record("b")
    with pytest.raises(StaleBoardError):
        board.check(board.outputs(records, out), out, "")


def test_a_board_that_lost_its_records_is_found_and_removed(save_record, records, out):
    save_record(probe="knn")
    gone = save_record(probe="linear")
    board.write(board.outputs(records, out), out)
    gone.unlink()
    files = board.outputs(records, out)
    with pytest.raises(StaleBoardError, match="a leaderboard has no records"):
        board.check(board.outputs(records, out) | {out / "README.md": (out / "README.md").read_text()}, out, "")
    board.write(files, out)
    assert sorted(path.name for path in (out / "scattered-digits").iterdir()) == ["knn.csv", "knn.json", "knn.md"]
    board.check(files, out, "")


def test_files_of_others_are_left_alone(save_record, records, out):
    save_record()
    (out / "notes").mkdir(parents=True)
    for name in ("mine.md", "mine.json"):
        (out / "notes" / name).write_text("my own")
    files = board.outputs(records, out)
    board.write(files, out)
    board.check(files, out, "")
    assert (out / "notes" / "mine.md").exists()
    assert (out / "notes" / "mine.json").exists()


@pytest.mark.parametrize("make", [True, False])
def test_no_records_is_a_clear_message(records, out, make):
    if make:
        records.mkdir()
    with pytest.raises(UsageError, match="there are no records") as caught:
        board.outputs(records, out)
    assert str(caught.value).splitlines() == [
        "there are no records",
        f"  in: {records}",
        f"  try: probebench run --results {records}",
    ]


def test_a_folder_that_cannot_be_written_is_named(save_record, records, out):
    save_record()
    out.touch()
    with pytest.raises(UsageError, match="the leaderboard cannot be written") as caught:
        board.write(board.outputs(records, out), out)
    assert str(out) in str(caught.value)


# The README's summary


def test_the_summary_goes_between_the_markers_and_nothing_else_changes(save_record, images, records, out, tmp_path):
    for name, right in (("a", 190), ("b", 170), ("c", 150), ("d", 130)):
        save_record(name, correct=images(right))
    save_record("baseline", correct=images(60), baseline=True)
    save_record("weak", correct=images(20), baseline=True)
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{BEGIN}\nformer\n{END}\n\ntail, no newline at the end")
    text = board.outputs(records, out, readme)[readme]
    assert text.startswith(f"# Title\n\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\n\ntail, no newline at the end")
    assert "former" not in text
    header, rows = table_rows(text)
    assert header == ["Backbone", "[knn](boards/scattered-digits/knn.md)"]
    assert [row[0] for row in rows] == ["`a`", "`b`", "`c`", "`d`", "*`baseline`*", "*`weak`*"]


def test_the_summary_is_checked_too_and_a_second_build_changes_nothing(save_record, records, out, tmp_path):
    save_record()
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    with pytest.raises(StaleBoardError):
        board.check(board.outputs(records, out, readme), out, "")
    board.write(board.outputs(records, out, readme), out)
    files = board.outputs(records, out, readme)
    board.check(files, out, "")
    assert board.write(files, out) == []
    readme.write_text(readme.read_text().replace("70.0", "99.0"))
    with pytest.raises(StaleBoardError, match=r"README\.md"):
        board.check(board.outputs(records, out, readme), out, "")


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_a_readme_without_the_markers_is_refused(save_record, records, out, tmp_path, text):
    save_record()
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(UsageError, match="the markers of the leaderboard's summary are missing") as caught:
        board.outputs(records, out, readme)
    assert BEGIN in str(caught.value)
    assert readme.read_text() == text


def test_a_missing_readme_is_refused(save_record, records, out, tmp_path):
    save_record()
    with pytest.raises(UsageError, match="the file cannot be read"):
        board.outputs(records, out, tmp_path / "none.md")


# Text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Scattered Digits", "scattered-digits"), ("a:b=c,d=1.5", "a-b-c-d-1.5"), ("../x", "x"), ("x/../y", "x-..-y")],
)
def test_a_slug_is_a_file_name(text, expected):
    assert slug(text) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(None, EMPTY), (0, "0"), (999, "999"), (2_200_000, "2.2 M"), (1_500, "1.5 k"), (10**9, "1.0 G")],
)
def test_large_counts_are_short(number, expected):
    assert size(number) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, EMPTY),
        (0.0, "0"),
        (0.0001, "< 0.001"),
        (0.01234, "0.0123"),
        (2.5, "2.5"),
        (1234.5, "1,234"),
        (157.0, "157"),
    ],
)
def test_small_numbers_have_three_figures(value, expected):
    assert three_digits(value) == expected


def test_names_cannot_break_a_table():
    assert code("a|b`c") == "`a\\|b'c`"


def test_links_are_encoded(tmp_path):
    assert link("x", tmp_path / "r" / "a b:c.json", tmp_path / "b") == "[x](../r/a%20b%3Ac.json)"
