"""A short storm of random faults passes its oracle; the same storm without the fence is caught. `make storm` runs long
ones."""

from __future__ import annotations

import pytest

from tests.conftest import NewStackFolder
from tests.storm import oracle
from tests.storm.plan import Kind, plan
from tests.storm.storm import run

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SEED = 7
SECONDS = 12.0


def test_one_seed_is_one_plan_with_every_kind_of_fault() -> None:
    assert plan(SEED, 60) == plan(SEED, 60)
    assert plan(SEED, 60) != plan(SEED + 1, 60)
    assert {fault.kind for fault in plan(SEED, 60)} == set(Kind)


def test_a_storm_loses_nothing_and_doubles_nothing(new_stack_folder: NewStackFolder) -> None:
    outcome = run(SEED, SECONDS, new_stack_folder("storm"))
    assert outcome.violations == []
    # So much of a storm it is on the slowest machine.
    assert outcome.done.total() >= 5
    assert outcome.said["append"] >= 5
    assert len(outcome.submissions) >= 20
    assert any(one.requests for one in outcome.submissions)


def test_the_oracle_sees_what_the_fence_prevents(new_stack_folder: NewStackFolder) -> None:
    outcome = run(SEED, SECONDS, new_stack_folder("storm-unfenced"), fenced=False)
    broken = {violation.rule for violation in outcome.violations}
    assert {"only the current epoch has effects", oracle.GHOST} <= broken
    assert any("had an effect" in violation.detail for violation in outcome.violations)
