"""Shared by the tests of the probes: options of published protocols, and predictions of two computations."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch

import probebench_probes
from probebench.stats.metrics import predictions


@pytest.fixture(scope="session")
def thesis2024():
    """Options of each probe under the thesis' protocol."""
    path = Path(probebench_probes.__file__).with_name("protocols") / "thesis2024.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: rules["options"] for name, rules in document["probes"].items()}


@pytest.fixture(scope="session")
def assert_same_predictions():
    """Compares the predictions of two computations that round differently.

    Images whose two best classes are nearly equal in the reference may get either of them. There are few of those.
    """

    def compare(scores, reference, *, margin, share=0.95):
        reference = torch.as_tensor(reference).double()
        best = reference.topk(2, dim=1).values
        clear = best[:, 0] - best[:, 1] > margin
        assert clear.double().mean() >= share
        assert torch.equal(predictions(scores)[clear], predictions(reference)[clear])

    return compare
