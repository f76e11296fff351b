"""The comparison of two records: counts, difference, interval and test, and which records can be compared."""

from __future__ import annotations

from importlib import metadata

import pytest

from probebench.analysis.compare import compare_records
from probebench.board.collect import load_one
from probebench.stats.intervals import accuracy_interval, paired_bootstrap
from probebench.stats.significance import mcnemar
from probebench.util.errors import RecordError, UsageError


def compare(*paths):
    return compare_records(*map(load_one, paths))


def test_the_four_cases_are_counted(save_record, images):
    one, other = images(range(120)), images(range(20, 130))
    result = compare(save_record("first", correct=one), save_record("second", correct=other))
    assert (result.both_right, result.only_a, result.only_b, result.both_wrong, result.n) == (100, 20, 10, 70, 200)
    assert result.difference == pytest.approx(0.05)
    assert result.p == pytest.approx(mcnemar(one, other))
    assert (result.low, result.high) == pytest.approx(paired_bootstrap(one, other))
    assert result.a == pytest.approx((0.6, *accuracy_interval(120, 200)))
    assert result.b == pytest.approx((0.55, *accuracy_interval(110, 200)))
    assert not result.significant


def test_a_difference_is_significant_where_the_test_finds_one(save_record, images):
    assert compare(save_record("a", correct=images(110)), save_record("b", correct=images(100))).significant


def test_a_record_is_found_in_a_folder_that_holds_it_alone(save_record, tmp_path):
    path = save_record("first", folder=tmp_path / "a" / "deeper")
    assert load_one(tmp_path / "a") == load_one(path)


def test_a_folder_of_several_records_is_refused_with_their_names(save_record, tmp_path):
    save_record("first", folder=tmp_path / "a")
    save_record("second", folder=tmp_path / "a")
    with pytest.raises(UsageError) as caught:
        load_one(tmp_path / "a")
    assert str(caught.value).splitlines() == [
        "the folder holds 2 records: first-scattered-digits-knn-s0.json, second-scattered-digits-knn-s0.json",
        f"  in: {tmp_path / 'a'}",
        f"  try: name one, such as {tmp_path / 'a' / 'first-scattered-digits-knn-s0.json'}",
    ]
    for number in range(5):
        save_record(f"more-{number}", folder=tmp_path / "a")
    with pytest.raises(UsageError, match=r"the folder holds 7 records: (\S+, ){5}\.\.\.\n"):
        load_one(tmp_path / "a")


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there are no records"):
        load_one(tmp_path)


@pytest.mark.parametrize("changes", [{"images_fingerprint": "other"}, {"test_indices": "other"}])
def test_other_test_images_are_refused(save_record, changes):
    with pytest.raises(UsageError, match="not measured on the same test images"):
        compare(save_record("first"), save_record("second", **changes))


def test_a_failed_cell_is_refused(save_record):
    with pytest.raises(RecordError, match="record has no predictions"):
        compare(save_record("first", failure="DataError"), save_record("second"))


def test_a_record_may_be_of_a_plugin_that_is_not_installed(save_record):
    loaded = load_one(save_record("absent"))
    installed = {distribution.name for distribution in metadata.distributions()}
    assert loaded.record.cell.backbone.name.split("/")[0] not in installed
    assert compare_records(loaded, loaded).difference == 0
