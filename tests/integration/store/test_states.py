"""The life of a job is guarded by the database itself: whoever writes, only allowed moves are made."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import pkgutil

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

import migrations.versions
from orchestrator.domain.ids import AttemptId
from orchestrator.domain.state import TRANSITIONS, AttemptState, JobState, Reason
from orchestrator.store import jobs
from orchestrator.store.transitions import Change, transition
from tests.integration.store.plane import Plane

ALLOWED = {(move.source, move.target) for move in TRANSITIONS}
ILLEGAL = [pair for pair in itertools.product(JobState, JobState) if pair not in ALLOWED and pair[0] is not pair[1]]


def _bring_to(plane: Plane, state: JobState) -> int:
    """A job in this state, brought there by the code that brings jobs there."""
    worker = plane.worker()
    (job_id,) = plane.submit()
    if state is JobState.QUEUED:
        return job_id
    plane.dispatch()
    if state is JobState.DISPATCHED:
        return job_id
    plane.claim(worker)
    with plane.database.transaction() as connection:
        if state in {JobState.CANCELLING, JobState.CANCELLED}:
            jobs.cancel(connection, job_id, "ada")
    ends = {
        JobState.SUCCEEDED: Reason.SUCCEEDED,
        JobState.FAILED: Reason.USER_ERROR,
        JobState.CANCELLED: Reason.CANCELLED_BY_USER,
    }
    if state in ends:
        plane.report(worker, AttemptId(job_id, 1), ends[state])
    assert plane.state(job_id) is state
    return job_id


def test_the_table_in_the_database_equals_the_table_in_the_code(plane: Plane) -> None:
    stored = {(row.source, row.target) for row in plane.sql("SELECT source, target FROM job_transitions")}
    assert stored == ALLOWED


def test_the_newest_migrations_copy_of_the_table_equals_the_table_in_the_code() -> None:
    names = sorted(module.name for module in pkgutil.iter_modules(migrations.versions.__path__))
    modules = [importlib.import_module(f"migrations.versions.{name}") for name in names]
    newest = next(module for module in reversed(modules) if hasattr(module, "TRANSITIONS"))
    assert {(JobState(source), JobState(target)) for source, target in newest.TRANSITIONS} == ALLOWED


@pytest.mark.parametrize("source", JobState)
def test_the_database_refuses_every_illegal_move(plane: Plane, source: JobState) -> None:
    job_id = _bring_to(plane, source)
    for target in (target for start, target in ILLEGAL if start is source):
        finished = "clock_timestamp()" if target.terminal else "NULL"
        with pytest.raises(IntegrityError, match=f"cannot go from {source} to {target}"):
            plane.sql(
                f"UPDATE jobs SET state = :target, finished_at = {finished}, epoch = greatest(epoch, 1), "
                "pool_id = (SELECT id FROM pools LIMIT 1) WHERE id = :id",
                target=target,
                id=job_id,
            )
        assert plane.state(job_id) is source


@pytest.mark.parametrize("source", JobState)
def test_the_one_door_makes_no_illegal_move(plane: Plane, source: JobState) -> None:
    job_id = _bring_to(plane, source)
    before = plane.everything()
    for target in (target for start, target in ILLEGAL if start is source):
        change = Change(job_id=job_id, target=target, reason=Reason.SUBMITTED, message="", actor="test", pool_id=1)
        with plane.database.transaction() as connection:
            assert transition(connection, [change]) == []
    assert plane.everything() == before


def test_the_epoch_cannot_fall(plane: Plane) -> None:
    job_id = _bring_to(plane, JobState.RUNNING)
    with pytest.raises(IntegrityError, match=r"the epoch of job \d+ cannot fall from 1 to 0"):
        plane.sql("UPDATE jobs SET epoch = 0 WHERE id = :id", id=job_id)


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.QUEUED])
def test_a_job_begins_queued(plane: Plane, state: JobState) -> None:
    finished = "clock_timestamp()" if state.terminal else "NULL"
    with pytest.raises(IntegrityError, match="a job begins QUEUED"):
        plane.sql(
            "INSERT INTO jobs (workspace_id, name, kind, user_name, labels, document, spec_hash, shape, reason, "
            "message, state, finished_at, epoch, pool_id) VALUES (:workspace, 'a', 'Command', 'ada', '{}', '{}', '', "
            f"'', '', '', :state, {finished}, 1, (SELECT id FROM pools LIMIT 1))",
            workspace=plane.workspace,
            state=state,
        )


@pytest.mark.parametrize("state", ["PAUSED", "queued", ""])
def test_no_other_state_exists(plane: Plane, state: str) -> None:
    (job_id,) = plane.submit()
    with pytest.raises(IntegrityError):
        plane.sql("UPDATE jobs SET state = :state WHERE id = :id", state=state, id=job_id)


@pytest.mark.parametrize("end", [state for state in AttemptState if state is not AttemptState.RUNNING])
def test_an_attempt_that_has_ended_stays_so(plane: Plane, end: AttemptState) -> None:
    attempt = plane.running(plane.worker())
    plane.sql(
        "UPDATE attempts SET state = :end, finished_at = clock_timestamp() WHERE job_id = :job",
        end=end,
        job=attempt.job_id,
    )
    for other in AttemptState:
        if other is end:
            continue
        with pytest.raises(IntegrityError, match="has ended as"):
            plane.sql(
                "UPDATE attempts SET state = :other WHERE job_id = :job_id AND epoch = :epoch",
                other=other,
                **attempt._asdict(),
            )


def test_a_job_has_at_most_one_running_attempt(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    with pytest.raises(IntegrityError, match="uq_attempts_one_running"):
        plane.sql(
            "INSERT INTO attempts (job_id, epoch, worker_id, pool_id, reason, token_hash, lease_expires_at) "
            "SELECT job_id, 2, worker_id, pool_id, '', '', lease_expires_at FROM attempts WHERE job_id = :job",
            job=attempt.job_id,
        )


def test_a_move_and_its_event_are_one(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = _bring_to(plane, JobState.SUCCEEDED)
    rows = plane.sql("SELECT source, target, epoch, actor FROM events WHERE job_id = :id ORDER BY id", id=job_id)
    assert [(row.source, row.target, row.epoch, row.actor.split(":")[0]) for row in rows] == [
        (None, "QUEUED", 0, "user"),
        ("QUEUED", "DISPATCHED", 0, "dispatcher"),
        ("DISPATCHED", "RUNNING", 1, "worker"),
        ("RUNNING", "SUCCEEDED", 1, "worker"),
    ]


def test_a_move_that_is_rolled_back_leaves_neither_state_nor_event(plane: Plane) -> None:
    (job_id,) = plane.submit()
    before = plane.everything()
    with contextlib.suppress(ZeroDivisionError), plane.database.transaction() as connection:
        jobs.cancel(connection, job_id, "ada")
        assert connection.execute(text("SELECT state FROM jobs")).scalar_one() == "CANCELLED"
        raise ZeroDivisionError
    assert plane.everything() == before


def test_a_change_with_an_older_epoch_moves_nothing(plane: Plane) -> None:
    job_id = _bring_to(plane, JobState.RUNNING)
    change = Change(job_id=job_id, target=JobState.FAILED, reason=Reason.USER_ERROR, message="", actor="test", epoch=0)
    with plane.database.transaction() as connection:
        assert transition(connection, [change]) == []


def test_a_job_named_twice_moves_once(plane: Plane) -> None:
    job_id = _bring_to(plane, JobState.QUEUED)
    change = Change(job_id=job_id, target=JobState.CANCELLED, reason=Reason.CANCELLED_BY_USER, message="", actor="test")
    with plane.database.transaction() as connection:
        assert len(transition(connection, [change, change])) == 1
    assert len(plane.sql("SELECT FROM events WHERE job_id = :id AND target = 'CANCELLED'", id=job_id)) == 1
