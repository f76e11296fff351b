"""Files of neighbours: written once, checked, and handled by `probebench store`."""

from __future__ import annotations

import errno
import os
import time

import pytest
import torch
from typer.testing import CliRunner

from probebench.api import Neighbours
from probebench.cli import app
from probebench.store import maintenance, neighbours
from probebench.store.neighbours import (
    MAX_NEIGHBOURS,
    Origin,
    StoredNeighbours,
    file_path,
    load_neighbours,
    save_neighbours,
)
from probebench.util.errors import StoreError

ORIGIN = Origin("acme/net ffffffff", "acme/digits/test", "mid@t=10@gap")


def some_neighbours(images: int = 4, count: int = 3, *, seed: int = 0) -> StoredNeighbours:
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.rand(images, count, dtype=torch.float64, generator=generator)
    index = torch.randint(0, 9, (images, count), generator=generator)
    return StoredNeighbours(
        Neighbours(index, similarity.sort(descending=True).values), torch.arange(9) % 3, torch.arange(images) % 3
    )


def test_neighbours_are_read_as_they_were_written(tmp_path):
    stored = some_neighbours()
    loaded = load_neighbours(tmp_path, save_neighbours(tmp_path, stored, ORIGIN))
    for found, expected in (
        (loaded.neighbours.index, stored.neighbours.index),
        (loaded.neighbours.similarity, stored.neighbours.similarity),
        (loaded.labels, stored.labels),
        (loaded.truth, stored.truth),
    ):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


def test_no_more_than_the_nearest_200_are_stored(tmp_path):
    many = some_neighbours(count=MAX_NEIGHBOURS + 7)
    loaded = load_neighbours(tmp_path, save_neighbours(tmp_path, many, ORIGIN))
    assert torch.equal(loaded.neighbours.similarity, many.neighbours.similarity[:, :MAX_NEIGHBOURS])


def test_10_000_images_take_24_megabytes(tmp_path):
    digest = save_neighbours(tmp_path, some_neighbours(1000, MAX_NEIGHBOURS), ORIGIN)
    assert file_path(tmp_path, digest).stat().st_size == pytest.approx(2.4e6, rel=0.01)


def test_equal_neighbours_share_a_file(tmp_path):
    first, again, other = (save_neighbours(tmp_path, some_neighbours(seed=seed), ORIGIN) for seed in (0, 0, 1))
    assert first == again != other
    assert len(list((tmp_path / "neighbours").iterdir())) == 2


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(neighbours, "write_bytes", full)
    with pytest.raises(StoreError, match="cannot write a file: the disk is full"):
        save_neighbours(tmp_path, some_neighbours(), ORIGIN)


def test_store_ls_verify_and_gc_handle_neighbours(tmp_path):
    paths = [file_path(tmp_path, save_neighbours(tmp_path, some_neighbours(seed=seed), ORIGIN)) for seed in range(3)]
    for number, path in enumerate(paths):
        os.utime(path, (time.time() - 100 + number,) * 2)
    mine = tmp_path / "neighbours" / "notes.txt"
    mine.write_text("mine")
    summary = maintenance.stored_items(tmp_path)[0]
    assert (summary.key, summary.point, summary.rows, summary.dim) == (paths[2].stem, "mid@t=10@gap neighbours", 4, 3)
    answer = CliRunner().invoke(app, ["store", "ls", "--store", str(tmp_path)])
    assert "acme/net ffffffff" in answer.output
    assert "3 entries" in answer.output

    assert maintenance.verify(tmp_path) == []
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    os.utime(paths[1], (time.time() - 99,) * 2)
    ((path, fault),) = maintenance.verify(tmp_path)
    assert (path, fault.partition(":")[0]) == (paths[1], "is truncated or altered")

    load_neighbours(tmp_path, paths[0].stem)  # reading counts as use
    size = paths[0].stat().st_size
    assert maintenance.collect_garbage(tmp_path).files == 0
    assert maintenance.collect_garbage(tmp_path, max_size=2 * size).files == 1
    assert [path.exists() for path in paths] == [True, False, True]
    maintenance.collect_garbage(tmp_path, max_size=0)
    assert list(tmp_path.rglob("*.*")) == [mine]


def test_gc_deletes_the_files_of_a_killed_process(tmp_path):
    folder = tmp_path / "neighbours"
    folder.mkdir()
    old, young = folder / ".a.x.tmp", folder / ".b.y.tmp"
    for path in (old, young):
        path.write_bytes(b"12345")
    os.utime(old, (time.time() - 7200,) * 2)
    assert maintenance.collect_garbage(tmp_path) == maintenance.Deleted(files=1, size=5)
    assert young.exists()
