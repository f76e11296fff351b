"""The default folder of the feature store."""

from __future__ import annotations

from pathlib import Path

from probebench.util.defaults import default_store


def test_the_environment_sets_the_store(monkeypatch, tmp_path):
    monkeypatch.setenv("PROBEBENCH_STORE", str(tmp_path))
    assert default_store() == tmp_path
    monkeypatch.setenv("PROBEBENCH_STORE", "~/features")
    assert default_store() == Path.home() / "features"


def test_the_store_is_in_the_user_cache_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("PROBEBENCH_STORE")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    assert default_store() == tmp_path / "probebench" / "store"
