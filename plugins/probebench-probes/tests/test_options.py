"""Options, and the module that the core imports to list the probes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from probebench_probes import (
    AttentionOptions,
    CnnOptions,
    FinetuneOptions,
    KnnOptions,
    LinearOptions,
    LogregOptions,
    MlpOptions,
    RidgeOptions,
    probebench_probes,
)


def test_all_probes_are_listed_without_importing_torch():
    script = (
        "import sys, probebench_probes as p; print([s.name for s in p.probebench_probes()], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == "['knn', 'linear', 'logreg', 'ridge', 'fewshot', 'mlp', 'cnn', 'attention', 'finetune'] False"
    )


def test_every_option_is_described():
    for spec in probebench_probes():
        assert all(field.description for field in spec.options.model_fields.values())


def test_a_default_that_moves_a_published_number_is_seen():
    """N13: lightly changed a default temperature, and its published numbers could not be repeated."""
    # A change of a default makes new rows unlike old ones: raise the version of the spec with it.
    assert KnnOptions().model_dump() == {
        "distance": "cosine",
        "vote": "temperature",
        "temperature": 0.07,
        "ks": (1, 5, 10, 20, 50, 100, 200),
    }
    assert LinearOptions().model_dump() == {
        "learning_rates": (0.1, 0.01),
        "weight_decays": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
        "epochs": 30,
        "batch_size": 256,
        "inputs": "standardized",
        "schedule": "cosine",
        "optimizer": "adam",
        "momentum": 0.0,
        "views": "none",
    }
    assert LogregOptions().model_dump() == {
        "cs": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        "inputs": "standardized",
        "steps": 1000,
    }
    assert RidgeOptions().model_dump() == {
        "alphas": (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2),
        "inputs": "standardized",
    }
    training = {
        "learning_rates": (1e-3, 3e-4),
        "weight_decay": 0.05,
        "optimizer": "adamw",
        "momentum": 0.0,
        "schedule": "cosine",
        "epochs": 15,
        "batch_size": 128,
        "inputs": "standardized",
        "views": "none",
    }
    fine = {name: value for name, value in training.items() if name != "inputs"}
    assert FinetuneOptions().model_dump() == fine
    assert MlpOptions().model_dump() == {**training, "widths": (512,)}
    assert CnnOptions().model_dump() == {**training, "widths": (256, 256)}
    assert AttentionOptions().model_dump() == {**training, "width": 256, "heads": 8, "blocks": 2}


@pytest.mark.parametrize("options", [KnnOptions(), KnnOptions(distance="euclidean", ks=(50,)), LinearOptions()])
def test_options_of_a_record_can_be_read_back(options):
    assert type(options)(**options.model_dump()) == options
    assert type(options).model_validate_json(options.model_dump_json()) == options
    assert type(options).model_validate(options) == options


def test_tuples_are_written_with_plus_signs():
    assert KnnOptions(ks="1+5+10").ks == (1, 5, 10)
    assert LinearOptions(weight_decays="0+1e-4").weight_decays == (0.0, 1e-4)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (KnnOptions, {"ks": ()}),
        (KnnOptions, {"ks": (0,)}),
        (KnnOptions, {"temperature": 0}),
        (KnnOptions, {"distance": "manhattan"}),
        (LinearOptions, {"learning_rates": ()}),
        (LinearOptions, {"learning_rates": (-1e-3,)}),
        (LinearOptions, {"weight_decays": (-1.0,)}),
        (LinearOptions, {"epochs": 0}),
        (LinearOptions, {"batch_size": 0}),
        (LinearOptions, {"views": "crop"}),
        (LogregOptions, {"cs": ()}),
        (LogregOptions, {"cs": (0.0,)}),
        (LogregOptions, {"steps": 0}),
        (RidgeOptions, {"alphas": ()}),
        (RidgeOptions, {"alphas": (0.0,)}),
        (RidgeOptions, {"inputs": "whitened"}),
    ],
)
def test_values_without_a_meaning_are_refused(options, given):
    with pytest.raises(ValidationError):
        options(**given)


@pytest.mark.parametrize("options", [LinearOptions, MlpOptions, CnnOptions, AttentionOptions, FinetuneOptions])
def test_every_view_is_trained_on(options):
    assert options(views="crop10", epochs=10).view_count == 10
    with pytest.raises(ValidationError, match="views=crop10 needs 10 epochs or more, one for each view"):
        options(views="crop10", epochs=9)


def test_the_width_is_divisible_by_the_heads():
    with pytest.raises(ValidationError, match="width=16 is not divisible by heads=3"):
        AttentionOptions(width=16, heads=3)
