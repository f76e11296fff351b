"""Published results beside a board: shown, never ranked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.fixtures.records import images, save_record

from probebench.board.files import outputs
from probebench.board.published import COLUMNS, read_published
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

ROW = (
    'scattered-digits other,knn,Someone 2024,a U-Net,"up 4, up 3",clean,top1,0.785,test,test,"a thesis, section 7",k=50'
)


def write(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(COLUMNS), *rows, ""]), encoding="utf-8")
    return path


def test_a_row_is_on_the_board_of_its_dataset_and_probe_and_has_no_rank(tmp_path):
    save_record(tmp_path / "records", correct=images(150))
    plain = outputs(tmp_path / "records", tmp_path / "out")
    worse = ROW.replace("0.785", "0.6").replace("Someone", "Another")
    elsewhere = [ROW.replace(",knn,", ",linear,"), ROW.replace("scattered-digits other", "cifar10")]
    write(tmp_path / "out" / "published.csv", worse, ROW, *elsewhere)
    files = outputs(tmp_path / "records", tmp_path / "out")
    [page] = [text for path, text in files.items() if path.name == "knn.md"]
    published = page.split("## Published")[1].split("\n## ")[0]
    assert published.index("Someone 2024") < published.index("Another 2024")
    assert "78.5" in published
    assert "`up 4, up 3`" in published
    assert published.count("Someone 2024") == 1
    [document] = [json.loads(text) for path, text in files.items() if path.name == "knn.json"]
    assert [row["value"] for row in document["published"]] == [0.785, 0.6]
    # The ranking and its CSV are unchanged.
    ranking = page.split("## ")[0]
    assert any(text.split("## ")[0] == ranking for text in plain.values())
    assert {p: t for p, t in files.items() if p.suffix == ".csv"} == {
        p: t for p, t in plain.items() if p.suffix == ".csv"
    }


def test_without_rows_there_is_no_section(tmp_path):
    save_record(tmp_path / "records", correct=images(150))
    assert not any("## Published" in text for text in outputs(tmp_path / "records", tmp_path / "out").values())


def test_a_split_that_a_work_does_not_state_is_shown_as_not_stated(tmp_path):
    save_record(tmp_path / "records", correct=images(150))
    write(tmp_path / "out" / "published.csv", ROW.replace("test,test", "test,"))
    assert any("not stated" in text for text in outputs(tmp_path / "records", tmp_path / "out").values())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW.replace("0.785", "78.5"), "value '78.5' is not a share"),
        (ROW.replace("0.785", "much"), "value 'much' is not a share"),
        (ROW.replace("top1", "fid"), "no metric is called 'fid'"),
        (ROW + ",more", "the row does not have 12 cells"),
        (ROW.rpartition(",")[0], "the row does not have 12 cells"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path, row, message):
    path = write(tmp_path / "published.csv", ROW, row)
    with pytest.raises(UsageError) as caught:
        read_published(path)
    lines = str(caught.value).splitlines()
    assert message in lines[0]
    assert "line 3" in lines[1]
    assert len(lines) == 3


def test_wrong_columns_are_answered_with_the_right_ones(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("work,value\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the columns are wrong") as caught:
        read_published(path)
    assert ",".join(COLUMNS) in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "published.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="the file cannot be read"):
        read_published(path)


def test_the_committed_rows_can_be_read():
    from pathlib import Path

    rows = read_published(Path(__file__).parents[2] / "leaderboards" / "published.csv")
    assert {"cifar10", "flowers102", "stl10"} <= {board for row in rows for board in row.boards}
