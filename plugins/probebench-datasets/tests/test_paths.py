"""The folders of data and cache: by option, by environment variable, by platform."""

from __future__ import annotations

from probebench_datasets.paths import cache_root, data_root


def test_the_data_root(monkeypatch, tmp_path):
    monkeypatch.setenv("PROBEBENCH_DATA", str(tmp_path / "data"))
    assert data_root(None) == data_root("") == tmp_path / "data"
    assert data_root(str(tmp_path / "mine")) == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root("~/mine") == tmp_path / "mine"
    monkeypatch.delenv("PROBEBENCH_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert data_root(None).name == "datasets"
    assert "probebench" in data_root(None).parts


def test_the_cache_root(monkeypatch, cache_folder):
    assert cache_root() == cache_folder
    monkeypatch.delenv("PROBEBENCH_CACHE")
    assert "probebench" in cache_root().parts
