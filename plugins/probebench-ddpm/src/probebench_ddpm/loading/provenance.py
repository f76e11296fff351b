"""Where in its training a checkpoint was saved, by its manifest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from probebench.api import Trained

if TYPE_CHECKING:
    from collections.abc import Mapping


def trained(manifest: Mapping[str, Any]) -> Trained | None:
    """Epoch, images and identity of the training behind a checkpoint of `probebench train`.

    Args:
        manifest: Of the checkpoint; empty where there is none.

    Returns:
        None for a network from elsewhere.
    """
    if manifest.get("backbone") != "ddpm":
        return None
    data = manifest["dataset"]
    # By the images and not by their name, which is what they are called on one machine.
    recipe = {field: manifest[field] for field in ("network", "recipe", "flips", "precision")} | {
        "train": data["train"]
    }
    if manifest["input_range"] != [-1.0, 1.0]:
        recipe["input_range"] = manifest["input_range"]
    return Trained(
        recipe=hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest(),
        seed=manifest["seed"],
        epoch=manifest["epoch"],
        images=manifest["step"] * min(manifest["recipe"]["batch_size"], data["images"]),
    )
