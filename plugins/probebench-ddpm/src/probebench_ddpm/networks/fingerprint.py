"""The weights' fingerprint."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers import ModelMixin


def fingerprint(network: ModelMixin, context: dict[str, Any]) -> str:
    """SHA-256 over architecture, weights and what else the features depend on, such as the schedule."""
    architecture = {key: value for key, value in network.config.items() if not key.startswith("_")}
    total = hashlib.sha256(json.dumps([architecture, context], sort_keys=True, default=list).encode())
    for name, tensor in sorted(network.state_dict().items()):
        total.update(f"{name} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return total.hexdigest()
