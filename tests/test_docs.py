"""Checks the documentation: links resolve, code runs, commands and options exist, tables are complete.

A code block with a path after the language, as in ``python src/x/__init__.py``, is a file for the blocks after it, and
a `pyproject.toml` makes the files an installed plugin. ``text`` blocks are output or forms, and are not run.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer
from pydantic import BaseModel

from probebench.cli import app
from probebench.cli.app import INTERRUPTED
from probebench.planning.series import validate
from probebench.plugins.discovery import discover
from probebench.plugins.registry import KINDS, installed, resolve
from probebench.records.schema import Record
from probebench.util.errors import ProbebenchError

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "plugins/*/README.md", "examples/*/README.md")
    for path in ROOT.glob(pattern)
)
BOARDS = sorted((ROOT / "leaderboards").rglob("*.md"))
EXAMPLE = ROOT / "examples" / "probebench-example"

FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
OTHER_PROGRAMS = {"accelerate", "bash", "cd", "git", "pip", "python", "pytest", "ruff", "mypy", "lint-imports", "uv"}
RUN_AS_WRITTEN = {"list", "show", "schema", "plugins list", "plugins doctor", "store ls", "store verify"}

COMMANDS: dict[str, typer.core.TyperCommand] = {}


def _collect(command, name=""):
    for word, part in getattr(command, "commands", {}).items():
        _collect(part, f"{name} {word}".strip())
    if not hasattr(command, "commands"):
        COMMANDS[name] = command


_collect(typer.main.get_command(app))


@dataclass(frozen=True)
class Block:
    """A fenced code block: language, file name or empty, text, and its first line in the document."""

    language: str
    file: str
    text: str
    line: int


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, info, code = match.groups()
        language, _, file = info.strip().partition(" ")
        code = "\n".join(line.removeprefix(indent) for line in code.splitlines()) + "\n"
        found.append(Block(language, file, code, text[: match.start()].count("\n") + 2))
    return found


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(block: Block) -> list[str]:
    """Returns the commands of a shell block; of a console block, the lines after a prompt."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [part for line in lines for part in re.split(r" (?:&&|\|) ", line)]


def split_command(words: list[str]) -> tuple[str, list[str]]:
    """Returns the name of a probebench command with its subcommand, and the words after it."""
    for length in (2, 1):
        if " ".join(words[:length]) in COMMANDS:
            return " ".join(words[:length]), words[length:]
    raise AssertionError(f"there is no command {' '.join(['probebench', *words])!r}")


def options_of(name: str) -> set[str]:
    named = {text for parameter in COMMANDS[name].params for text in (*parameter.opts, *parameter.secondary_opts)}
    return {text for text in named if text.startswith("--")} - {"--help"}


@pytest.mark.parametrize("path", [*DOCUMENTS, *BOARDS], ids=name_of)
def test_links_resolve(path):
    for target in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / unquote(file)).resolve() if file else path
        assert linked.exists(), f"{name_of(path)} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{name_of(path)}: no heading for {target}"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Returns an empty working directory, and clears the caches of plugins at the end."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith((str(tmp_path), str(EXAMPLE))):
            del sys.modules[name]
    clear_caches()


def clear_caches():
    importlib.invalidate_caches()
    discover.cache_clear()
    installed.cache_clear()


def install(project: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the package in a folder importable, with its entry points, as an editable install does."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    info = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in about["entry-points"]["probebench"].items())
    (info / "entry_points.txt").write_text(f"[probebench]\n{points}")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(project / "src"))
    clear_caches()


def write_files(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(path):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)
    if (folder / "pyproject.toml").exists():
        install(folder, folder / "site", monkeypatch)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_code_runs(path, workplace, monkeypatch, cli):
    if path.is_relative_to(EXAMPLE):
        install(EXAMPLE, workplace / "site", monkeypatch)
    write_files(path, workplace, monkeypatch)
    names: dict[str, object] = {"__name__": "documentation"}
    for block in blocks(path):
        where = f"{name_of(path)}:{block.line}"
        if block.language == "python" and not block.file:
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), names)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language in ("bash", "sh", "console"):
            for line in commands(block):
                check_command(line, where, cli)
        else:
            assert block.language in ("text", "python"), f"{where}: {block.language!r} is not a language of code blocks"


