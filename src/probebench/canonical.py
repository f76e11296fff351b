"""Canonical JSON and the digests built on it: equal documents give equal text on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(document: Any) -> str:  # noqa: ANN401 - any JSON document
    """JSON with sorted keys and no spaces.

    Raises:
        ValueError: The document holds NaN or an infinity, which are not JSON.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(document: Any) -> str:  # noqa: ANN401 - any JSON document
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()
