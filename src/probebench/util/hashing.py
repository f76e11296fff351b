"""Canonical JSON, and digests of it: equal documents have equal text and digests on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def canonical_json(document: Any) -> str:  # noqa: ANN401 - any JSON document
    """Returns a document as JSON with sorted keys and without spaces.

    Raises:
        ValueError: The document contains NaN or an infinity, which are not JSON.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(document: Any) -> str:  # noqa: ANN401 - any JSON document
    """Returns the SHA-256 of a document's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def differing_fields(stored: Any, requested: Any) -> str:  # noqa: ANN401 - any JSON documents
    """Returns the names of the fields in which two documents differ, such as ``recipe.lr, seed and 3 more``."""
    names = list(_differences(stored, requested))
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _differences(stored: Any, requested: Any, name: str = "") -> Iterator[str]:  # noqa: ANN401 - any JSON documents
    if not (isinstance(stored, dict) and isinstance(requested, dict)):
        if stored != requested:
            yield name or "document"
        return
    for key in dict.fromkeys((*requested, *stored)):
        yield from _differences(stored.get(key), requested.get(key), f"{name}.{key}".removeprefix("."))