def check_command(line: str, where: str, cli) -> None:
    """Checks that a command and the components in it exist, and runs it if that is fast."""
    words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    if words[:2] == ["uv", "run"]:
        words = words[2:]
    if words[:3] == ["python", "-m", "probebench"]:
        words = words[2:]
    if words[0] != "probebench":
        assert words[0] in OTHER_PROGRAMS, f"{where}: {words[0]!r} is not a known program"
        return
    if words[1:] in (["--help"], ["--version"]):
        return
    name, rest = split_command(words[1:])
    context = COMMANDS[name].make_context(name, list(rest))  # raises the errors of the command
    specs = {kind: context.params.get(kind) or [] for kind in KINDS}
    for kind, texts in specs.items():
        for text in [texts] if isinstance(texts, str) else texts:
            if kind == "backbone":
                validate(text)  # a series, whose folder need not exist
            else:
                resolve(kind, text)
    if name in RUN_AS_WRITTEN or "--list" in rest:
        answer = cli(*words[1:])
        assert answer.code == 0, f"{where}: {line}\n{answer.err}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_in_the_text_exist(path):
    known = set().union(*map(options_of, COMMANDS)) | {"--help", "--version", "--debug"}
    for span in SPAN.findall(prose(path)):
        words = span.split()
        if words[0] == "probebench" and len(words) > 1 and not words[1].startswith(("-", "COMMAND")):
            groups = {name.split()[0] for name in COMMANDS if " " in name}
            if words[1] in groups and len(words) == 2:
                continue
            name, rest = split_command(words[1:])
            options = {word for word in rest if word.startswith("--")}
            assert options <= options_of(name) | known - set().union(*map(options_of, COMMANDS)), f"{span}: {options}"
        elif span.startswith("--") and path.name != "CONTRIBUTING.md":
            assert words[0] in known, f"{name_of(path)}: there is no option {words[0]}"


def table(path: Path, heading: str) -> list[list[str]]:
    """Returns the cells of the first table below a heading, without its two header lines."""
    part = prose(path).partition(f"\n{heading}\n")[2]
    part = re.split(r"^#+ ", part, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def first_column(path: Path, heading: str) -> list[str]:
    return [name for row in table(path, heading) for name in SPAN.findall(row[0])]


def test_every_command_has_its_section():
    headings = re.findall(r"^## probebench (.+)$", prose(ROOT / "docs/cli.md"), re.MULTILINE)
    assert sorted(headings) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    assert set(first_column(ROOT / "docs/cli.md", f"## probebench {name}")) == options_of(name)


def test_every_exit_code_is_explained():
    rows = table(ROOT / "docs/cli.md", "## Exit codes")
    explained = {int(code): set(SPAN.findall(errors)) for code, _, errors in rows}
    classes = {ProbebenchError}
    while (
        more := {
            part for one in classes for part in one.__subclasses__() if part.__module__ == "probebench.util.errors"
        }
        - classes
    ):
        classes |= more
    expected: dict[int, set[str]] = {0: set(), INTERRUPTED: set()}
    for one in classes:
        expected.setdefault(one.exit_code, set()).add(one.__name__)
    assert explained == expected


def models(model: type[BaseModel], path: str = "") -> dict[str, type[BaseModel]]:
    """Returns the models inside a record, by their path."""
    found = {path: model}
    for name, field in model.model_fields.items():
        inner = [part for part in parts_of(field.annotation) if issubclass(part, BaseModel)]
        if inner and name != "git":  # commit and dirty are explained with it
            found |= models(inner[0], f"{path}.{name}".strip("."))
    return found


def parts_of(annotation) -> list[type]:
    arguments = getattr(annotation, "__args__", ())
    if arguments:
        return [part for argument in arguments for part in parts_of(argument)]
    return [annotation] if isinstance(annotation, type) else []


@pytest.mark.parametrize(
    ("path", "model"), models(Record).items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_field_of_a_record_is_explained(path, model):
    heading = f"### `{path}`" if path else "### The record"
    assert sorted(first_column(ROOT / "docs/records.md", heading)) == sorted(model.model_fields)


def test_the_failures_of_others_are_tests():
    rows = re.findall(r"^\| (N\d+) \| .+ \| (.+) \|$", (ROOT / "docs" / "failures.md").read_text(), flags=re.MULTILINE)
    assert [number for number, _ in rows] == [f"N{number}" for number in range(1, 21)]
    for number, tests in rows:
        for path, name in re.findall(r"`(\S+)::(\w+)`", tests):
            assert f"def {name}(" in (ROOT / path).read_text(), f"{number}: {path} has no {name}"


def test_the_plugin_of_the_tutorial_passes_its_tests(forks, workplace, monkeypatch):
    write_files(ROOT / "docs/plugins.md", workplace, monkeypatch)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(workplace / "src"), str(workplace / "site")])}
    pytest_alone = "import pytest; raise SystemExit(pytest.console_main())"
    done = forks.python(pytest_alone, "-q", "-p", "no:cacheprovider", "tests", environment=environment)
    assert done.wait() == 0, done.stdout + done.stderr
    assert re.search(r"\d\d passed", done.stdout)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_the_script_of_continuous_integration_has_no_syntax_error():
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)
