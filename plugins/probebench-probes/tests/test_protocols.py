"""The protocols that come with the probes: complete, and not to be moved without a new version."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest

import probebench_probes
from probebench_probes import KnnOptions, LinearOptions, probebench_protocols

FOLDER = Path(probebench_probes.__file__).with_name("protocols")
DOCUMENTS = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}
MODELS = {"knn": KnnOptions, "linear": LinearOptions}

PUBLISHED = {
    ("default:knn", 1): "de9ff0f81e18db6a",
    ("default:linear", 1): "eb3fb259d927cec6",
    ("dino:knn", 1): "0f83c7966088bb52",
    ("instdisc:knn", 1): "9e08f07c561ccfd2",
    ("thesis2024:knn", 1): "8342241cfb0afc77",
    ("thesis2024:linear", 1): "098cb31fb873577f",
}
"""What each version of a protocol says, as a digest. Records were made under it: a line is added, never changed."""


def digest(document, probe):
    """Of all that can change a number; words that explain it do not count."""
    rules = document["probes"][probe]
    settings = {key: document.get(key) for key in ("pool", "taps", "levels")}
    settings |= {"options": rules["options"], "datasets": rules.get("datasets", {})}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


PARTS = [(name, probe) for name, document in DOCUMENTS.items() for probe in document["probes"]]


@pytest.mark.parametrize(("name", "probe"), PARTS)
def test_a_protocol_that_moves_gets_a_new_version(name, probe):
    """A default temperature that changed under an unchanged name made published rows of others irreproducible."""
    document = DOCUMENTS[name]
    key = f"{name}:{probe}", document["probes"][probe]["version"]
    assert digest(document, probe) == PUBLISHED.get(key), f"raise the version of {key}, and add its line"


def test_no_published_version_is_forgotten():
    latest = {name: max(v for n, v in PUBLISHED if n == name) for name, _ in PUBLISHED}
    assert latest == {f"{name}:{probe}": DOCUMENTS[name]["probes"][probe]["version"] for name, probe in PARTS}


@pytest.mark.parametrize(("name", "probe"), PARTS)
def test_every_option_is_stated(name, probe):
    """A protocol that leans on a default would move with it."""
    assert set(DOCUMENTS[name]["probes"][probe]["options"]) == set(MODELS[probe].model_fields)


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_the_default_protocol_is_what_the_probes_do_when_nothing_is_said(probe):
    assert MODELS[probe](**DOCUMENTS["default"]["probes"][probe]["options"]) == MODELS[probe]()


def test_the_thesis_as_far_as_it_is_stated():
    knn, linear = (DOCUMENTS["thesis2024"]["probes"][probe] for probe in ("knn", "linear"))
    assert (knn["options"]["ks"], knn["datasets"]["flowers102"]["ks"]) == ([50], [5])
    assert (linear["options"]["epochs"], linear["options"]["learning_rates"]) == (30, [1e-3])


def test_the_thesis_says_what_it_leaves_open():
    fields = {choice["field"] for choice in DOCUMENTS["thesis2024"]["open"]}
    assert {"pool", "levels", "metric", "probes.knn.distance", "probes.linear.batch_size"} <= fields


def test_every_document_is_offered():
    assert [spec.name for spec in probebench_protocols()] == list(DOCUMENTS)
