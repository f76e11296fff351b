"""The fingerprint of a network."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers import ModelMixin


def fingerprint(network: ModelMixin, context: dict[str, Any]) -> str:
    """Returns a SHA-256 in hexadecimal over architecture, fp32 weights and context.

    Args:
        network: The network.
        context: What else the features depend on, such as the schedule; JSON values.
    """
    architecture = {key: value for key, value in network.config.items() if not key.startswith("_")}
    digest = hashlib.sha256(json.dumps([architecture, context], sort_keys=True, default=list).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
