"""Fixtures of the benchmarks: whether to measure, lines below the tables, and timing of alternatives in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def measured(request) -> bool:
    """Whether to measure; otherwise each benchmark is a quick test of itself."""
    option = request.config.getoption
    return option("benchmark_enable") or not option("benchmark_disable")


@pytest.fixture
def report_line(request) -> Callable[[str], None]:
    """Returns a function that prints a line below the tables of the run."""
    lines = request.config.stash.setdefault(LINES, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter, config) -> None:
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(line)


@pytest.fixture
def in_turns(benchmark, measured) -> Callable[..., dict[str, float]]:
    """Returns a function that times alternatives in turns, so that other work of the machine affects all of them alike.

    The first alternative is the benchmark; before each of its rounds every other one is timed once. The function
    returns the shortest time of each, by name.
    """

    def run(rounds: int = 3, **alternatives: Callable[[], object]) -> dict[str, float]:
        (name, ours), *others = alternatives.items()
        clock = benchmark._timer
        seconds: dict[str, list[float]] = {name: [] for name in alternatives}

        def once(name: str, alternative: Callable[[], object]) -> None:
            started = clock()
            alternative()
            seconds[name].append(clock() - started)

        def before() -> None:
            for other in others:
                once(*other)

        # The first round is not counted: caches are cold, and memory is not allocated yet.
        warmup = {"warmup_rounds": 1} if measured else {}
        benchmark.pedantic(once, (name, ours), setup=before, rounds=rounds if measured else 1, **warmup)
        return {name: min(times[1:] or times) for name, times in seconds.items()}

    return run
