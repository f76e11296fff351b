"""Canonical JSON and the digests built on it: equal documents give equal text on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def canonical_json(document: Any) -> str:  # noqa: ANN401 - any JSON document
    """JSON with sorted keys and no spaces.

    Raises:
        ValueError: The document holds NaN or an infinity, which are not JSON.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(document: Any) -> str:  # noqa: ANN401 - any JSON document
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def differing_fields(held: Any, wanted: Any) -> str:  # noqa: ANN401 - any JSON documents
    """Names of the fields in which two documents differ, such as ``recipe.lr, seed and 3 more``; empty if in none."""
    names = list(_differences(held, wanted))
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _differences(held: Any, wanted: Any, name: str = "") -> Iterator[str]:  # noqa: ANN401 - any JSON documents
    if not (isinstance(held, dict) and isinstance(wanted, dict)):
        if held != wanted:
            yield name or "document"
        return
    for key in dict.fromkeys((*wanted, *held)):
        yield from _differences(held.get(key), wanted.get(key), f"{name}.{key}".removeprefix("."))
