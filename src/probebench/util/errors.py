"""Errors that a user can act on, and the exit code of each.

An error says what is wrong, where, and what to do next, in at most three lines. Anything else that
escapes is a defect of probebench or of a plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ProbebenchError(Exception):
    """Base of all errors with a message for the user.

    Args:
        what: One sentence: what is wrong.
        where: The file, component or option it was found in.
        hint: What to do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(
            "\n".join(line for line in (what, where and f"  in: {where}", hint and f"  try: {hint}") if line)
        )


class UsageError(ProbebenchError):
    """The command line, a config file or an option's value is wrong."""

    exit_code = 2


class PluginError(ProbebenchError):
    """A plugin cannot be loaded, breaks its contract, or fails a conformance check."""

    exit_code = 3


class StaleBoardError(ProbebenchError):
    """A committed leaderboard is not what its records give."""

    exit_code = 4


class DataError(ProbebenchError):
    """A dataset's files are missing, unreadable or inconsistent."""


class FeatureError(ProbebenchError):
    """A backbone produced features that cannot be used: NaN, infinite, or of the wrong shape."""


class StoreError(ProbebenchError):
    """The feature store cannot be read or written."""


class RecordError(ProbebenchError):
    """A record is not valid, or cannot be written."""


class TrainingError(ProbebenchError):
    """A training, of a backbone or of a probe, cannot start or go on, or diverges."""


class ProbebenchWarning(UserWarning):
    """Something a reader of the number should know; it is stored in the record."""


def suggest(word: str, known: Iterable[str], what: str = "") -> str:
    """A hint for a word that is none of the known ones.

    Args:
        word: What the user wrote.
        known: What could have been meant.
        what: What the known words are; when given, all of them are named even where one is close.

    Returns:
        ``did you mean 'x'?`` where something is close, else ``one of a, b, c``; empty when nothing is known.
    """
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?" + (f" ({what}: {', '.join(names)})" if what else "")
    return "one of " + ", ".join(names) if names else ""
