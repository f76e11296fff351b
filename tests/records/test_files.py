from __future__ import annotations

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probebench.records.files import (
    MIGRATIONS,
    comparable,
    migrate,
    read_predictions,
    read_record,
    to_json,
    write_predictions,
    write_record,
)
from probebench.records.schema import SCHEMA_VERSION, Measure, Record
from probebench.util import files
from probebench.util.errors import RecordError


def edit(path, field, value):
    """Changes one field of a record's file, named as in ``cell.backbone.name``."""
    document = json.loads(path.read_text())
    *parents, last = field.split(".")
    place = document
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    place[last] = value
    path.write_text(json.dumps(document))


def lines_of(error: RecordError) -> list[str]:
    return str(error).splitlines()


def test_a_record_is_read_as_it_was_written(save_record, tmp_path):
    record = read_record(save_record())
    write_record(record, tmp_path / "again.json")
    assert read_record(tmp_path / "again.json") == record


def test_the_file_is_sorted_indented_and_ends_with_a_newline(save_record):
    text = save_record().read_text()
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")
    document = json.loads(text)
    assert text == json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def test_equal_records_have_equal_bytes(save_record, tmp_path):
    one, other = save_record(folder=tmp_path / "a"), save_record(folder=tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()
    for path in (one, other):
        assert path.with_suffix(".predictions.safetensors").exists()
    assert len({path.with_suffix(".predictions.safetensors").read_bytes() for path in (one, other)}) == 1


def test_a_record_of_an_absent_plugin_can_be_read(save_record):
    record = read_record(save_record("nobody-has-this:option=1"))
    assert record.cell.backbone.name == "probebench-x/nobody-has-this"


READS_A_RECORD = """
import sys
from pathlib import Path
from probebench.records.files import read_predictions, read_record
path = Path(sys.argv[1])
record = read_record(path)
"""

PRINTS_HEAVY_MODULES = """
print([name for name in ("numpy", "scipy", "sklearn", "torch") if name in sys.modules])
"""

COMPARES_PREDICTIONS = """
from probebench.stats.intervals import paired_bootstrap, wilson
from probebench.stats.significance import holm, mcnemar, tie_groups
_, correct = read_predictions(record, path)
wilson(correct.sum(), len(correct)), paired_bootstrap(correct, ~correct), mcnemar(correct, ~correct)
"""


@pytest.mark.parametrize(
    ("work", "imported"), [("", []), (COMPARES_PREDICTIONS, ["numpy"])], ids=["record", "predictions"]
)
def test_reading_and_comparing_records_import_nothing_heavy(save_record, work, imported):
    script = READS_A_RECORD + work + PRINTS_HEAVY_MODULES
    done = subprocess.run([sys.executable, "-c", script, save_record()], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(imported)


def test_writing_leaves_no_other_file(save_record, tmp_path):
    path = save_record()
    before = set(path.parent.iterdir())
    write_record(read_record(path), path)
    assert set(path.parent.iterdir()) == before


def test_a_crash_while_writing_keeps_the_old_record(save_record, monkeypatch):
    path = save_record()
    text, before = path.read_bytes(), set(path.parent.iterdir())

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RecordError, match="No space left on device") as caught:
        write_record(read_record(path), path)
    assert str(path) in str(caught.value)
    assert len(lines_of(caught.value)) <= 3
    assert path.read_bytes() == text
    assert set(path.parent.iterdir()) == before


def test_a_folder_that_is_a_file_is_an_error(save_record, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="the file cannot be written") as caught:
        write_record(read_record(save_record()), tmp_path / "file" / "record.json")
    assert "record.json" in str(caught.value)


def test_a_missing_folder_is_created(save_record, tmp_path):
    write_record(read_record(save_record()), tmp_path / "a" / "b" / "record.json")
    assert (tmp_path / "a" / "b" / "record.json").exists()


def test_nan_in_an_option_is_not_written(save_record, tmp_path):
    record = read_record(save_record())
    options = {"temperature": float("nan")}
    probe = record.cell.probe.model_copy(update={"options": options})
    broken = record.model_copy(update={"cell": record.cell.model_copy(update={"probe": probe})})
    with pytest.raises(RecordError, match="JSON"):
        write_record(broken, tmp_path / "nan.json")
    assert not (tmp_path / "nan.json").exists()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cell.backbone.name", 3, "cell.backbone.name"),
        ("cell.precision", "fp8", "cell.precision"),
        ("grid.1.value", 1.5, "grid.1.value"),
        ("protocol.hash", "short", "protocol.hash"),
        ("selection.split", "test", "selection.split"),
        ("surprise", 1, "surprise"),
        ("provenance.created", "yesterday", "provenance.created"),
        ("predictions.file", "../../secret", "predictions.file"),
        ("smoke", True, "smoke must be true exactly when cell.limit is set"),
        ("status", "error", "error must be given exactly when status is 'error'"),
        ("error", {"type": "E", "message": "m"}, "error must be given exactly when status is 'error'"),
        ("grid", [], "a finished cell needs grid"),
        ("chosen", None, "a finished cell needs chosen"),
        ("cell.backbone.fingerprint", None, "needs cell.backbone.fingerprint"),
        ("parts", {}, "needs parts.train, parts.val, parts.test"),
        ("primary", "top7", "primary metric 'top7' is not among the metrics"),
        ("per_class", [0.5], "per_class has 1 values, classes 10"),
        ("metrics.top1.low", None, "low, high and method must be given together"),
        ("metrics.top1.low", 0.99, "is outside of its interval"),
    ],
)
def test_an_invalid_record_is_refused_by_file_and_field(save_record, field, value, words):
    path = save_record()
    edit(path, field, value)
    with pytest.raises(RecordError) as caught:
        read_record(path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert 1 <= len(message.splitlines()) <= 3


def test_further_errors_are_counted(save_record):
    path = save_record()
    edit(path, "cell.seed", "x")
    edit(path, "cell.device", 1)
    with pytest.raises(RecordError, match=r"cell\.seed: .* \(and 1 more\)"):
        read_record(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no schema_version"),
    ],
)
def test_a_file_that_is_not_a_record_is_refused_with_a_hint(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(RecordError) as caught:
        read_record(path)
    what, where, hint = lines_of(caught.value)
    assert words in what
    assert where == f"  in: {path}"
    rerun = "delete the record and run its command again"
    last = "check that the file is a record of probebench" if text == "{}" else rerun
    assert hint == f"  try: {last}"
    assert caught.value.exit_code == 1


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "x.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(RecordError, match="not valid JSON"):
        read_record(tmp_path / "x.json")


def test_a_missing_record_is_named(tmp_path):
    with pytest.raises(RecordError, match="the record cannot be read: No such file") as caught:
        read_record(tmp_path / "none.json")
    assert "none.json" in str(caught.value)


def test_a_failed_cell_needs_no_results(save_record):
    record = read_record(save_record(failure="DataError"))
    assert record.status == "error"
    assert record.error is not None
    assert record.error.type == "DataError"
    assert record.metrics == {}


def test_a_newer_record_hints_at_an_update(save_record):
    path = save_record()
    edit(path, "schema_version", SCHEMA_VERSION + 1)
    with pytest.raises(RecordError, match="update probebench") as caught:
        read_record(path)
    assert str(path) in str(caught.value)


def test_old_records_are_migrated_one_version_at_a_time():
    steps = {
        1: lambda document: {**document, "trace": [*document["trace"], "1 to 2"]},
        2: lambda document: {**document, "trace": [*document["trace"], "2 to 3"]},
    }
    migrated = migrate({"schema_version": 1, "trace": []}, steps=steps, target=3)
    assert migrated == {"schema_version": 3, "trace": ["1 to 2", "2 to 3"]}


def test_a_gap_in_the_migrations_is_an_error():
    with pytest.raises(RecordError, match="a record of schema version 1 cannot be read"):
        migrate({"schema_version": 1}, steps={2: dict}, target=3)


def test_every_old_version_has_a_migration():
    assert set(MIGRATIONS) == set(range(1, SCHEMA_VERSION))


def test_repetitions_are_comparable(save_record, tmp_path):
    one = save_record(folder=tmp_path / "a")
    other = save_record(folder=tmp_path / "b", created="2027-05-05T05:05:05Z", device_name="Other", forwarded=7)
    assert one.read_bytes() != other.read_bytes()
    assert comparable(read_record(one)) == comparable(read_record(other))


def test_another_result_is_not_comparable(save_record, images, tmp_path):
    one = save_record(folder=tmp_path / "a", correct=images(140))
    other = save_record(folder=tmp_path / "b", correct=images(141))
    assert comparable(read_record(one)) != comparable(read_record(other))


def test_the_best_trial_of_each_point_is_the_first_of_the_highest(save_record):
    record = read_record(save_record(grid={("mid", "t=0"): 0.5, ("mid", "t=50"): 0.6}))
    best = record.best_trials()
    assert [(point.tap, point.level) for point in best] == [("mid", "t=0"), ("mid", "t=50")]
    assert all(trial.params == {"k": 20} for trial in best.values())

    tied = record.model_copy(update={"grid": (record.grid[1], record.grid[1].model_copy(update={"params": {"k": 5}}))})
    [trial] = tied.best_trials().values()
    assert trial.params == {"k": 20}


@given(
    predicted=st.lists(st.tuples(st.integers(0, 65535), st.sampled_from([0, 7, 65535])), min_size=1, max_size=50),
)
def test_predictions_are_read_as_they_were_written(tmp_path_factory, predicted):
    folder = tmp_path_factory.mktemp("predictions")
    classes, label = (np.array(column) for column in zip(*predicted, strict=True))
    artifact = write_predictions(folder / "r.json", classes, label)
    record = Record.model_construct(predictions=artifact, parts={}, metrics={})
    read_classes, read_correct = read_predictions(record, folder / "r.json")
    assert read_classes.dtype == np.uint16
    np.testing.assert_array_equal(read_classes, classes)
    np.testing.assert_array_equal(read_correct, classes == label)


def test_altered_predictions_are_found(save_record):
    path = save_record()
    file = path.with_suffix(".predictions.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RecordError, match="not those of the record") as caught:
        read_predictions(read_record(path), path)
    assert str(file) in str(caught.value)


def test_missing_predictions_are_named(save_record):
    path = save_record()
    path.with_suffix(".predictions.safetensors").unlink()
    with pytest.raises(RecordError, match="the predictions cannot be read"):
        read_predictions(read_record(path), path)


def test_a_failed_cell_has_no_predictions(save_record):
    path = save_record(failure="DataError")
    with pytest.raises(RecordError, match="the record has no predictions"):
        read_predictions(read_record(path), path)


def test_predictions_must_give_the_records_accuracy(save_record, images):
    path = save_record(correct=images(140))
    record = read_record(path)
    better = record.metrics["top1"].model_copy(update={"value": 0.71, "low": 0.6, "high": 0.8})
    altered = record.model_copy(update={"metrics": {"top1": better}})
    with pytest.raises(RecordError, match=r"give a top-1 accuracy of 0\.7000, and the record has 0\.7100"):
        read_predictions(altered, path)


def test_predictions_must_be_of_all_test_images(save_record):
    path = save_record()
    record = read_record(path)
    test = record.parts["test"].model_copy(update={"count": 201})
    with pytest.raises(RecordError, match="of 200 images, and the record is of 201"):
        read_predictions(record.model_copy(update={"parts": {"test": test}}), path)


def test_a_file_that_is_not_safetensors_is_named(save_record):
    import hashlib

    path = save_record()
    record = read_record(path)
    path.with_suffix(".predictions.safetensors").write_bytes(b"rubbish")
    artifact = record.predictions.model_copy(update={"sha256": hashlib.sha256(b"rubbish").hexdigest()})
    with pytest.raises(RecordError, match="the predictions cannot be read"):
        read_predictions(record.model_copy(update={"predictions": artifact}), path)


@pytest.mark.parametrize(
    ("predicted", "label", "words"),
    [
        ([1, 2], [1], "not (N,)"),
        ([[1]], [[1]], "not (N,)"),
        ([65536], [1], "do not fit"),
        ([-1], [1], "do not fit"),
        ([1], [65536], "do not fit"),
    ],
)
def test_predictions_that_cannot_be_stored_are_refused(tmp_path, predicted, label, words):
    with pytest.raises(RecordError) as caught:
        write_predictions(tmp_path / "r.json", predicted, label)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_measure_without_interval_is_valid():
    assert Measure(value=0.5, n=10, method=None).low is None


def test_the_text_has_no_nan(save_record):
    record = read_record(save_record())
    assert json.loads(to_json(record), parse_constant=pytest.fail)
