"""Reads config files in TOML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probebench.util.errors import UsageError, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def load_config(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """Reads a TOML file, and checks its top-level keys.

    Args:
        path: The file.
        keys: The keys that it may contain.

    Raises:
        UsageError: The file cannot be read, is not TOML, or contains an unknown key.
    """
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the config file cannot be read: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file is not TOML: {error}", where=str(path)) from error
    known = sorted(keys)
    unknown = [key for key in document if key not in known]
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise UsageError(
            f"unknown key{'s' if len(unknown) > 1 else ''} {names}",
            where=str(path),
            hint=suggest(unknown[0], known),
        )
    return document
