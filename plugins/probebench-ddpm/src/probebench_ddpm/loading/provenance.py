"""The training that a checkpoint comes from, read from its manifest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from probebench.api import TrainingStage

if TYPE_CHECKING:
    from collections.abc import Mapping


def training_provenance(manifest: Mapping[str, Any]) -> TrainingStage | None:
    """Returns recipe, seed, epoch and number of images of a checkpoint of `probebench train`.

    Args:
        manifest: Manifest of the checkpoint; empty if there is none.

    Returns:
        None for a network that `probebench train` did not write.
    """
    if manifest.get("backbone") != "ddpm":
        return None
    data = manifest["dataset"]
    # The fingerprint of the images and not the dataset's name, which may differ between machines.
    recipe = {field: manifest[field] for field in ("network", "recipe", "flips", "precision")} | {
        "train": data["train"]
    }
    if manifest["input_range"] != [-1.0, 1.0]:
        recipe["input_range"] = manifest["input_range"]
    return TrainingStage(
        recipe=hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest(),
        seed=manifest["seed"],
        epoch=manifest["epoch"],
        images=manifest["step"] * min(manifest["recipe"]["batch_size"], data["images"]),
    )
