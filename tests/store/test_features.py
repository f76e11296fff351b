from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import shutil
import time
import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from typer.testing import CliRunner

from probebench.cli.commands.store import app, format_size, parse_size
from probebench.store import features, maintenance
from probebench.store.features import MissingShardsError, Store
from probebench.store.shards import Manifest, ShardName, encode
from probebench.util.errors import ProbebenchWarning, StoreError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = {
    "backbone": {"name": "acme/net", "version": 1, "options": {"width": 8}, "fingerprint": "f" * 64},
    "split": {"source": "digits/train", "fingerprint": "e" * 64, "index": "d" * 64},
    "point": {"tap": "mid", "level": "t=10", "pool": "gap"},
    "seed": 0,
    "precision": "fp32",
}
MATRIX = torch.arange(10 * 3, dtype=torch.float32).reshape(10, 3)


def fill(entry, matrix=MATRIX):
    for number in entry.missing_shards():
        span = entry.span(number)
        entry.write(number, matrix[span.start : span.stop])
    entry.write_manifest()
    return entry


def entry_in(root: Path, document=DOCUMENT, rows=10, shard_rows=4):
    return Store(root).entry(document, rows, shard_rows=shard_rows)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shard(entry, number: int) -> Path:
    return next(entry.folder.glob(f"{number:06d}-*"))


@pytest.fixture
def entry(tmp_path):
    return fill(entry_in(tmp_path))


