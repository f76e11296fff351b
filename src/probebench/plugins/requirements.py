"""Whether the distributions that a component needs are installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement and what is installed for it.

    Attributes:
        text: As the plugin wrote it, such as ``scikit-learn>=1.5``.
        installed: The version found; empty when there is none.
        met: Whether that version will do.
    """

    text: str
    installed: str
    met: bool

    def __str__(self) -> str:
        return f"{self.text} ({'found ' + self.installed if self.installed else 'not installed'})"


def check(requires: tuple[str, ...]) -> tuple[Requirement, ...]:
    """Looks each requirement up; those whose environment marker does not hold here are left out.

    Raises:
        ValueError: A text is not a requirement.
        TypeError: It is one text, not a tuple.
    """
    from packaging import requirements

    if isinstance(requires, str):  # a tuple of one without its comma: its letters would pass as names
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


def install_line(unmet: tuple[Requirement, ...]) -> str:
    """The command that installs what is missing."""
    import shlex

    return shlex.join(["pip", "install", *(requirement.text for requirement in unmet)])
