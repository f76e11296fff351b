"""Results of checks of plugin code, and side effects of the kit."""

from __future__ import annotations

import random
import socket

import numpy as np
import pytest
import torch

from probebench.testing import CONTRACTS, ConformanceError, Subject, checks_for, run_check, run_checks
from probebench.testing.checks.contract import Check
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyFinetuning, ToyMeasure, ToyProbe
from probebench.testing.side_effects import no_network, require_no_global_random_state

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
    not_applicable = {"neighbours_can_vote_again"}  # the toy probe returns no neighbours
    assert {result.check for result in results if result.status != "passed"} <= not_applicable
    assert {result.status for result in results} <= {"passed", "skipped"}
    assert all(result.kind == kind and result.seconds > 0 for result in results)


@pytest.mark.parametrize("kind", CONTRACTS)
def test_every_check_states_a_requirement(kind):
    for check in checks_for(kind):
        assert check.requirement.endswith("."), check.name
        assert len(check.requirement) < 130, check.name
    names = [check.name for check in checks_for(kind)]
    assert len(names) == len(set(names))


def test_an_exception_of_the_component_is_a_failure_with_its_place():
    def crash(build):
        raise ZeroDivisionError("nothing\nleft")

    result = run_check(Subject("probe", "mine", ToyProbe), Check("probe", "crash", "A requirement.", crash))
    assert result.status == "failed"
    assert result.message.startswith("raised ZeroDivisionError: nothing left (at ")
    assert "test_runner.py" in result.message


def test_a_factory_of_another_class_is_an_error():
    with pytest.raises(ConformanceError, match=r"ToyProbe returns a ToyProbe, not a backbone.*api\.Backbone"):
        run_checks(("backbone", ToyProbe))


def test_a_component_that_cannot_be_built_raises_its_own_error():
    def broken():
        raise OSError("no weights here")

    with pytest.raises(OSError, match="no weights here"):
        run_checks(("backbone", broken))


def test_the_check_of_the_random_state_does_not_change_it():
    def random_numbers():
        return torch.rand(1), np.random.rand(), random.random()

    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = random_numbers()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    with pytest.raises(ConformanceError, match="global random state of torch has changed"):
        require_no_global_random_state(random_numbers, lambda *_: True)
    assert random_numbers() == expected


def test_the_network_is_blocked_and_restored():
    before = socket.socket.connect, socket.create_connection, socket.getaddrinfo
    with no_network() as attempts:
        with pytest.raises(OSError, match="blocked"):
            socket.create_connection(("localhost", 9))
        with socket.socket() as plain, pytest.raises(OSError, match="blocked"):
            plain.connect(("127.0.0.1", 9))
    assert len(attempts) == 2
    assert before == (socket.socket.connect, socket.create_connection, socket.getaddrinfo)