@given(rows=st.integers(1, 40), dim=st.integers(1, 5), shard_rows=st.integers(1, 50), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_features_are_read_as_they_were_written(tmp_path_factory, rows, dim, shard_rows, seed):
    matrix = torch.randn((rows, dim), generator=torch.Generator().manual_seed(seed))
    root = tmp_path_factory.mktemp("store")
    fill(entry_in(root, rows=rows, shard_rows=shard_rows), matrix)
    again = entry_in(root, rows=rows, shard_rows=shard_rows)
    assert again.complete
    assert again.missing_shards() == []
    assert torch.equal(again.read(), matrix)
    assert again.dim == dim


def test_changes_to_what_was_read_do_not_reach_the_store(entry):
    entry.read().zero_()
    assert torch.equal(entry.read(), MATRIX)


def test_two_stores_with_the_same_rows_have_the_same_bytes(tmp_path):
    first, second = fill(entry_in(tmp_path / "a")), fill(entry_in(tmp_path / "b"))
    assert contents(first.folder) == contents(second.folder)
    assert first.folder.relative_to(tmp_path / "a") == second.folder.relative_to(tmp_path / "b")


def test_the_folder_holds_the_whole_key_document(entry):
    assert json.loads((entry.folder / "key.json").read_text())["document"] == DOCUMENT


def leaves(document, path=()):
    for name, value in document.items():
        yield from leaves(value, (*path, name)) if isinstance(value, dict) else [(*path, name)]


@pytest.mark.parametrize("path", list(leaves(DOCUMENT)), ids=".".join)
def test_every_field_of_the_key_document_counts(tmp_path, entry, path):
    changed = copy.deepcopy(DOCUMENT)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = inner[path[-1]] + 1 if isinstance(inner[path[-1]], int) else "other"
    other = entry_in(tmp_path, changed)
    assert other.key != entry.key
    assert other.missing_shards() == [0, 1, 2]


def test_rows_shard_size_and_format_count_too(tmp_path, entry, monkeypatch):
    keys = {entry.key, entry_in(tmp_path, rows=9).key, entry_in(tmp_path, shard_rows=5).key}
    monkeypatch.setattr(features, "FORMAT", features.FORMAT + 1)
    assert len(keys | {entry_in(tmp_path).key}) == 4


def test_an_altered_key_document_is_an_error_that_names_it(tmp_path, entry):
    path = entry.folder / "key.json"
    path.write_text(path.read_text().replace('"fp32"', '"bf16"'))
    with pytest.raises(StoreError, match=r"key document .* does not match the name of its folder") as caught:
        entry_in(tmp_path)
    assert str(path) in str(caught.value)


def truncate(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def empty(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path, _: Path) -> None:
    path.unlink()


def foreign(path: Path, other: Path) -> None:
    """Puts the same shard of another entry in its place."""
    shutil.copy(other, path)


@pytest.mark.parametrize("fault", [truncate, flip, empty, remove, foreign])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_broken_shard_is_reported_and_computed_again(tmp_path, entry, fault, sealed):
    other = fill(entry_in(tmp_path, {**DOCUMENT, "seed": 1}), MATRIX + 1)
    whole = contents(entry.folder)
    if not sealed:
        (entry.folder / "manifest.json").unlink()
    broken = shard(entry, 1)
    fault(broken, shard(other, 1))

    again = entry_in(tmp_path)
    with pytest.raises(MissingShardsError):
        again.read()
    if sealed or fault is not remove:
        with pytest.warns(ProbebenchWarning) as caught:
            assert again.missing_shards() == [1]
        assert [broken.name in str(warning.message) for warning in caught] == [True]
    assert not again.complete
    assert torch.equal(fill(again).read(), MATRIX)
    assert contents(entry.folder) == whole


def test_a_shard_of_another_entry_is_refused_although_its_name_is_right(tmp_path, entry):
    other = entry_in(tmp_path, {**DOCUMENT, "seed": 1})
    other.folder.mkdir(parents=True)
    foreign_file = other.folder / shard(entry, 0).name
    shutil.copy(shard(entry, 0), foreign_file)
    with pytest.warns(ProbebenchWarning, match=f"{foreign_file.name} belongs to another entry"):
        assert other.missing_shards() == [0, 1, 2]
    assert not foreign_file.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda key: b"no header at all", "is not a file of features"),
        (lambda key: save({"weights": MATRIX[:4]}), "is not a file of features"),
        (lambda key: encode(MATRIX[:3], key, 0)[1], r"contains F32 \(3, 3\), not F32 \(4, D\)"),
        (lambda key: encode(MATRIX[:4].half(), key, 0)[1], r"contains F16 \(4, 3\), not F32 \(4, D\)"),
        (lambda key: encode(MATRIX[:4, 0], key, 0)[1], r"contains F32 \(4,\), not F32 \(4, D\)"),
        (lambda key: encode(MATRIX[:4], key, 1)[1], "belongs to another entry, or has another number"),
    ],
    ids=["no safetensors", "no features", "rows", "type", "shape", "place"],
)
def test_a_file_with_a_right_name_and_wrong_content_is_refused(tmp_path, data, words):
    unfinished = entry_in(tmp_path)
    unfinished.folder.mkdir(parents=True)
    content = data(unfinished.key)
    path = unfinished.folder / str(ShardName(0, hashlib.sha256(content).hexdigest()[:32]))
    path.write_bytes(content)
    with pytest.warns(ProbebenchWarning, match=f"{path.name} {words}"):
        assert unfinished.missing_shards() == [0, 1, 2]


def test_a_shard_is_checked_against_the_width_of_the_others(tmp_path):
    unfinished = entry_in(tmp_path)
    unfinished.write(0, MATRIX[:4])
    name, content = encode(MATRIX[4:8, :2], unfinished.key, 1)
    (unfinished.folder / str(name)).write_bytes(content)
    with pytest.warns(ProbebenchWarning, match=r"contains F32 \(4, 2\), not F32 \(4, 3\)"):
        assert entry_in(tmp_path).missing_shards() == [1, 2]


def test_files_that_are_not_shards_are_neither_used_nor_changed(tmp_path):
    unfinished = entry_in(tmp_path)
    unfinished.write(0, MATRIX[:4])
    notes = unfinished.folder / "notes.txt"
    notes.write_text("mine")
    half_written = unfinished.folder / f".{shard(unfinished, 0).name}.abc.tmp"
    half_written.write_bytes(b"half")
    assert entry_in(tmp_path).missing_shards() == [1, 2]
    assert notes.exists()
    assert half_written.exists()


