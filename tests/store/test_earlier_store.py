"""A store and records of an earlier version are found and used: their keys do not depend on where a module is.

``earlier/`` was written by
``probebench run --backbone pixels --dataset digits --probe knn --limit 30 --precision fp32``
before modules moved into packages.
"""

from __future__ import annotations

import shutil
from pathlib import Path

EARLIER = Path(__file__).with_name("earlier")

# Of the record of the command above, and of
# `run --backbone ddpm --taps mid --levels 10 --probe knn --limit 30 --no-baselines --precision fp32`.
PIXELS_RECORD = "digits/pixels/knn-seed0-ec91eb3c.json"
DDPM_RECORD = "scattered-digits/ddpm/knn-seed0-3b653bb0.json"
DDPM_KEYS = {
    "774f535507f62a4503f23dcf485ab3cf79623204677e0c4861ae7eccad7ab80c",
    "25697029352df38a457fdd802f6644031651513cffc12ea5d2449989996bda0d",
}
SETTINGS = ("--probe", "knn", "--limit", "30", "--precision", "fp32", "--device", "cpu", "--json")


def test_features_of_an_earlier_version_are_used(cli, tmp_path):
    shutil.copytree(EARLIER, tmp_path / "store")
    words = ("run", "--backbone", "pixels", "--dataset", "digits", "--results", str(tmp_path / "results"), *SETTINGS)
    answer = cli(*words).json
    assert answer["forwarded"] == [], "nothing is read again"
    assert [cell["path"] for cell in answer["cells"]] == [str(tmp_path / "results" / PIXELS_RECORD)]


def test_keys_of_a_network_are_those_of_an_earlier_version(cli, tmp_path):
    words = ("--taps", "mid", "--levels", "10", "--no-baselines", "--results", str(tmp_path / "results"))
    answer = cli("run", "--backbone", "ddpm", *words, *SETTINGS).json
    assert [cell["path"] for cell in answer["cells"]] == [str(tmp_path / "results" / DDPM_RECORD)]
    assert {path.parent.name for path in (tmp_path / "store").glob("??/*/key.json")} == DDPM_KEYS
