"""What the scheduler reads and moves: the backlog, the window of each pool, and what has gone wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from orchestrator.domain.ids import AttemptId
from orchestrator.domain.placement import PoolState, Shape
from orchestrator.domain.state import JobState, Reason
from orchestrator.store.attempts import ending, standing
from orchestrator.store.fragments import distinct
from orchestrator.store.shaping import refused, shaped
from orchestrator.store.transitions import Change, Moved, transition

_DISPATCH_LOCK = 7_201_113_601  # any constant: one transaction places at a time, so that no window overflows

_SHAPES = distinct("shape", "jobs", "state = 'QUEUED'")
_NEXT = """
    SELECT id FROM jobs
    WHERE state = 'QUEUED' AND shape = :shape AND (not_before IS NULL OR not_before <= clock_timestamp())
    ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
"""


def take_turn(connection: Connection) -> bool:
    """True when this transaction is the one that dispatches; others come back later."""
    statement = "SELECT pg_try_advisory_xact_lock(:lock)"
    return bool(connection.execute(text(statement), {"lock": _DISPATCH_LOCK}).scalar_one())


def await_turn(connection: Connection) -> None:
    """Return when nobody places jobs any more, and nobody will until this transaction ends: free slots stay free."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _DISPATCH_LOCK})


def shapes(connection: Connection) -> list[Shape]:
    """The shapes of all queued jobs."""
    return [Shape.model_validate_json(key) for key in connection.execute(text(_SHAPES)).scalars()]


def waiting(connection: Connection, shape: Shape, limit: int) -> list[int]:
    """The oldest queued jobs of a shape whose time has come, locked; those that somebody else holds are left out."""
    return list(connection.execute(text(_NEXT), {"shape": shape.key(), "limit": limit}).scalars())


def dispatch(connection: Connection, job_ids: Sequence[int], pool: PoolState, actor: str) -> list[Moved]:
    """Put queued jobs into a pool's window."""
    return transition(
        connection,
        [
            Change(
                job_id=job_id,
                target=JobState.DISPATCHED,
                reason=Reason.PLACED,
                message=f"Waiting for a free slot in pool {pool.name}.",
                actor=actor,
                pool_id=pool.id,
            )
            for job_id in job_ids
        ],
    )


_EXPIRED = """
    SELECT a.job_id, a.epoch FROM attempts a JOIN jobs j ON j.id = a.job_id
    WHERE a.state = 'RUNNING' AND a.lease_expires_at <= clock_timestamp()
    ORDER BY a.job_id LIMIT :limit FOR NO KEY UPDATE OF j, a SKIP LOCKED
"""


def expire_leases(connection: Connection, actor: str, limit: int = 500) -> list[Moved]:
    """End the attempts whose lease has run out; their jobs are tried again within their budgets. An attempt that is
    just being renewed or ended is locked, and left alone."""
    expired = [AttemptId(row.job_id, row.epoch) for row in connection.execute(text(_EXPIRED), {"limit": limit})]
    message = "Its worker stopped answering, so its lease ran out."
    return _lose(connection, expired, Reason.LEASE_LOST, message, actor)


def lose_worker(connection: Connection, held: Sequence[AttemptId], actor: str) -> list[Moved]:
    """End the attempts of a worker that is known to be gone, without waiting for their leases."""
    return _lose(connection, held, Reason.WORKER_LOST, "Its worker died and has been started again.", actor)


def _lose(connection: Connection, lost: Sequence[AttemptId], reason: Reason, message: str, actor: str) -> list[Moved]:
    if not lost:
        return []
    jobs = standing(connection, [attempt.job_id for attempt in lost])
    # Between the look and the lock a job may have ended, or have gone on in a later attempt: that one is innocent.
    alive = [
        job
        for attempt in lost
        if (job := jobs[attempt.job_id]).state in {JobState.RUNNING, JobState.CANCELLING} and job.epoch == attempt.epoch
    ]
    changes = [ending(job, reason, message, actor) for job in alive]
    return transition(connection, shaped(connection, jobs, changes))


class Stranded(NamedTuple):
    """A dispatched job that waits in its pool's window."""

    job_id: int
    shape: Shape


_STRANDED = """
    SELECT id, shape FROM jobs
    WHERE state = 'DISPATCHED' AND pool_id = ANY(CAST(:pools AS bigint[]))
      AND dispatched_at < clock_timestamp() - :seconds * interval '1 second'
    ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
"""


def stranded(connection: Connection, pools: Sequence[PoolState], seconds: float, limit: int = 500) -> list[Stranded]:
    """Jobs that have waited for so long in the windows of these pools; they stay there until the transaction ends."""
    if not pools:
        return []
    values = {"pools": [pool.id for pool in pools], "seconds": seconds, "limit": limit}
    rows = connection.execute(text(_STRANDED), values)
    return [Stranded(row.id, Shape.model_validate_json(row.shape)) for row in rows]


def withdraw(connection: Connection, job_ids: Sequence[int], reason: Reason, message: str, actor: str) -> list[Moved]:
    """Take dispatched jobs back into the queue, so that they can go elsewhere."""
    if reason is not Reason.REBALANCED:
        refused(connection, job_ids, reason, message)
    return transition(
        connection,
        [
            Change(job_id=job_id, target=JobState.QUEUED, reason=reason, message=message, actor=actor)
            for job_id in job_ids
        ],
    )


class Unheard(NamedTuple):
    """A pool in which dispatched jobs have waited although slots are free."""

    pool: str
    job_ids: list[int]


_UNHEARD = """
    SELECT p.name, array_agg(j.id ORDER BY j.id) AS ids FROM jobs j JOIN pools p ON p.id = j.pool_id
    WHERE j.state = 'DISPATCHED' AND j.pool_id = ANY(CAST(:pools AS bigint[]))
      AND j.dispatched_at < clock_timestamp() - :seconds * interval '1 second'
    GROUP BY p.name
"""


def unheard(connection: Connection, pools: Sequence[PoolState], seconds: float) -> list[Unheard]:
    """Dispatched jobs that nobody has claimed for so long in pools that have slots free: their bell was lost."""
    if not pools:
        return []
    rows = connection.execute(text(_UNHEARD), {"pools": [pool.id for pool in pools], "seconds": seconds})
    return [Unheard(row.name, list(row.ids)) for row in rows]


def soonest(connection: Connection) -> float | None:
    """Seconds until the next job that is held back may be dispatched; None when none is."""
    statement = """
        SELECT extract(epoch FROM min(not_before) - clock_timestamp()) FROM jobs
        WHERE state = 'QUEUED' AND not_before > clock_timestamp()
    """
    wait = connection.execute(text(statement)).scalar_one()
    return None if wait is None else max(float(wait), 0.0)
