"""`placement.maxCostUsd`: kept when a job is placed, while it runs, and when it would run again."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Conflict
from orchestrator.domain.ids import AttemptId
from orchestrator.domain.spec import Placement
from orchestrator.domain.state import AttemptState, JobState, Reason
from orchestrator.domain.views import Misfit
from orchestrator.scheduler import reconciler
from orchestrator.store import explain, jobs
from tests.integration.store.plane import Plane, command


@pytest.fixture
def worker(plane: Plane) -> int:
    """A worker of a pool whose slots cost $2 an hour."""
    return plane.worker(plane.pool("priced", usd_per_hour=2))


def _began(plane: Plane, attempt: AttemptId, minutes: int) -> None:
    statement = "UPDATE attempts SET started_at = started_at - :minutes * interval '1 minute' WHERE job_id = :id"
    plane.sql(statement, minutes=minutes, id=attempt.job_id)


def test_a_job_that_has_cost_all_that_it_may_is_stopped_and_says_so(plane: Plane, worker: int) -> None:
    attempt = plane.running(worker, command(max_cost_usd=3))
    other = plane.running(worker)
    _began(plane, attempt, 89)
    assert reconciler.stop_dear(plane.database) == 0
    _began(plane, attempt, 2)
    assert reconciler.stop_dear(plane.database) == 1
    assert reconciler.stop_dear(plane.database) == 0  # it has been told
    told = plane.heartbeat(worker, attempt, other)
    assert (told.cancel, told.dear) == ((str(attempt),), (str(attempt),))
    job = plane.job(attempt.job_id)
    assert (job.state, job.reason) == ("RUNNING", "cost_exceeded")
    plane.report(worker, attempt, Reason.CANCELLED_BY_USER)
    job = plane.job(attempt.job_id)
    assert (job.state, job.reason) == ("FAILED", "cost_exceeded")
    assert "have cost $3.03, and it may cost $3.00" in job.message
    assert plane.attempt(attempt).state == AttemptState.FAILED
    with plane.database.transaction() as connection:
        assert "maxCostUsd" in (explain.why(connection, attempt.job_id).hint or "")
        with pytest.raises(Conflict, match="would be stopped at once"):
            jobs.retry(connection, attempt.job_id, "ada")


def test_what_several_attempts_cost_counts_together(plane: Plane, worker: int) -> None:
    attempt = plane.running(worker, command(max_cost_usd=3))
    _began(plane, attempt, 60)
    plane.report(worker, attempt, Reason.PREEMPTED)
    assert plane.state(attempt.job_id) is JobState.QUEUED
    plane.dispatch()
    plane.claim(worker)
    again = AttemptId(attempt.job_id, 2)
    plane.sql("UPDATE attempts SET started_at = started_at - interval '31 minutes' WHERE epoch = 2")
    plane.expire(again)  # its worker dies before it can be told
    reconciler.expire(plane.database)
    job = plane.job(attempt.job_id)
    assert (job.state, job.reason) == ("FAILED", "cost_exceeded")


def test_pools_that_are_spot_or_too_dear_are_left_out_for_that_reason(plane: Plane) -> None:
    plane.worker(plane.pool("dear", cloud="aws", usd_per_hour=4))
    plane.worker(plane.pool("spot", cloud="aws", spot=True))
    (job,) = plane.submit(command(placement=Placement(clouds=["aws"], max_cost_usd=3)))
    plane.dispatch()
    assert plane.state(job) is JobState.QUEUED
    with plane.database.transaction() as connection:
        why = explain.why(connection, job)
    assert {one.pool: one.misfit for one in why.considered} == {
        "dear": Misfit.PRICE,
        "spot": Misfit.SPOT,
        "local": Misfit.CLOUD,
    }
    assert "maxCostUsd" in (why.hint or "")