def test_a_shard_with_a_number_above_the_last_is_reported(tmp_path):
    longer = fill(entry_in(tmp_path))
    extra = longer.folder / str(ShardName(7, "0" * 32))
    extra.write_bytes(b"?")
    (longer.folder / "manifest.json").unlink()
    with pytest.warns(ProbebenchWarning, match="has a number above that of the last shard, 2"):
        assert entry_in(tmp_path).missing_shards() == []


def test_a_shard_that_the_manifest_does_not_list_is_ignored(tmp_path, entry):
    (entry.folder / str(ShardName(1, "0" * 32))).write_bytes(b"?")
    assert entry_in(tmp_path).missing_shards() == []
    assert torch.equal(entry.read(), MATRIX)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\udcff", '{"rows": 10}', '{"rows": 10, "dim": 3, "dtype": "float32", "shards": 5}']
)
def test_shards_survive_a_broken_manifest(tmp_path, entry, text):
    path = entry.folder / "manifest.json"
    whole = path.read_bytes()
    path.write_bytes(text.encode(errors="surrogateescape"))
    again = entry_in(tmp_path)
    assert not again.complete
    with pytest.warns(ProbebenchWarning, match=r"manifest\.json"):
        assert again.missing_shards() == []
    again.write_manifest()
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("old", "new"), [('"dim": 3', '"dim": 4'), ('"rows": 10', '"rows": 9'), ("000001-", "000002-")]
)
def test_an_altered_manifest_is_reported(tmp_path, entry, old, new):
    path = entry.folder / "manifest.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.warns(ProbebenchWarning, match=r"manifest\.json is not the manifest of this entry"):
        assert entry_in(tmp_path).missing_shards() == []


def test_the_manifest_of_another_entry_is_reported(tmp_path, entry):
    shorter = fill(entry_in(tmp_path, rows=8), MATRIX[:8])
    shutil.copy(shorter.folder / "manifest.json", entry.folder / "manifest.json")
    with pytest.warns(ProbebenchWarning, match=r"manifest\.json is not the manifest of this entry"):
        assert entry_in(tmp_path).missing_shards() == []


def test_a_lost_key_document_is_written_again(tmp_path, entry):
    whole = contents(entry.folder)
    (entry.folder / "key.json").unlink()
    again = entry_in(tmp_path)
    assert not again.complete
    assert again.missing_shards() == []
    again.write_manifest()
    assert contents(entry.folder) == whole


@pytest.mark.parametrize("rows", [MATRIX[:3], MATRIX[:4].double(), MATRIX[:4, 0], MATRIX[:4, :2]])
def test_a_shard_of_the_wrong_shape_or_type_is_not_written(tmp_path, rows):
    unfinished = entry_in(tmp_path)
    unfinished.write(1, MATRIX[4:8])
    with pytest.raises(ValueError, match="shard 0 is"):
        unfinished.write(0, rows)


def test_an_entry_with_missing_shards_has_no_manifest_and_cannot_be_read(tmp_path):
    unfinished = entry_in(tmp_path)
    unfinished.write(0, MATRIX[:4])
    with pytest.raises(ValueError, match="only 1 of 3 shards"):
        unfinished.write_manifest()
    with pytest.raises(MissingShardsError, match="features are missing"):
        unfinished.read()


def test_an_entry_has_at_least_one_row(tmp_path):
    with pytest.raises(ValueError, match="0 rows"):
        entry_in(tmp_path, rows=0)


def test_the_manifest_of_a_faster_process_is_kept(tmp_path):
    slower = entry_in(tmp_path)
    for number in slower.missing_shards():
        span = slower.span(number)
        slower.write(number, MATRIX[span.start : span.stop] + 1e-6)  # as another kind of device might give
    faster = fill(entry_in(tmp_path / "elsewhere"))
    shutil.copytree(faster.folder, slower.folder, dirs_exist_ok=True)
    slower.write_manifest()
    assert torch.equal(slower.read(), MATRIX)


