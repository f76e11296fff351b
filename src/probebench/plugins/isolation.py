"""Exceptions that a plugin's code raises, as errors that name the plugin."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from probebench.util.errors import PluginError, ProbebenchError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def plugin_errors(what: str, *, where: str | None = None) -> Iterator[None]:
    """Blames a plugin for the exceptions that its code raises.

    Args:
        what: What failed.
        where: On what.

    Raises:
        PluginError: Anything but a `ProbebenchError` came out of the block.
    """
    try:
        yield
    except ProbebenchError:
        raise
    except Exception as error:
        # The first line says it: PyTorch adds whole stack traces to some of its messages.
        cause = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        raise PluginError(f"{what}: {cause}", where=where, hint="run again with --debug for the traceback") from error
