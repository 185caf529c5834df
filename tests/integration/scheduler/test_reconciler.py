"""The reconciler: what was lost is found again, once, and at the right price."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.domain.ids import AttemptId, encode
from orchestrator.domain.retry import PEOPLES
from orchestrator.domain.spec import Placement
from orchestrator.domain.state import AttemptState, JobState, Reason
from orchestrator.scheduler import reconciler
from orchestrator.scheduler.dispatcher import Ring
from orchestrator.store import jobs, pools, queue
from tests.integration.store.plane import Plane, command


def _age_dispatched(plane: Plane, seconds: int) -> None:
    plane.sql("UPDATE jobs SET dispatched_at = dispatched_at - :s * interval '1 second'", s=seconds)


def test_a_lease_that_ran_out_brings_the_job_back_later_and_counts_a_death(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    plane.expire(attempt)
    assert reconciler.expire(plane.database) == 1
    job = plane.job(attempt.job_id)
    assert (job.state, job.reason, job.epoch, job.pool_id) == ("QUEUED", "lease_lost", 1, None)
    assert (job.worker_deaths, job.infra_failures, job.user_failures) == (1, 1, 0)
    (row,) = plane.sql("SELECT extract(epoch FROM not_before - clock_timestamp()) AS wait FROM jobs")
    assert row.wait <= 0.5  # the first delay is half a second, less up to half of it
    assert plane.attempt(attempt).state == AttemptState.LOST
    assert reconciler.expire(plane.database) == 0


def test_a_live_lease_is_left_alone(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    plane.sql("UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 hour'")  # silent, but it holds its lease
    assert reconciler.expire(plane.database) == 0
    assert plane.state(attempt.job_id) is JobState.RUNNING


def test_a_job_that_loses_three_workers_is_quarantined_and_the_others_proceed(plane: Plane) -> None:
    worker = plane.worker(slots=2)
    (killer,) = plane.submit(command("killer"))
    for epoch in range(1, PEOPLES.deaths + 1):
        assert plane.state(killer) is JobState.QUEUED
        plane.sql("UPDATE jobs SET not_before = NULL")
        plane.dispatch()
        plane.claim(worker)
        plane.expire(AttemptId(killer, epoch))
        reconciler.expire(plane.database)
    job = plane.job(killer)
    assert (job.state, job.reason, job.worker_deaths) == ("FAILED", "quarantined", 3)
    assert "3 workers died" in job.message
    innocent = plane.running(worker)
    plane.report(worker, innocent)
    assert plane.state(innocent.job_id) is JobState.SUCCEEDED
    with plane.database.transaction() as connection:
        jobs.retry(connection, killer, "ada")
    assert (plane.job(killer).state, plane.job(killer).worker_deaths) == ("QUEUED", 0)


def test_a_job_that_was_being_cancelled_is_cancelled_when_its_lease_ends(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    with plane.database.transaction() as connection:
        jobs.cancel(connection, attempt.job_id, "ada")
    plane.expire(attempt)
    reconciler.expire(plane.database)
    assert plane.state(attempt.job_id) is JobState.CANCELLED
    assert plane.attempt(attempt).state == AttemptState.CANCELLED


def test_reconcilers_at_once_count_each_loss_once(plane: Plane) -> None:
    worker = plane.worker(slots=40)
    attempts = [plane.running(worker) for _ in range(20)]
    plane.expire(*attempts)
    start = threading.Barrier(6, timeout=120)

    def run() -> int:
        start.wait()
        return sum(reconciler.expire(plane.database) for _ in range(3))

    with ThreadPoolExecutor(6) as threads:
        found = [done.result(timeout=120) for done in [threads.submit(run) for _ in range(6)]]
    assert sum(found) == 20
    assert {row.worker_deaths for row in plane.sql("SELECT worker_deaths FROM jobs")} == {1}


def test_a_dispatched_job_that_nobody_claims_is_rung_for_again(plane: Plane) -> None:
    plane.worker(slots=2)
    plane.worker(slots=2)
    ids = plane.submit(command(), command(), command())
    plane.dispatch()
    assert reconciler.unheard(plane.database) == []  # too early
    _age_dispatched(plane, 3)
    assert reconciler.unheard(plane.database) == [Ring("local", tuple(encode("j", job) for job in ids), 2)]


def test_where_every_slot_is_busy_nothing_is_rung_for(plane: Plane) -> None:
    worker = plane.worker(slots=1)
    plane.submit(command(), command())
    plane.dispatch()
    plane.claim(worker)
    _age_dispatched(plane, 60)
    assert reconciler.unheard(plane.database) == []


@pytest.mark.parametrize(("silent", "waited", "taken"), [(60, 60, 1), (60, 5, 0), (0, 60, 0)])
def test_jobs_are_withdrawn_from_a_pool_that_has_long_had_no_worker(
    plane: Plane, silent: int, waited: int, taken: int
) -> None:
    plane.worker()
    (job,) = plane.submit()
    plane.dispatch()
    plane.sql("UPDATE workers SET heartbeat_at = heartbeat_at - :s * interval '1 second'", s=silent)
    _age_dispatched(plane, waited)
    assert reconciler.withdraw(plane.database) == taken
    row = plane.job(job)
    assert (row.state, row.reason) == (("QUEUED", "pool_gone") if taken else ("DISPATCHED", "placed"))


def test_jobs_are_withdrawn_from_a_pool_whose_workers_all_drain(plane: Plane) -> None:
    plane.worker()
    (job,) = plane.submit()
    plane.dispatch()
    plane.sql("UPDATE workers SET draining = true")
    _age_dispatched(plane, 60)
    assert reconciler.withdraw(plane.database) == 1
    assert (plane.job(job).state, plane.job(job).reason) == ("QUEUED", "pool_gone")


def test_a_withdrawn_job_finds_another_pool(plane: Plane) -> None:
    plane.worker()
    (job,) = plane.submit()
    plane.dispatch()
    plane.sql("UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 hour'")
    _age_dispatched(plane, 60)
    reconciler.withdraw(plane.database)
    worker = plane.worker(plane.pool("other"))
    plane.dispatch()
    (lease,) = plane.claim(worker)
    assert lease.attempt == str(AttemptId(job, 1))


def test_a_job_leaves_a_busy_pool_when_another_one_has_a_free_slot(plane: Plane) -> None:
    busy = plane.worker(slots=1)
    running, waiting, last = plane.submit(command(), command(), command())
    plane.dispatch()
    plane.claim(busy)
    plane.dispatch()
    other = plane.worker(plane.pool("other"), slots=1)
    assert reconciler.rebalance(plane.database) == 0  # too early: a short job is claimed by then
    _age_dispatched(plane, 3)
    assert reconciler.rebalance(plane.database) == 1
    assert (plane.job(waiting).state, plane.job(waiting).reason) == ("QUEUED", "rebalanced")
    assert plane.job(last).state == "DISPATCHED"
    plane.dispatch()
    (lease,) = plane.claim(other)
    assert lease.attempt == str(AttemptId(waiting, 1))
    assert plane.job(running).state == "RUNNING"


def test_nothing_leaves_a_busy_pool_for_one_that_does_not_fit(plane: Plane) -> None:
    busy = plane.worker(slots=1)
    plane.submit(*[command(placement=Placement(pool="local"))] * 2)
    plane.dispatch()
    plane.claim(busy)
    plane.worker(plane.pool("other"), slots=1)
    _age_dispatched(plane, 3)
    assert reconciler.rebalance(plane.database) == 0


def test_a_worker_that_registers_again_gives_back_what_it_held(plane: Plane) -> None:
    worker = plane.worker(name="same")
    attempt = plane.running(worker)
    assert plane.worker(name="same") == worker
    with plane.database.transaction() as connection:
        queue.lose_worker(connection, pools.held_attempts(connection, worker), "worker")
    assert plane.state(attempt.job_id) is JobState.QUEUED
    assert plane.job(attempt.job_id).reason == Reason.WORKER_LOST


def test_the_sweep_forgets_what_is_old(plane: Plane) -> None:
    plane.sql("INSERT INTO components (name, kind, seen_at) VALUES ('old', 'api', now() - interval '2 hours')")
    plane.sql("INSERT INTO components (name, kind) VALUES ('young', 'api')")
    plane.sql(
        "INSERT INTO idempotency_keys (workspace_id, key, request_hash, created_at) "
        "VALUES (1, 'old', '', now() - interval '3 days'), (1, 'young', '', now())"
    )
    reconciler.sweep(plane.database)
    assert [row.name for row in plane.sql("SELECT name FROM components")] == ["young"]
    assert [row.key for row in plane.sql("SELECT key FROM idempotency_keys")] == ["young"]