def fail_writing(monkeypatch, number: int, *, at: str = "fsync"):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, at, fail)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "no permission"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_a_failed_write_is_a_short_error_and_leaves_no_file(tmp_path, monkeypatch, number, words):
    unfinished = entry_in(tmp_path)
    unfinished.write(0, MATRIX[:4])
    with monkeypatch.context() as patch:
        fail_writing(patch, number)
        with pytest.raises(StoreError) as caught:
            unfinished.write(1, MATRIX[4:8])
    lines = str(caught.value).splitlines()
    assert lines[0] == f"the feature store cannot write a file: {words}"
    assert str(unfinished.folder) in lines[1]
    assert len(lines) == 3
    assert sorted(path.name for path in unfinished.folder.iterdir()) == [shard(unfinished, 0).name, "key.json"]
    assert torch.equal(fill(entry_in(tmp_path)).read(), MATRIX)


def test_a_read_only_store_can_be_read(tmp_path, entry, monkeypatch):
    fail_writing(monkeypatch, errno.EROFS)
    fail_writing(monkeypatch, errno.EROFS, at="utime")
    again = entry_in(tmp_path)
    assert again.missing_shards() == []
    again.write_manifest()
    assert torch.equal(again.read(), MATRIX)


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="the feature store is a file"):
        Store(tmp_path / "store")
    with pytest.raises(StoreError, match="a parent of the path is a file"):
        entry_in(tmp_path / "store" / "below")


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path):
    unfinished = entry_in(tmp_path)
    unfinished.folder.parent.write_text("")
    with pytest.raises(StoreError, match="cannot write a file: a parent of the path is a file"):
        unfinished.write(0, MATRIX[:4])


def test_a_decoded_manifest_equals_the_encoded_one():
    manifest = Manifest(5, 2, (ShardName(0, "a" * 32), ShardName(1, "b" * 32)))
    assert Manifest.decode(manifest.encode()) == manifest


# --- probebench store ---


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_verify_reports_nothing_in_an_intact_store(tmp_path, entry):
    entry_in(tmp_path, {**DOCUMENT, "seed": 1}).write(0, MATRIX[:4])
    assert maintenance.verify(tmp_path) == []


