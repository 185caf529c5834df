"""A signal from nowhere is believed to be the machine's doing twice; a job that goes on to end so does it to itself."""

from __future__ import annotations

from orchestrator.domain.ids import AttemptId, decode_attempt
from orchestrator.domain.retry import KILLS_BELIEVED, PEOPLES
from orchestrator.domain.spec import Cloud, Placement
from orchestrator.domain.state import JobState, Reason
from orchestrator.store import jobs
from tests.integration.store.clouds import checkpoint
from tests.integration.store.plane import Plane, command


def _end(plane: Plane, worker: int, job_id: int, *reasons: Reason) -> JobState:
    """Let one attempt after the other end, each as soon as it may be tried again."""
    for reason in reasons:
        plane.sql("UPDATE jobs SET not_before = NULL WHERE id = :id", id=job_id)
        plane.dispatch()
        (lease,) = plane.claim(worker)
        plane.report(worker, AttemptId(job_id, plane.job(job_id).epoch), reason)
        assert lease.attempt
    return plane.state(job_id)


def test_a_job_that_kills_itself_uses_its_own_retries(plane: Plane) -> None:
    worker = plane.worker()
    (job_id,) = plane.submit()
    assert _end(plane, worker, job_id, *[Reason.KILLED] * KILLS_BELIEVED) is JobState.QUEUED
    assert _end(plane, worker, job_id, Reason.KILLED) is JobState.FAILED
    assert (plane.job(job_id).reason, plane.job(job_id).user_failures) == ("killed", 1)
    assert "to itself" in plane.job(job_id).message
    with plane.database.transaction() as connection:
        jobs.retry(connection, job_id, "ada")
    assert _end(plane, worker, job_id, Reason.KILLED) is JobState.QUEUED  # a person asked: all budgets begin again


def test_other_faults_of_the_machine_do_not_count_as_kills(plane: Plane) -> None:
    worker = plane.worker()
    (job_id,) = plane.submit()
    faults = [Reason.INFRA_ERROR, Reason.STAGING_FAILED, Reason.UPLOAD_FAILED, Reason.KILLED, Reason.KILLED]
    assert _end(plane, worker, job_id, *faults) is JobState.QUEUED
    assert plane.job(job_id).infra_failures == len(faults)


def test_a_job_that_commits_checkpoints_outlives_any_number_of_its_workers(
    plane: Plane, workers: dict[str, int]
) -> None:
    def lose(step: int | None) -> JobState:
        """One attempt that commits a checkpoint, if it gets so far, and loses its worker."""
        plane.sql("UPDATE jobs SET not_before = NULL WHERE id = :id", id=job_id)
        plane.dispatch()
        (lease,) = plane.claim(workers["aws"])
        attempt = decode_attempt(lease.attempt)
        if step is not None:
            checkpoint(plane, attempt, step)
        plane.report(workers["aws"], attempt, Reason.LEASE_LOST)
        return plane.state(job_id)

    (job_id,) = plane.submit(command(placement=Placement(clouds=(Cloud.AWS,))))
    for step in range(2 * PEOPLES.deaths):
        assert lose(step) is JobState.QUEUED
    for _ in range(PEOPLES.deaths - 2):  # the last one that got on has left one death behind
        assert lose(None) is JobState.QUEUED
    assert lose(None) is JobState.FAILED
    assert plane.job(job_id).reason == "quarantined"
