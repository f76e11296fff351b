"""`probebench check RECORD`."""

from __future__ import annotations


def test_a_valid_record(cli, save_record):
    path = save_record()
    answer = cli("check", str(path))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{path} is a valid record (status: success)\n"
    assert cli("check", str(path), "--json").json["valid"] is True


def test_a_record_that_is_not_valid_exits_1_and_names_the_fault(cli, save_record):
    path = save_record()
    path.write_text(path.read_text().replace('"seed": 0', '"seed": "none"'))
    answer = cli("check", str(path))
    assert answer.code == 1
    assert "seed" in answer.err
    assert str(path) in answer.err


def test_a_record_that_is_not_there_exits_1(cli, tmp_path):
    answer = cli("check", str(tmp_path / "gone.json"))
    assert answer.code == 1
    assert "gone.json" in answer.err
