"""The provenance of a number: versions, commit, command and machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence  # noqa: TC003 - pydantic reads annotations at run time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

import probebench

PACKAGES = ("diffusers", "numpy", "safetensors", "scikit-learn", "timm", "torch", "torch-fidelity")
"""Distributions whose version can change a number."""

_NOT_SOURCE = (":(top,exclude)leaderboards", ":(top,exclude)studies", ":(top,exclude)README.md")

UtcTime = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Git(_Model):
    """The state of the checkout from which probebench was imported."""

    commit: str = Field(description="Full hash of the commit.")
    dirty: bool = Field(description="Whether tracked files differed from the commit.")


class Provenance(_Model):
    """The provenance of a record."""

    created: UtcTime = Field(description="When the cell finished, in UTC.")
    probebench: str = Field(description="Version of the core.")
    python: str = Field(description="Version of Python.")
    packages: dict[str, str | None] = Field(description="Versions of packages that can change a number.")
    plugins: dict[str, str] = Field(description="Distributions of the components used, with their versions.")
    git: Git | None = Field(description="The checkout; null if probebench was installed from a package.")
    argv: tuple[str, ...] = Field(description="The command, without the program's path.")
    device_name: str = Field(description="The processor or accelerator that ran the backbone.")
    platform: str = Field(description="Operating system and machine type.")


def current_provenance(*, plugins: Mapping[str, str], argv: Sequence[str], device_name: str) -> Provenance:
    """Returns the provenance of a cell that finishes now.

    Args:
        plugins: Distribution and version of every component of the cell.
        argv: Arguments of the command, without the program itself.
        device_name: Name of the device that ran the backbone.
    """
    return Provenance(
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        probebench=probebench.__version__,
        python=platform.python_version(),
        packages={name: package_version(name) for name in PACKAGES},
        plugins=dict(sorted(plugins.items())),
        git=git_state(Path(probebench.__file__).parent),
        argv=tuple(argv),
        device_name=device_name,
        platform=f"{sys.platform}-{platform.machine()}",
    )


def package_version(distribution: str) -> str | None:
    """Returns the installed version of a distribution without importing it; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def git_state(package: Path) -> Git | None:
    """Returns the commit of the checkout of a package, and whether tracked files differ from it.

    Untracked files are ignored, because results and caches are often written to a checkout. Boards, their records and
    the README that quotes them are ignored too, so that a run which renews them does not count as a changed tree.

    Args:
        package: Folder of an imported package. The working directory does not matter.

    Returns:
        None if git does not track the package, such as a wheel in an environment inside another checkout, if there is
        no commit yet, or if git is not installed.
    """
    if not shutil.which("git") or not _git(package, "ls-files", "--", "."):
        return None
    commit = _git(package, "rev-parse", "--verify", "HEAD")
    changes = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *_NOT_SOURCE)
    if commit is None or changes is None:
        return None
    return Git(commit=commit, dirty=bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    # Git hooks set variables such as GIT_DIR, which may name another repository than that of the folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    done = subprocess.run(  # noqa: S603 - fixed program, no shell
        command, capture_output=True, text=True, check=False, env=environment
    )
    return done.stdout.strip() if done.returncode == 0 else None
