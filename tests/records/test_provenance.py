from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

import probebench
from probebench.records import provenance

GIT = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def git(folder, *arguments):
    environment = {**os.environ, **GIT, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A package folder in a repository with one commit."""
    package = tmp_path / "repository" / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    root = tmp_path / "repository"
    (root / "leaderboards").mkdir()
    (root / "leaderboards" / "board.md").write_text("old\n")
    (root / "README.md").write_text("old\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "start")
    return package


def test_versions_are_those_installed():
    found = provenance.current_provenance(plugins={"b": "2", "a": "1"}, argv=["run", "--limit", "5"], device_name="Toy")
    assert found.probebench == probebench.__version__
    assert found.packages["torch"] == metadata.version("torch")
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert list(found.plugins) == ["a", "b"]
    assert found.argv == ("run", "--limit", "5")
    assert found.device_name == "Toy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.created)


def test_an_absent_package_has_no_version():
    assert provenance.package_version("no-such-distribution") is None


def test_nothing_heavy_is_imported():
    script = (
        "import sys; from probebench.records.provenance import current_provenance;"
        "current_provenance(plugins={}, argv=[], device_name='');"
        "print([name for name in ('numpy', 'torch', 'diffusers', 'sklearn', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_clean_checkout(package):
    assert provenance.git_state(package) == provenance.Git(commit=git(package, "rev-parse", "HEAD"), dirty=False)


def test_the_working_directory_does_not_matter(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance.git_state(package) is not None


def test_changed_source_is_dirty(package):
    (package / "__init__.py").write_text("x = 2\n")
    assert provenance.git_state(package).dirty


def test_source_changed_outside_the_package_is_dirty(package):
    plugin = package.parents[1] / "plugin.py"
    plugin.write_text("x = 1\n")
    git(package.parents[1], "add", "plugin.py")
    assert provenance.git_state(package).dirty


def test_untracked_files_are_not_dirty(package):
    (package.parents[1] / "results.json").write_text("{}")
    assert not provenance.git_state(package).dirty


def test_changed_boards_are_not_dirty(package):
    root = package.parents[1]
    (root / "leaderboards" / "board.md").write_text("new\n")
    (root / "README.md").write_text("new\n")
    assert not provenance.git_state(package).dirty


def test_an_environment_inside_another_checkout_is_not_that_checkout(package):
    wheel = package.parents[1] / ".venv" / "lib" / "package"
    wheel.mkdir(parents=True)
    (wheel / "__init__.py").touch()
    assert provenance.git_state(wheel) is None


def test_a_wheel_has_no_commit(tmp_path):
    assert provenance.git_state(tmp_path) is None


def test_a_repository_without_commits_has_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").touch()
    git(tmp_path, "add", "a.py")
    assert provenance.git_state(tmp_path) is None


def test_git_may_be_missing(package, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_state(package) is None


def test_the_repository_of_a_git_hook_is_not_used(package, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    state = provenance.git_state(package)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_WORK_TREE")
    assert state == provenance.Git(commit=git(package, "rev-parse", "HEAD"), dirty=False)
