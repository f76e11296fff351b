"""The form of a fingerprint."""

from __future__ import annotations

import re

from probebench.api import PluginError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def checked_fingerprint(fingerprint: str, where: str) -> str:
    """Returns a fingerprint, which keys and records hold, after a check of its form."""
    if not isinstance(fingerprint, str) or not _SHA256.fullmatch(fingerprint):
        raise PluginError(f"fingerprint {fingerprint!r} is not a SHA-256 in hexadecimal", where=where)
    return fingerprint
