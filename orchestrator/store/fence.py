"""The fence: what an attempt may still do. Every effect of an attempt is written under this condition and no other.

The condition is checked by the database's own clock at the moment of writing, in the transaction that writes. A worker
that slept through its lease, or whose job has moved on to a later epoch, finds zero rows: it is a zombie, and has no
effect.

Source of the idea: M. Kleppmann, "How to do distributed locking" (2016), fencing tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.ids import AttemptId

LIVE = "(a.state = 'RUNNING' AND a.lease_expires_at > clock_timestamp())"
"""True of an attempt `a` that holds a live lease. Only a job's newest attempt can be RUNNING."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who speaks: one worker for the attempts it holds, one attempt for itself, or, with neither, any worker for the
    attempts that it names: their epoch and their lease are what counts."""

    worker_id: int | None = None
    attempt: AttemptId | None = None


_HOLD = f"""
    SELECT a.job_id, a.epoch
    FROM attempts a
    JOIN unnest(CAST(:jobs AS bigint[]), CAST(:epochs AS int[])) AS named(job_id, epoch) USING (job_id, epoch)
    WHERE (CAST(:worker AS bigint) IS NULL OR a.worker_id = :worker) AND {LIVE}
    ORDER BY a.job_id
    FOR NO KEY UPDATE OF a
"""


def hold(connection: Connection, holder: Holder, attempts: Sequence[AttemptId]) -> set[AttemptId]:
    """Those of `attempts` that `holder` holds a live lease on. They stay so until the transaction ends: whoever wants
    to end them waits for it, and so does another effect of the same attempt (two that share a lock and then both write
    wait for each other for ever)."""
    allowed = [one for one in attempts if holder.attempt in {None, one}]
    if not allowed:
        return set()
    rows = connection.execute(
        text(_HOLD),
        {
            "jobs": [one.job_id for one in allowed],
            "epochs": [one.epoch for one in allowed],
            "worker": holder.worker_id,
        },
    )
    return {AttemptId(row.job_id, row.epoch) for row in rows}


def require(held: Collection[AttemptId], attempt: AttemptId) -> None:
    """Raise LeaseLost unless `attempt` is among those held."""
    if attempt not in held:
        raise LeaseLost(
            f"Attempt {attempt} no longer holds its lease; nothing more is accepted from it.",
            hint="Stop its processes. The job goes on in another attempt.",
        )
