"""Errors that a user can act on, and the exit code of each.

An error states what is wrong, where, and what to do next, in at most three lines. Any other exception that a
user sees is a bug of probebench or of a plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ProbebenchError(Exception):
    """Base class of all errors with a message for the user.

    Args:
        what: What is wrong, in one sentence, with the value.
        where: The file, component or option that is wrong.
        hint: What to do next: one complete command or edit.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(
            "\n".join(line for line in (what, where and f"  in: {where}", hint and f"  try: {hint}") if line)
        )


class UsageError(ProbebenchError):
    """Raised when the command line, a config file or the value of an option is wrong."""

    exit_code = 2


class PluginError(ProbebenchError):
    """Raised when a plugin cannot be loaded, breaks its contract, or fails a conformance check."""

    exit_code = 3


class StaleBoardError(ProbebenchError):
    """Raised when a committed leaderboard differs from what its records give."""

    exit_code = 4


class DataError(ProbebenchError):
    """Raised when files of a dataset are missing, unreadable or inconsistent."""


class FeatureError(ProbebenchError):
    """Raised when features cannot be used: they are NaN, infinite, or of the wrong shape."""


class StoreError(ProbebenchError):
    """Raised when the feature store cannot be read or written."""


class RecordError(ProbebenchError):
    """Raised when a record is not valid, or cannot be written."""


class TrainingError(ProbebenchError):
    """Raised when the training of a backbone or of a probe cannot start or continue, or diverges."""


class ProbebenchWarning(UserWarning):
    """A warning about a number. It is stored in the record of that number."""


def suggest(word: str, known: Iterable[str], what: str = "") -> str:
    """Returns a hint for a word that is not known.

    Args:
        word: The word that the user wrote.
        known: The known words.
        what: What the known words are, such as ``available``. If given, the hint names all of them.

    Returns:
        ``did you mean 'x'?`` if a known word is similar, else ``one of a, b, c``; empty if no word is known.
    """
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?" + (f" ({what}: {', '.join(names)})" if what else "")
    return "one of " + ", ".join(names) if names else ""
