"""What the benchmarks share: whether numbers are wanted, and two ways of doing the same timed in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def measured(request) -> bool:
    """Whether numbers are wanted; else each benchmark is a quick test of itself."""
    option = request.config.getoption
    return option("benchmark_enable") or not option("benchmark_disable")


@pytest.fixture
def tell(request) -> Callable[[str], None]:
    """Puts a line below the tables of the run."""
    lines = request.config.stash.setdefault(LINES, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter, config) -> None:
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(line)


@pytest.fixture
def in_turns(benchmark, measured) -> Callable[..., dict[str, float]]:
    """Times the first way as the benchmark, and before each of its rounds every other way once.

    So whatever else the machine does meets all of them alike. The result has the least time of each by its name.
    """

    def run(rounds: int = 3, **ways: Callable[[], object]) -> dict[str, float]:
        (name, ours), *others = ways.items()
        clock = benchmark._timer
        seconds: dict[str, list[float]] = {name: [] for name in ways}

        def once(name: str, way: Callable[[], object]) -> None:
            started = clock()
            way()
            seconds[name].append(clock() - started)

        def before() -> None:
            for other in others:
                once(*other)

        # The first round is not counted: it meets cold caches, and memory that the system has yet to hand out.
        warmup = {"warmup_rounds": 1} if measured else {}
        benchmark.pedantic(once, (name, ours), setup=before, rounds=rounds if measured else 1, **warmup)
        return {name: min(found[1:] or found) for name, found in seconds.items()}

    return run
