"""The protocols of this package: complete, and unchanged unless their version is raised."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

import probebench_probes
from probebench.api import Probe
from probebench.planning.protocol import find
from probebench.util.spec_text import parse_spec
from probebench_probes import (
    AttentionOptions,
    CnnOptions,
    FewshotOptions,
    KnnOptions,
    LinearOptions,
    LogregOptions,
    MlpOptions,
    RidgeOptions,
    probebench_protocols,
)

FOLDER = Path(probebench_probes.__file__).with_name("protocols")
_PATHS = sorted(FOLDER.glob("*.toml"), key=lambda path: path.stem)
DOCUMENTS = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in _PATHS}
MODELS = {
    "knn": KnnOptions,
    "linear": LinearOptions,
    "logreg": LogregOptions,
    "ridge": RidgeOptions,
    "mlp": MlpOptions,
    "cnn": CnnOptions,
    "attention": AttentionOptions,
    "fewshot": FewshotOptions,
}

PUBLISHED = {
    ("ddae2023-views:linear", 1): "e1dc4732337fec14",
    ("ddae2023:linear", 1): "b64df4a8c32e750d",
    ("default:knn", 1): "de9ff0f81e18db6a",
    ("default:linear", 1): "eb3fb259d927cec6",
    ("default:linear", 2): "adae017989527e93",
    ("default:logreg", 1): "a8d1a0c87b7c8512",
    ("default:ridge", 1): "a6da77be48018acf",
    ("diffssl2023:attention", 1): "e7a064c650711b7e",
    ("diffssl2023:cnn", 1): "83c125006e03d386",
    ("diffssl2023:linear-pool1", 1): "1e18182e9a549d8c",
    ("diffssl2023:linear-pool2", 1): "c231c4e7abe1f87b",
    ("diffssl2023:mlp", 1): "ed9b08b208e68f22",
    ("dino:knn", 1): "0f83c7966088bb52",
    ("dinov2-linear:linear", 1): "3915e3b8563c0d71",
    ("fewshot:knn-1", 1): "48b300df97d6b01d",
    ("fewshot:knn-10", 1): "b170f32184706b7a",
    ("fewshot:knn-5", 1): "1296a189f2b52852",
    ("fewshot:logreg-1", 1): "02d7d48921843628",
    ("fewshot:logreg-10", 1): "f89add6daef7f116",
    ("fewshot:logreg-5", 1): "ace3b631936442ec",
    ("instdisc:knn", 1): "9e08f07c561ccfd2",
    ("logreg-sweep:logreg", 1): "d8f7851cdea03545",
    ("thesis2024:knn", 1): "8342241cfb0afc77",
    ("thesis2024:linear", 1): "098cb31fb873577f",
    ("thesis2024:linear", 2): "72bf8c730de7b2aa",
}
"""Digest of each version of a protocol. Records refer to it: lines are added, never changed."""


def digest(document, probe):
    """Digest of all settings that can change a number; explanations are not part of it."""
    rules = document["probes"][probe]
    settings = {key: document.get(key) for key in ("pool", "taps", "levels")}
    settings |= {"options": rules["options"], "datasets": rules.get("datasets", {})}
    settings |= {key: rules[key] for key in ("probe", "pool") if key in rules}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def model(name, probe):
    return MODELS[DOCUMENTS[name]["probes"][probe].get("probe", probe)]


PARTS = [(name, probe) for name, document in DOCUMENTS.items() for probe in document["probes"]]


@pytest.mark.parametrize(("name", "probe"), PARTS)
def test_a_protocol_that_moves_gets_a_new_version(name, probe):
    """In another tool, a default changed under an unchanged name, and published rows could not be repeated."""
    document = DOCUMENTS[name]
    key = f"{name}:{probe}", document["probes"][probe]["version"]
    assert digest(document, probe) == PUBLISHED.get(key), f"raise the version of {key}, and add its line"


def test_no_published_version_is_forgotten():
    latest = {name: max(v for n, v in PUBLISHED if n == name) for name, _ in PUBLISHED}
    assert latest == {f"{name}:{probe}": DOCUMENTS[name]["probes"][probe]["version"] for name, probe in PARTS}


@pytest.mark.parametrize(("name", "probe"), PARTS)
def test_every_option_is_stated(name, probe):
    """A protocol that relies on a default would change with it; options added later may be left out."""
    stated, known = set(DOCUMENTS[name]["probes"][probe]["options"]), model(name, probe)
    assert set(known.model_fields) - known.added <= stated <= set(known.model_fields)


@pytest.mark.parametrize("probe", DOCUMENTS["default"]["probes"])
def test_the_default_protocol_states_the_defaults_of_the_probes(probe):
    assert MODELS[probe](**DOCUMENTS["default"]["probes"][probe]["options"]) == MODELS[probe]()


def test_the_settings_that_the_thesis_states():
    knn, linear = (DOCUMENTS["thesis2024"]["probes"][probe] for probe in ("knn", "linear"))
    assert (knn["options"]["ks"], knn["datasets"]["flowers102"]["ks"]) == ([50], [5])
    assert (linear["options"]["epochs"], linear["options"]["learning_rates"]) == (30, [1e-3])


def test_the_document_of_the_thesis_lists_what_the_thesis_leaves_open():
    fields = {choice["field"] for choice in DOCUMENTS["thesis2024"]["open"]}
    assert {"pool", "levels", "metric", "probes.knn.distance", "probes.linear.batch_size"} <= fields


def test_what_diffssl_publishes():
    """arXiv 2307.08702 and the scripts of its code: SGD without momentum, 28 epochs, divided by 10 after every 7."""
    probes = DOCUMENTS["diffssl2023"]["probes"]
    assert {name: rules["pool"] for name, rules in probes.items()} == {
        "linear-pool1": "gap",
        "linear-pool2": "grid2",
        "mlp": "grid2",
        "cnn": "grid16",
        "attention": "grid16",
    }
    for rules in probes.values():
        training = {key: rules["options"][key] for key in ("optimizer", "momentum", "schedule", "epochs", "batch_size")}
        assert training == {"optimizer": "sgd", "momentum": 0, "schedule": "step", "epochs": 28, "batch_size": 128}
    attention = probes["attention"]["options"]
    assert [attention[key] for key in ("width", "heads", "blocks", "learning_rates")] == [1024, 8, 2, [5e-2]]


def test_the_published_sweep_of_c():
    (options,) = (rules["options"] for rules in DOCUMENTS["logreg-sweep"]["probes"].values())
    assert options["cs"] == pytest.approx(np.logspace(-6, 5, 45).tolist(), rel=1e-5)


def test_what_dinov2_publishes_for_linear_probes():
    """The learning rates of the paper depend on its batch size, which is not the default of the code."""
    options = DOCUMENTS["dinov2-linear"]["probes"]["linear"]["options"]
    published = [a * 10.0**b for b in range(-5, -1) for a in (1, 2, 5)] + [0.1]
    assert options["learning_rates"] == pytest.approx([rate * options["batch_size"] / 256 for rate in published])
    assert (options["optimizer"], options["momentum"], options["schedule"]) == ("sgd", 0.9, "cosine")


def test_the_inner_probe_of_fewshot_states_every_option():
    for name, rules in DOCUMENTS["fewshot"]["probes"].items():
        inner = parse_spec(rules["options"]["probe"])
        assert set(inner.options) == set(MODELS[inner.name].model_fields), name


def test_what_ddae_publishes():
    linear = DOCUMENTS["ddae2023"]["probes"]["linear"]["options"]
    assert (linear["epochs"], linear["learning_rates"], linear["batch_size"]) == (15, [4 * 1e-3], 4 * 128)
    assert DOCUMENTS["ddae2023"]["levels"] == ["t=0", "t=10", "t=20"]


def test_ddae_with_views_differs_from_ddae_in_the_views_only():
    """Ten copies of each image, cropped and mirrored at random: DiT/vae_preprocessing.py of its code."""
    without, viewed = ({**DOCUMENTS[name]["probes"]["linear"]["options"]} for name in ("ddae2023", "ddae2023-views"))
    assert viewed.pop("views") == "crop10"
    assert viewed == without
    assert all(DOCUMENTS["ddae2023"].get(key) == DOCUMENTS["ddae2023-views"].get(key) for key in ("pool", "levels"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_can_be_run(name):
    """Its probes can be built, and its readings of open settings are the values that are set."""
    for ruled in find(name).ruled(None):
        assert isinstance(ruled.probe.build(), Probe)


def test_every_document_is_listed():
    assert [spec.name for spec in probebench_protocols()] == list(DOCUMENTS)
