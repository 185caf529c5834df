"""Two things at once: exactly one of them happens. The order is fixed by locks, never by waiting a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, text

from orchestrator.api.routes.protocol import heartbeat
from orchestrator.domain.errors import Conflict, NoPlace, NotFound, ServerUnavailable
from orchestrator.domain.freight import free
from orchestrator.domain.ids import AttemptId, decode_attempt, encode
from orchestrator.domain.protocol import Append, Heartbeat, LogLine, PodWait, Report
from orchestrator.domain.spec import Checkpoints, Cloud, Outputs, Placement
from orchestrator.domain.state import AttemptState, JobState, Reason
from orchestrator.store import attempts, checkpoints, jobs, models, moves, pools, queue, standby, streams
from orchestrator.store.fence import Holder, hold
from orchestrator.store.notify import WORKERS
from tests.integration.store.locks import until_blocked
from tests.integration.store.plane import LEASE, Plane, command, upload


def _report(connection: Connection, worker: int, attempt: AttemptId) -> tuple[str, ...]:
    ended = Report(attempt=str(attempt), reason=Reason.SUCCEEDED)
    return attempts.report(connection, Holder(worker), [(attempt, ended)]).lost


def _expire(plane: Plane) -> int:
    with plane.database.transaction() as connection:
        return len(queue.expire_leases(connection, "reconciler"))


def _let_the_lease_run_out_for_others(plane: Plane, attempt: AttemptId) -> None:
    """Return when the lease that everybody but the open transaction sees has run out."""
    live = "SELECT lease_expires_at > clock_timestamp() AS live FROM attempts WHERE job_id = :job_id AND epoch = :epoch"
    while plane.sql(live, **attempt._asdict())[0].live:
        pass


def _short_lease(plane: Plane, attempt: AttemptId) -> None:
    plane.sql(
        "UPDATE attempts SET lease_expires_at = clock_timestamp() + interval '300 ms' WHERE job_id = :id",
        id=attempt.job_id,
    )


def test_a_report_that_came_in_time_wins_over_the_reconciler(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)
    _short_lease(plane, attempt)
    with plane.database.transaction() as connection:
        assert _report(connection, worker, attempt) == ()  # in flight: not yet committed
        _let_the_lease_run_out_for_others(plane, attempt)
        assert _expire(plane) == 0
    assert _expire(plane) == 0
    assert plane.state(attempt.job_id) is JobState.SUCCEEDED
    assert [row.target for row in plane.sql("SELECT target FROM events ORDER BY id")][-1] == "SUCCEEDED"


def test_a_report_that_comes_while_the_reconciler_takes_the_job_is_lost(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)
    plane.expire(attempt)

    def report() -> tuple[str, ...]:
        with plane.database.transaction() as connection:
            return _report(connection, worker, attempt)

    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            assert len(queue.expire_leases(connection, "reconciler")) == 1
            late = threads.submit(report)
            until_blocked(plane)
        assert late.result(timeout=120) == (str(attempt),)
    assert plane.state(attempt.job_id) is JobState.QUEUED
    assert plane.attempt(attempt).state == AttemptState.LOST


def test_a_heartbeat_in_flight_keeps_the_reconciler_away(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)
    _short_lease(plane, attempt)
    with plane.database.transaction() as connection:
        reply = attempts.heartbeat(connection, worker, Heartbeat(worker="w-1"), [attempt], LEASE)
        assert reply.lost == ()
        _let_the_lease_run_out_for_others(plane, attempt)
        assert _expire(plane) == 0  # does not wait either
    assert plane.state(attempt.job_id) is JobState.RUNNING
    assert plane.attempt(attempt).state == AttemptState.RUNNING


def test_an_append_in_flight_is_kept_and_the_attempt_ends_after_it(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)

    def lose() -> int:
        with plane.database.transaction() as connection:
            return len(queue.lose_worker(connection, [attempt], "worker"))

    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            batch = Append(attempt=str(attempt), seq=1, lines=(LogLine(at=1.0, stream="stdout", text="last words"),))
            assert streams.append(connection, Holder(), [(attempt, batch)]) == []
            ending = threads.submit(lose)
            until_blocked(plane)
        assert ending.result(timeout=120) == 1
    assert plane.append(attempt, "too late", seq=2, first_line=2) == [attempt]
    assert len(plane.sql("SELECT FROM log_chunks")) == 1


def test_two_appends_of_one_attempt_at_once_do_not_wait_for_each_other_for_ever(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    together = threading.Barrier(2, timeout=120)

    def append(seq: int) -> None:
        with plane.database.transaction() as connection:
            together.wait()
            batch = Append(
                attempt=str(attempt),
                seq=seq,
                first_line=seq,
                lines=(LogLine(at=1.0, stream="stdout", text="x"),),
                progress=0.5,
            )
            assert streams.append(connection, Holder(), [(attempt, batch)]) == []

    with ThreadPoolExecutor(2) as threads:
        for first in range(1, 40, 2):
            for done in [threads.submit(append, seq) for seq in (first, first + 1)]:
                done.result(timeout=120)
    assert len(plane.sql("SELECT FROM log_chunks")) == 40


def test_heartbeats_and_appends_for_many_attempts_take_their_locks_in_one_order(plane: Plane) -> None:
    worker = plane.worker(slots=2)
    first, second = plane.running(worker), plane.running(worker)
    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            assert hold(connection, Holder(), [first]) == {first}
            beat = threads.submit(plane.heartbeat, worker, second, first)  # named in the other order
            until_blocked(plane)
            assert hold(connection, Holder(), [second]) == {second}
        assert beat.result(timeout=120).lost == ()


def test_a_worker_that_returns_takes_nothing_from_a_later_attempt(plane: Plane) -> None:
    """Between the look at what it held and the lock, the job may have moved on."""
    worker = plane.worker()
    old = plane.running(worker)
    plane.report(worker, old, Reason.PREEMPTED)
    plane.dispatch()
    (lease,) = plane.claim(plane.worker())
    with plane.database.transaction() as connection:
        assert queue.lose_worker(connection, [old], "worker") == []
    assert plane.attempt(decode_attempt(lease.attempt)).state == AttemptState.RUNNING


def test_twenty_claimers_get_every_job_once(plane: Plane) -> None:
    workers = [plane.worker(slots=4) for _ in range(20)]
    ids = plane.submit(*(command() for _ in range(60)))
    plane.dispatch()
    start = threading.Barrier(20, timeout=120)

    def claim(worker: int) -> list[tuple[str, int]]:
        start.wait()
        mine = []
        while leases := plane.claim(worker, 2):
            mine += [(lease.attempt, worker) for lease in leases]
        return mine

    with ThreadPoolExecutor(20) as threads:
        claimed = [one for part in threads.map(claim, workers) for one in part]
    assert sorted(attempt for attempt, _ in claimed) == sorted(str(AttemptId(job_id, 1)) for job_id in ids)
    for attempt, worker in claimed:
        assert plane.attempt(decode_attempt(attempt)).worker_id == worker


def test_a_cancel_and_a_claim_at_once_leave_one_outcome(plane: Plane) -> None:
    worker = plane.worker()
    (job_id,) = plane.submit()
    plane.dispatch()
    with plane.database.transaction() as connection:
        jobs.cancel(connection, job_id, "ada")
        assert plane.claim(worker) == ()  # skips what is locked
    assert plane.claim(worker) == ()
    assert plane.state(job_id) is JobState.CANCELLED


def test_a_deadlock_is_reported_as_something_to_try_again(plane: Plane) -> None:
    first, second = plane.submit(command(), command())
    lock = text("SELECT FROM jobs WHERE id = :id FOR UPDATE")

    def other_way_round() -> None:
        with plane.database.transaction() as connection:
            connection.execute(lock, {"id": second})
            held.wait(timeout=120)
            connection.execute(lock, {"id": first})

    held = threading.Barrier(2)
    with ThreadPoolExecutor(1) as threads:
        failures: list[BaseException] = []
        try:
            with plane.database.transaction() as connection:
                connection.execute(lock, {"id": first})
                other = threads.submit(other_way_round)
                held.wait(timeout=120)
                connection.execute(lock, {"id": second})
        except ServerUnavailable as error:
            failures.append(error)
        if lost := other.exception(timeout=120):
            failures.append(lost)
    assert [type(error) for error in failures] == [ServerUnavailable]


def test_a_checkpoint_that_is_asked_for_while_a_worker_claims_rings_that_worker(plane: Plane) -> None:
    worker = plane.worker()
    (job_id,) = plane.submit()
    plane.dispatch()

    def ask() -> None:
        with plane.database.transaction() as connection:
            moves.ask_for_checkpoint(connection, job_id, "ada")

    with plane.database.listener(WORKERS) as bells, ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            attempts.claim(connection, worker, pools.pool_of(connection, worker), 1, LEASE)
            asking = threads.submit(ask)
            until_blocked(plane)
        asking.result(timeout=120)
        assert [bell.payload for bell in bells.notifies(timeout=120, stop_after=1)] == [str(worker)]
    assert plane.attempt(AttemptId(job_id, 1)).asked == "checkpoint"


def test_a_checkpoint_that_is_superseded_while_its_copy_begins_is_left_out(plane: Plane) -> None:
    plane.pool("gcp", cloud="gcp", store="gs://bucket")
    kept = command(checkpoints=Checkpoints(keep=1), placement=Placement(standby=Cloud.GCP))
    attempt = plane.running(plane.worker(), kept)

    def replicate() -> int:
        with plane.database.transaction() as connection:
            return standby.replicate(connection)

    with plane.database.transaction() as connection:
        checkpoints.commit(connection, attempt, 1, upload(attempt, plane.workspace, "c1"))
    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            checkpoints.commit(connection, attempt, 2, upload(attempt, plane.workspace, "c2"))
            late = threads.submit(replicate)
            until_blocked(plane)
        assert late.result(timeout=120) == 0
    assert replicate() == 1, "the newer one is copied"


def test_a_checkpoint_that_a_job_has_just_begun_to_read_is_not_superseded(plane: Plane) -> None:
    attempt = plane.running(plane.worker(), command(checkpoints=Checkpoints(keep=1)))

    def commit(step: int) -> int:
        with plane.database.transaction() as connection:
            return checkpoints.commit(connection, attempt, step, upload(attempt, plane.workspace, f"c{step}"))[0]

    read = commit(1)
    reader = command(inputs={"state": f"artifact://{encode('a', read)}"})
    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            jobs.submit(connection, plane.workspace, "ada", [reader])
            committing = threads.submit(commit, 2)
            until_blocked(plane)
        committing.result(timeout=120)
    assert [row.artifact_id for row in plane.sql("SELECT artifact_id FROM job_inputs")] == [read]


def test_a_move_and_a_commit_of_a_checkpoint_take_their_locks_in_one_order(plane: Plane) -> None:
    plane.pool("gcp", cloud="gcp", store="gs://bucket")
    worker = plane.worker()
    plane.worker("gcp")
    attempt = plane.running(worker, command(placement=Placement(clouds=(Cloud.LOCAL,))))
    with plane.database.transaction() as connection:
        checkpoints.commit(connection, attempt, 1, upload(attempt, plane.workspace, "c1"))

    def move() -> str:
        with plane.database.transaction() as connection:
            return moves.begin(connection, attempt.job_id, "gcp", free, 1.0, "ada", shared=1).target

    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            hold(connection, Holder(worker), [attempt])
            moving = threads.submit(move)
            until_blocked(plane)
            connection.execute(text("SELECT FROM artifacts FOR UPDATE NOWAIT"))  # the move has none of them
        assert moving.result(timeout=120) == "gcp"


def test_of_two_moves_and_the_dispatcher_one_gets_the_last_slot(plane: Plane) -> None:
    worker = plane.worker(slots=2)
    attempts_here = [plane.running(worker, command(placement=Placement(clouds=(Cloud.LOCAL,)))) for _ in range(2)]
    plane.pool("gcp", cloud="gcp", store="gs://bucket")
    plane.worker("gcp", slots=1)
    (queued,) = plane.submit(command(placement=Placement(clouds=(Cloud.GCP,))))

    def move(attempt: AttemptId, connection: Connection) -> str:
        return moves.begin(connection, attempt.job_id, "gcp", free, 1.0, "ada").target

    def move_other() -> str:
        with plane.database.transaction() as connection:
            return move(attempts_here[1], connection)

    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            move(attempts_here[0], connection)
            other = threads.submit(move_other)
            until_blocked(plane)
            plane.dispatch()
        with pytest.raises(NoPlace, match="gcp is full"):
            other.result(timeout=120)
    plane.dispatch()
    assert plane.state(queued) is JobState.QUEUED, "the slot is kept for the job that moves"


def test_the_jobs_that_may_use_a_version_are_looked_through_without_holding_its_model(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker, command(outputs=Outputs(model="digits")))
    plane.report(worker, attempt, output=upload(attempt, plane.workspace))

    def delete() -> str:
        with plane.database.transaction() as connection:
            return models.delete(connection, plane.workspace, "digits", "1").ref

    lock = text("SELECT FROM models FOR UPDATE NOWAIT")
    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            connection.execute(lock)
            deleting = threads.submit(delete)
            until_blocked(plane)
            (user,) = plane.submit(command(env={"MODEL": "digits@1"}))
        with pytest.raises(Conflict, match=encode("j", user)):
            deleting.result(timeout=120)
        with plane.database.transaction() as connection:
            jobs.cancel(connection, user, "ada")
        with plane.database.transaction() as connection:
            connection.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
            deleting = threads.submit(delete)
            until_blocked(plane)
            connection.execute(lock)  # nobody has it
        assert deleting.result(timeout=120) == "digits@1"


def test_what_is_said_waits_for_a_job_without_holding_its_attempt(plane: Plane) -> None:
    launcher = plane.worker()
    attempt = plane.running(launcher)
    wait = PodWait(attempt=str(attempt), reason=Reason.UNSCHEDULABLE, message="0/3 nodes")
    said = Heartbeat(worker=encode("w", launcher), attempts=(str(attempt),), launcher=True, waits=(wait,))
    with ThreadPoolExecutor(1) as pool:
        with plane.database.transaction() as connection:  # the report of a pod, which takes the job first
            attempts.standing(connection, [attempt.job_id])
            beat = pool.submit(heartbeat, plane.database, said)
            until_blocked(plane)
            assert hold(connection, Holder(attempt=attempt), [attempt]) == {attempt}
        assert beat.result(30).lost == ()
    assert plane.job(attempt.job_id).message == "0/3 nodes"


@pytest.mark.parametrize("first", ["delete", "alias"])
def test_of_naming_a_version_and_deleting_it_the_first_one_counts(plane: Plane, first: str) -> None:
    worker = plane.worker()
    attempt = plane.running(worker, command(outputs=Outputs(model="digits")))
    plane.report(worker, attempt, output=upload(attempt, plane.workspace))
    acts: dict[str, Callable[[Connection], object]] = {
        "delete": lambda connection: models.delete(connection, plane.workspace, "digits", "1"),
        "alias": lambda connection: models.set_alias(connection, plane.workspace, "digits", "prod", 1, "ada"),
    }

    def second() -> None:
        with plane.database.transaction() as connection:
            acts[next(one for one in acts if one != first)](connection)

    with ThreadPoolExecutor(1) as threads:
        with plane.database.transaction() as connection:
            acts[first](connection)
            late = threads.submit(second)
            until_blocked(plane)
        with pytest.raises(NotFound if first == "delete" else Conflict):
            late.result(timeout=120)
