"""Turns exceptions of a plugin's code into errors that name the plugin."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from probebench.util.errors import PluginError, ProbebenchError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def plugin_errors(what: str, *, where: str | None = None) -> Iterator[None]:
    """Converts the exceptions of a block that runs a plugin's code.

    Args:
        what: What failed.
        where: The plugin or component.

    Raises:
        PluginError: The block raised an exception that is not a `ProbebenchError`.
    """
    try:
        yield
    except ProbebenchError:
        raise
    except Exception as error:
        # Only the first line of the message: PyTorch adds stack traces to some of its messages.
        cause = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        raise PluginError(f"{what}: {cause}", where=where, hint="run again with --debug for the traceback") from error
