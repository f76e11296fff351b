"""Reading of config files, and errors of files that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probebench.util.config_file import load_config
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_config_file_is_read(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('backbone = ["ddpm", "pixels"]\nseeds = [0, 1]\n')
    assert load_config(file, ("backbone", "seeds")) == {"backbone": ["ddpm", "pixels"], "seeds": [0, 1]}


def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('bakcbone = "ddpm"\nzzz = 1\n')
    with pytest.raises(UsageError) as caught:
        load_config(file, ("backbone", "seeds"))
    assert str(caught.value).splitlines() == [
        "unknown keys 'bakcbone', 'zzz'",
        f"  in: {file}",
        "  try: did you mean 'backbone'?",
    ]


def test_a_config_file_that_is_not_toml_says_where(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("a = 1\nb = = 2\n")
    with pytest.raises(UsageError, match=r"not TOML: .*line 2"):
        load_config(file, ("a", "b"))
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(UsageError, match="not TOML"):
        load_config(file, ("a",))


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_config_file_that_cannot_be_read_is_named(tmp_path: Path, name):
    with pytest.raises(UsageError, match="cannot be read") as caught:
        load_config(tmp_path / name, ())
    assert caught.value.where == str(tmp_path / name)