@pytest.mark.parametrize("fault", [truncate, flip, empty, remove])
def test_verify_reports_broken_files_and_changes_nothing(tmp_path, entry, fault):
    broken = shard(entry, 2)
    fault(broken, broken)
    before = contents(entry.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [path for path, _ in maintenance.verify(tmp_path)] == [broken]
    assert contents(entry.folder) == before


def test_verify_reports_broken_manifests_and_key_documents(tmp_path, entry):
    other = fill(entry_in(tmp_path, {**DOCUMENT, "seed": 1}))
    third = fill(entry_in(tmp_path, {**DOCUMENT, "seed": 2}))
    flip(entry.folder / "manifest.json", entry.folder)
    (other.folder / "key.json").write_text("{}")
    key = third.folder / "key.json"
    key.write_text(json.dumps(json.loads(key.read_text())))  # the same document, not the same bytes
    expected = {entry.folder / "manifest.json", other.folder / "key.json", third.folder}
    assert {path for path, _ in maintenance.verify(tmp_path)} == expected


def test_gc_does_not_change_an_intact_store(tmp_path, entry):
    before = contents(entry.folder)
    assert maintenance.collect_garbage(tmp_path).files == 0
    assert contents(entry.folder) == before


def test_gc_deletes_old_temporary_files_and_unlisted_shards(tmp_path, entry):
    before = contents(entry.folder)
    old, young = entry.folder / ".a.x.tmp", entry.folder / ".b.y.tmp"
    orphan = entry.folder / str(ShardName(0, "0" * 32))
    for path in (old, young, orphan):
        path.write_bytes(b"12345")
    age(old, 2 * 3600)
    assert maintenance.collect_garbage(tmp_path) == maintenance.Deleted(files=2, size=10)
    assert contents(entry.folder) == {**before, young.name: b"12345"}


def test_gc_deletes_entries_that_are_unfinished_for_a_day(tmp_path):
    young, old = entry_in(tmp_path), entry_in(tmp_path, {**DOCUMENT, "seed": 1})
    for unfinished in (young, old):
        unfinished.write(0, MATRIX[:4])
    for path in old.folder.iterdir():
        age(path, 2 * 86400)
    maintenance.collect_garbage(tmp_path)
    assert not old.folder.exists()
    assert entry_in(tmp_path).missing_shards() == [1, 2]


def test_gc_with_a_limit_deletes_the_least_recently_used(tmp_path):
    entries = [fill(entry_in(tmp_path, {**DOCUMENT, "seed": seed})) for seed in range(3)]
    for number, one in enumerate(entries):
        for path in one.folder.iterdir():
            age(path, 1000 - number)
    entries[0].read()  # reading counts as use
    size = sum(len(data) for data in contents(entries[0].folder).values())
    maintenance.collect_garbage(tmp_path, max_size=2 * size)
    assert [one.folder.exists() for one in entries] == [True, False, True]
    maintenance.collect_garbage(tmp_path, max_size=0)
    assert maintenance.stored_items(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_gc_never_deletes_a_file_that_no_store_wrote(tmp_path, entry):
    mine = [tmp_path / "thesis.tex", tmp_path / "ab" / "photo.png", entry.folder / "notes.txt"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        age(path, 1e7)
    maintenance.collect_garbage(tmp_path, max_size=0)
    assert all(path.read_text() == "mine" for path in mine)
    assert not (entry.folder / "key.json").exists()


def test_a_file_that_cannot_be_deleted_is_an_error(tmp_path, entry, monkeypatch):
    fail_writing(monkeypatch, errno.EACCES, at="unlink")
    with pytest.raises(StoreError, match="cannot delete a file: no permission"):
        maintenance.collect_garbage(tmp_path, max_size=0)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_ls_lists_the_entries(tmp_path, entry):
    entry_in(tmp_path, {**DOCUMENT, "seed": 1}).write(0, MATRIX[:4])
    entry_in(tmp_path, {"something": "else"}).write(0, MATRIX[:4])
    fourth = fill(entry_in(tmp_path, {**DOCUMENT, "seed": 2}))
    (fourth.folder / "key.json").write_text("{}")
    result = run("ls", "--store", tmp_path)
    assert result.exit_code == 0
    assert fourth.key[:12] not in result.output
    line = next(line for line in result.output.splitlines() if line.startswith(entry.key[:12]))
    for word in ("acme/net ffffffff", "digits/train", "mid@t=10@gap", " 10 ", " 3 "):
        assert word in line
    assert result.output.count("unfinished") == 2
    assert "3 entries" in result.output


def test_an_empty_store_is_not_an_error(tmp_path):
    nowhere = tmp_path / "nowhere"
    assert "holds no features yet" in run("ls", "--store", nowhere).output
    assert run("verify", "--store", nowhere).exit_code == 0
    assert run("gc", "--store", nowhere).exit_code == 0
    assert not nowhere.exists()


def test_the_default_store_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEBENCH_STORE", str(tmp_path / "mine"))
    assert str(tmp_path / "mine") in run("ls").output


def test_verify_exits_1_and_names_the_file(tmp_path, entry):
    assert run("verify", "--store", tmp_path).exit_code == 0
    flip(shard(entry, 0), entry.folder)
    result = run("verify", "--store", tmp_path)
    assert result.exit_code == 1
    assert shard(entry, 0).name in result.output


def test_gc_says_what_it_removed(tmp_path, entry):
    result = run("gc", "--store", tmp_path, "--max-size", "0")
    assert result.exit_code == 0
    assert "removed 5 files" in result.output


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("500 mb", 5 * 10**8), ("1.5K", 1500), ("2T", 2 * 10**12), ("7", 7)]
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "5 apples", "1e9", "nan"])
def test_texts_that_are_not_sizes_are_refused(text):
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (5 * 10**9, "5.0 GB")])
def test_sizes_are_printed(size, text):
    assert format_size(size) == text
