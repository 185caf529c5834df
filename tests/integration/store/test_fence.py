"""The fence: an attempt that has lost its lease has no effect, whatever it tries and however late it comes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.ids import AttemptId, decode_attempt
from orchestrator.domain.protocol import Report
from orchestrator.domain.state import AttemptState, JobState, Reason
from orchestrator.store import attempts, checkpoints, fence, jobs, queue, tokens
from orchestrator.store.fence import Holder
from tests.integration.store.plane import Plane, command, upload

Situation = Callable[[Plane, int], AttemptId]


def _expired(plane: Plane, worker: int) -> AttemptId:
    attempt = plane.running(worker)
    plane.expire(attempt)
    return attempt


def _ended(plane: Plane, worker: int) -> AttemptId:
    attempt = plane.running(worker)
    plane.report(worker, attempt)
    return attempt


def _requeued(plane: Plane, worker: int) -> AttemptId:
    attempt = _expired(plane, worker)
    with plane.database.transaction() as connection:
        assert len(queue.expire_leases(connection, "reconciler")) == 1
    return attempt


def _succeeded_by_another(plane: Plane, worker: int) -> AttemptId:
    """The job runs in a later epoch on another worker."""
    attempt = _requeued(plane, worker)
    plane.sql("UPDATE jobs SET not_before = NULL")
    plane.dispatch()
    (lease,) = plane.claim(plane.worker())
    assert lease.attempt == str(AttemptId(attempt.job_id, 2))
    return attempt


def _never_was(plane: Plane, worker: int) -> AttemptId:
    attempt = plane.running(worker)
    return AttemptId(attempt.job_id, 2)


SITUATIONS = [_expired, _ended, _requeued, _succeeded_by_another, _never_was]
situations = pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.__name__.strip("_"))


@situations
def test_a_zombie_appends_nothing(plane: Plane, situation: Situation) -> None:
    attempt = situation(plane, plane.worker())
    before = plane.everything()
    assert plane.append(attempt, "hello", points=[("loss", 1, 0.5)], progress=0.5, message="half") == [attempt]
    assert plane.everything() == before


@situations
def test_a_zombie_publishes_no_checkpoint(plane: Plane, situation: Situation) -> None:
    attempt = situation(plane, plane.worker())
    before = plane.everything()
    with plane.database.transaction() as connection:
        held = fence.hold(connection, Holder(), [attempt])
    assert held == set()
    with pytest.raises(LeaseLost):
        fence.require(held, attempt)
    assert plane.everything() == before


@situations
def test_a_zombies_report_changes_nothing(plane: Plane, situation: Situation) -> None:
    worker = plane.worker()
    attempt = situation(plane, worker)
    before = plane.everything()
    for reason in (Reason.SUCCEEDED, Reason.USER_ERROR, Reason.PREEMPTED, Reason.CLAIM_LOST):
        assert plane.report(worker, attempt, reason, upload(attempt, plane.workspace)).lost == (str(attempt),)
        assert plane.everything() == before


@situations
def test_a_zombies_heartbeat_revives_nothing_and_tells_it_to_stop(plane: Plane, situation: Situation) -> None:
    worker = plane.worker()
    attempt = situation(plane, worker)
    before = plane.everything()
    assert plane.heartbeat(worker, attempt).lost == (str(attempt),)
    assert plane.everything() == before


def test_a_zombies_token_opens_nothing(plane: Plane) -> None:
    worker = plane.worker()
    plane.submit()
    plane.dispatch()
    (lease,) = plane.claim(worker)
    with plane.database.transaction() as connection:
        principal = tokens.authenticate(connection, lease.token)
    assert principal is not None
    assert str(principal.attempt) == lease.attempt
    plane.expire(decode_attempt(lease.attempt))
    with plane.database.transaction() as connection:
        assert tokens.authenticate(connection, lease.token) is None


def test_another_workers_attempt_is_out_of_reach(plane: Plane) -> None:
    owner, other = plane.worker(), plane.worker()
    attempt = plane.running(owner)
    before = plane.everything()
    assert plane.report(other, attempt).lost == (str(attempt),)
    assert plane.heartbeat(other, attempt).lost == (str(attempt),)
    assert plane.append(attempt, "mine", holder=Holder(other)) == [attempt]
    assert plane.everything() == before


def test_an_attempts_token_reaches_no_other_attempt(plane: Plane) -> None:
    worker = plane.worker()
    mine, other = plane.running(worker), plane.running(worker)
    before = plane.everything()
    assert plane.append(other, "not mine", holder=Holder(worker, mine)) == [other]
    assert plane.everything() == before
    assert plane.append(mine, "mine", holder=Holder(worker, mine)) == []


def test_a_live_attempt_has_every_effect(plane: Plane) -> None:
    """The tests above would all pass if nothing ever had an effect."""
    worker = plane.worker()
    attempt = plane.running(worker, command(outputs={"model": "digits"}))
    assert plane.heartbeat(worker, attempt).lost == ()
    assert plane.append(attempt, "hello", points=[("loss", 1, 0.5)], progress=0.5, message="half") == []
    with plane.database.transaction() as connection:
        fence.require(fence.hold(connection, Holder(worker), [attempt]), attempt)
        checkpoints.commit(connection, attempt, 1, upload(attempt, plane.workspace, "checkpoint-1"))
    assert plane.report(worker, attempt, Reason.SUCCEEDED, upload(attempt, plane.workspace)).lost == ()
    assert plane.state(attempt.job_id) is JobState.SUCCEEDED
    counts = [plane.sql(f"SELECT count(*) AS n FROM {table}")[0].n for table in ("log_chunks", "metrics", "artifacts")]
    assert counts == [1, 1, 2]


def test_a_heartbeat_renews_only_what_it_names_and_lists_what_it_forgot(plane: Plane) -> None:
    worker = plane.worker()
    named, forgotten = plane.running(worker), plane.running(worker)
    before = {attempt: plane.attempt(attempt).lease_expires_at for attempt in (named, forgotten)}
    reply = plane.heartbeat(worker, named)
    assert (reply.lost, reply.orphans) == ((), (str(forgotten),))
    assert plane.attempt(named).lease_expires_at > before[named]
    assert plane.attempt(forgotten).lease_expires_at == before[forgotten]


def test_a_heartbeat_tells_what_to_cancel(plane: Plane) -> None:
    worker = plane.worker()
    attempt, other = plane.running(worker), plane.running(worker)
    with plane.database.transaction() as connection:
        jobs.cancel(connection, attempt.job_id, "ada")
    assert plane.heartbeat(worker, attempt, other).cancel == (str(attempt),)


def test_a_cancelled_job_stays_cancelled_although_its_attempt_reports_success(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)
    with plane.database.transaction() as connection:
        jobs.cancel(connection, attempt.job_id, "ada")
    assert plane.report(worker, attempt, Reason.SUCCEEDED, upload(attempt, plane.workspace)).lost == ()
    assert plane.state(attempt.job_id) is JobState.CANCELLED
    assert plane.attempt(attempt).state == AttemptState.CANCELLED
    assert plane.sql("SELECT FROM artifacts") == []


def test_a_claim_raises_the_epoch_by_one_each_time(plane: Plane) -> None:
    worker = plane.worker()
    (job_id,) = plane.submit(command(retry={"max": 5}))
    for epoch in (1, 2, 3):
        plane.sql("UPDATE jobs SET not_before = NULL")
        plane.dispatch()
        assert plane.job(job_id).epoch == epoch - 1
        (lease,) = plane.claim(worker)
        assert lease.attempt == str(AttemptId(job_id, epoch))
        plane.report(worker, AttemptId(job_id, epoch), Reason.USER_ERROR)


def test_a_claim_takes_no_more_than_asked_and_the_oldest_first(plane: Plane) -> None:
    worker = plane.worker(slots=4)
    ids = plane.submit(*(command() for _ in range(5)))
    plane.dispatch()
    assert [lease.attempt for lease in plane.claim(worker, 2)] == [str(AttemptId(job_id, 1)) for job_id in ids[:2]]
    assert [lease.attempt for lease in plane.claim(worker, 9)] == [str(AttemptId(job_id, 1)) for job_id in ids[2:]]
    assert plane.claim(worker, 9) == ()


def test_a_claim_takes_nothing_from_another_pool(plane: Plane) -> None:
    plane.worker()
    stranger = plane.worker(plane.pool("other"))
    plane.submit(command(placement={"pool": "local"}))
    plane.dispatch()
    assert plane.claim(stranger, 5) == ()


def test_a_lease_carries_the_last_checkpoint_to_resume_from(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)
    with plane.database.transaction() as connection:
        for step in (1, 2):
            checkpoints.commit(connection, attempt, step, upload(attempt, plane.workspace, f"c{step}"))
    plane.report(worker, attempt, Reason.PREEMPTED)
    plane.dispatch()
    (lease,) = plane.claim(worker)
    assert lease.resume is not None
    assert (lease.resume.step, lease.resume.prefix) == (2, f"artifacts/{plane.workspace}/{attempt}/c2")
    assert plane.attempt(AttemptId(attempt.job_id, 2)).resumed_from_step == 2


def test_an_attempt_reported_twice_in_one_call_ends_once(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker, command(outputs={"model": "digits"}))
    output = upload(attempt, plane.workspace)
    one = Report(attempt=str(attempt), reason=Reason.SUCCEEDED, output=output)
    other = Report(attempt=str(attempt), reason=Reason.USER_ERROR)
    with plane.database.transaction() as connection:
        attempts.report(connection, Holder(worker), [(attempt, one), (attempt, one), (attempt, other)])
    assert plane.state(attempt.job_id) is JobState.SUCCEEDED
    assert len(plane.sql("SELECT FROM artifacts")) == 1


def test_a_worker_that_claims_to_have_been_cancelled_although_nobody_asked_does_not_end_the_job(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)
    assert plane.report(worker, attempt, Reason.CANCELLED_BY_USER).lost == ()
    assert plane.state(attempt.job_id) is JobState.QUEUED
    assert plane.attempt(attempt).state == AttemptState.CANCELLED
