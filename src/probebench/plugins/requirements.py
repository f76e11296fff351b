"""Checks whether the distributions that a component requires are installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Any


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement and its installed version.

    Attributes:
        text: As the plugin states it, such as ``scikit-learn>=1.5``.
        installed: The installed version; empty if there is none.
        met: Whether that version is sufficient.
    """

    text: str
    installed: str
    met: bool

    def __str__(self) -> str:
        return f"{self.text} ({self.installed + ' is installed' if self.installed else 'not installed'})"


def check(requires: tuple[str, ...]) -> tuple[Requirement, ...]:
    """Checks each requirement; those whose environment marker does not apply are left out.

    Raises:
        ValueError: A text is not a requirement.
        TypeError: `requires` is a string, not a tuple.
    """
    from packaging import requirements

    if isinstance(requires, str):  # a tuple of one string without its comma: each letter would count as a name
        raise TypeError(f"{requires!r} must be a tuple of texts")
    checked = []
    for text in requires:
        requirement = requirements.Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            checked.append(Requirement(text, "", met=False))
            continue
        checked.append(Requirement(text, version, met=requirement.specifier.contains(version, prereleases=True)))
    return tuple(checked)


def describe(requires: tuple[str, ...]) -> list[dict[str, Any]]:
    """Checks each requirement, and returns the results as JSON values.

    Raises:
        ValueError: As `check`.
        TypeError: As `check`.
    """
    return [
        {"requirement": requirement.text, "installed": requirement.installed or None, "met": requirement.met}
        for requirement in check(requires)
    ]


def install_line(unmet: tuple[Requirement, ...]) -> str:
    """Returns the command that installs the missing requirements."""
    import shlex

    return shlex.join(["pip", "install", *(requirement.text for requirement in unmet)])
