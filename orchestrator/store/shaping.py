"""What placement looks at when a job goes back into the queue: it has learned since it was submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.placement import Shape, place
from orchestrator.domain.state import JobState, Reason
from orchestrator.domain.views import Try
from orchestrator.store import freight, pools
from orchestrator.store.transitions import Change

REFUSALS = frozenset({Reason.NO_CAPACITY, Reason.QUOTA_EXCEEDED, Reason.STAGING_FAILED})
"""After these the fault is the place's: the next offer comes first."""
ALL_REFUSED_SECONDS = 15.0
"""When every place has refused a job, they are all asked again after so long, and after twice as long each time."""
LONGEST_PAUSE_SECONDS = 240.0

_ROUNDS = """
    SELECT count(*) FROM attempts
    WHERE job_id = :job AND pool_id = :pool AND state <> 'RUNNING' AND reason = ANY(CAST(:reasons AS text[]))
"""


def shaped(connection: Connection, jobs: Mapping[int, Any], changes: Sequence[Change]) -> list[Change]:
    """The same changes; those that queue a job again also say what it carries with it and which pool could not take it.
    `jobs` are the rows as `attempts.standing` gives them."""
    queued = [change.job_id for change in changes if change.target is JobState.QUEUED]
    freights = freight.carried(connection, queued)
    return [
        _shaped(connection, jobs[change.job_id], change, freights) if change.target is JobState.QUEUED else change
        for change in changes
    ]


def _shaped(connection: Connection, job: Any, change: Change, freights: Mapping[int, Any]) -> Change:
    shape = Shape.model_validate_json(job.shape)
    shape = shape.model_copy(update={"freight": tuple(one.rounded() for one in freights.get(change.job_id, ()))})
    if change.reason not in REFUSALS:
        return replace(change, shape=shape.key())
    states = {pool.id: pool for pool in pools.states(connection)}
    shape = shape.model_copy(update={"refused_by": tuple(sorted({*shape.refused_by, states[job.pool_id].name}))})
    left = [pool for pool in place(shape, list(states.values())).pools if pool.slots]
    if any(pool.name not in shape.refused_by for pool in left):
        return replace(change, shape=shape.key(), delay=0.0)
    asked_anew = shape.model_copy(update={"refused_by": ()})
    values = {"job": change.job_id, "pool": job.pool_id, "reasons": sorted(REFUSALS)}
    rounds = connection.execute(text(_ROUNDS), values).scalar_one()
    pause = min(ALL_REFUSED_SECONDS * 2 ** min(rounds, 10), LONGEST_PAUSE_SECONDS)
    return replace(change, shape=asked_anew.key(), delay=max(change.delay, pause))


_REFUSE = """
    INSERT INTO refusals (job_id, pool_id, reason, message)
    SELECT id, pool_id, :reason, :message FROM jobs WHERE id = ANY(CAST(:ids AS bigint[])) AND pool_id IS NOT NULL
    ON CONFLICT (job_id, pool_id) DO UPDATE
      SET at = clock_timestamp(), reason = excluded.reason, message = excluded.message
"""


def refused(connection: Connection, job_ids: Sequence[int], reason: Reason, message: str) -> None:
    """Remember that the pools in whose windows these jobs are could not take them."""
    connection.execute(text(_REFUSE), {"ids": list(job_ids), "reason": reason, "message": message})


_TRIED = """
    SELECT p.name AS pool, t.at, t.reason, t.message FROM (
      SELECT pool_id, finished_at AS at, reason, message FROM attempts
      WHERE job_id = :job AND state NOT IN ('RUNNING', 'SUCCEEDED', 'CANCELLED')
      UNION ALL SELECT pool_id, at, reason, message FROM refusals WHERE job_id = :job
    ) AS t JOIN pools p ON p.id = t.pool_id
    ORDER BY t.at DESC LIMIT 20
"""


def tried(connection: Connection, job_id: int) -> tuple[Try, ...]:
    """Where a job was tried before, newest first, and what came of it."""
    rows = connection.execute(text(_TRIED), {"job": job_id})
    return tuple(Try(pool=row.pool, at=row.at, reason=row.reason, message=row.message) for row in rows)
