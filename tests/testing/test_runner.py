"""What a check makes of foreign code, and what the kit leaves behind."""

from __future__ import annotations

import random
import socket

import numpy as np
import pytest
import torch

from probebench.testing import CONTRACTS, ConformanceError, Subject, checks_for, run_check, run_checks
from probebench.testing.checks.contract import Check
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyFinetuning, ToyMeasure, ToyProbe
from probebench.testing.side_effects import no_network, without_random_state

TOYS = {
    "backbone": ToyBackbone,
    "dataset": ToyDataset,
    "probe": ToyProbe,
    "sample-probe": ToyMeasure,
    "finetuning-probe": ToyFinetuning,
}


@pytest.mark.parametrize("kind", CONTRACTS)
def test_every_check_is_run_once_and_in_order(kind):
    results = run_checks((kind, TOYS[kind]))
    assert [result.check for result in results] == [check.name for check in checks_for(kind)]
    nothing_to_see = {"neighbours_can_vote_again"}  # toys find none
    assert {result.check for result in results if result.status != "passed"} <= nothing_to_see
    assert {result.status for result in results} <= {"passed", "skipped"}
    assert all(result.kind == kind and result.seconds > 0 for result in results)


@pytest.mark.parametrize("kind", CONTRACTS)
def test_every_check_states_a_law(kind):
    for check in checks_for(kind):
        assert check.law.endswith("."), check.name
        assert len(check.law) < 130, check.name
    names = [check.name for check in checks_for(kind)]
    assert len(names) == len(set(names))


def test_an_exception_of_the_component_is_a_failure_that_says_where():
    def crash(build):
        raise ZeroDivisionError("nothing\nleft")

    result = run_check(Subject("probe", "mine", ToyProbe), Check("probe", "crash", "A law.", crash))
    assert result.status == "failed"
    assert result.message.startswith("raised ZeroDivisionError: nothing left (at ")
    assert "test_runner.py" in result.message


def test_a_factory_that_gives_something_else_is_named():
    with pytest.raises(ConformanceError, match=r"ToyProbe gives a ToyProbe, not a backbone.*api\.Backbone"):
        run_checks(("backbone", ToyProbe))


def test_a_component_that_cannot_be_built_raises_its_own_error():
    def broken():
        raise OSError("no weights here")

    with pytest.raises(OSError, match="no weights here"):
        run_checks(("backbone", broken))


def test_watching_the_random_state_leaves_it_alone():
    def draws():
        return torch.rand(1), np.random.rand(), random.random()

    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = draws()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    with pytest.raises(ConformanceError, match="global random state of torch has changed"):
        without_random_state(draws, lambda *_: True)
    assert draws() == expected


def test_the_network_is_blocked_and_comes_back():
    before = socket.socket.connect, socket.create_connection, socket.getaddrinfo
    with no_network() as attempts:
        with pytest.raises(OSError, match="blocked"):
            socket.create_connection(("localhost", 9))
        with socket.socket() as plain, pytest.raises(OSError, match="blocked"):
            plain.connect(("127.0.0.1", 9))
    assert len(attempts) == 2
    assert before == (socket.socket.connect, socket.create_connection, socket.getaddrinfo)
