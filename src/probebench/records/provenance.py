"""Where a number comes from: versions, commit, command, machine."""

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

_NO_SOURCE = (":(top,exclude)leaderboards", ":(top,exclude)studies", ":(top,exclude)README.md")

UtcTime = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Git(_Model):
    """State of the checkout that probebench was imported from."""

    commit: str = Field(description="Full hash of the commit.")
    dirty: bool = Field(description="Whether tracked files differed from the commit.")


class Provenance(_Model):
    """Where a record comes from."""

    created: UtcTime = Field(description="When the cell finished, in UTC.")
    probebench: str = Field(description="Version of the core.")
    python: str = Field(description="Version of Python.")
    packages: dict[str, str | None] = Field(description="Versions of packages that can change a number.")
    plugins: dict[str, str] = Field(description="Distributions of the components used, with their versions.")
    git: Git | None = Field(description="The checkout; null where probebench was installed from a package.")
    argv: tuple[str, ...] = Field(description="The command, without the program's path.")
    device_name: str = Field(description="The processor or accelerator that ran the backbone.")
    platform: str = Field(description="Operating system and machine type.")


def collect(*, plugins: Mapping[str, str], argv: Sequence[str], device_name: str) -> Provenance:
    """The provenance of a cell that finishes now.

    Args:
        plugins: Distribution and version of every component of the cell.
        argv: Arguments of the command, without the program itself.
        device_name: What the backbone ran on.
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
    """The installed version of a distribution, found without importing it; None if it is absent."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def git_state(package: Path) -> Git | None:
    """The commit that a package folder is checked out at, and whether tracked files were changed since.

    Files that git does not track are not looked at: results and caches land in a checkout all the time. Nor are
    boards, their records and the README that quotes them: a run that renews them must not soil its own tree.

    Args:
        package: Folder of an imported package. The working directory does not matter.

    Returns:
        None when the package is not tracked by git (a wheel, even one in an environment that lies inside
        somebody's checkout), when there is no commit yet, or when git is missing.
    """
    if not shutil.which("git") or not _git(package, "ls-files", "--", "."):
        return None
    commit = _git(package, "rev-parse", "--verify", "HEAD")
    changes = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *_NO_SOURCE)
    if commit is None or changes is None:
        return None
    return Git(commit=commit, dirty=bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    # Set by git hooks, GIT_DIR and its like would point at another repository than the folder's own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    done = subprocess.run(  # noqa: S603 - fixed program, no shell
        command, capture_output=True, text=True, check=False, env=environment
    )
    return done.stdout.strip() if done.returncode == 0 else None
