"""Jobs whose cost is limited: what they have spent, by the database's clock, and how they are stopped.

A job that has reached its limit is told to stop like one that is cancelled; that its attempt then failed, and for what
reason, `store.attempts.ending` says.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.cost import Bill
from orchestrator.domain.ids import AttemptId
from orchestrator.domain.state import Reason
from orchestrator.store.notify import WORKERS, notify
from orchestrator.store.transitions import note
from orchestrator.store.usage import COSTS_SINCE


def spent(jobs: str) -> str:
    """SQL for what the attempts of a row of the table or alias `jobs` have cost so far, in USD."""
    return f"""(
      SELECT coalesce(sum(extract(epoch FROM coalesce(a.finished_at, clock_timestamp()) - ({COSTS_SINCE}))::float8
          / 3600 * p.usd_per_hour), 0) * coalesce(({jobs}.document #>> '{{spec,resources,nodes}}')::int, 1)
      FROM attempts a JOIN pools p ON p.id = a.pool_id WHERE a.job_id = {jobs}.id)"""


def bill(job: Any) -> Bill | None:
    """The bill of a row that has `max_cost_usd` and `spent_usd`; None when its cost is not limited."""
    return None if job.max_cost_usd is None else Bill(job.spent_usd, job.max_cost_usd)


# Only those that are over are locked: the others are being renewed meanwhile.
_OVER = f"""
    WITH over AS MATERIALIZED (
      SELECT * FROM (
        SELECT j.id, a.epoch, {spent("j")} AS spent_usd, j.max_cost_usd
        FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.epoch = j.epoch AND a.state = 'RUNNING'
        WHERE j.max_cost_usd IS NOT NULL AND j.finished_at IS NULL AND j.state = 'RUNNING'
          AND a.asked IS DISTINCT FROM 'cancel'
      ) AS limited WHERE spent_usd >= max_cost_usd LIMIT 100
    )
    SELECT a.job_id, a.epoch, a.worker_id, over.spent_usd, over.max_cost_usd
    FROM over JOIN jobs j ON j.id = over.id JOIN attempts a ON a.job_id = over.id AND a.epoch = over.epoch
    WHERE j.state = 'RUNNING' AND a.state = 'RUNNING' AND a.asked IS DISTINCT FROM 'cancel'
    ORDER BY j.id FOR NO KEY UPDATE OF j, a SKIP LOCKED
"""
_STOP = "UPDATE attempts SET asked = 'cancel' WHERE job_id = :job_id AND epoch = :epoch"


def stop(connection: Connection, actor: str) -> list[AttemptId]:
    """Tell the workers of jobs that have reached their limit to stop them; returns what they stop."""
    stopped = []
    for row in connection.execute(text(_OVER)).all():
        attempt = AttemptId(row.job_id, row.epoch)
        connection.execute(text(_STOP), attempt._asdict())
        note(connection, row.job_id, Reason.COST_EXCEEDED, f"Stopping it. {bill(row)}", actor)
        notify(connection, {WORKERS: [row.worker_id]})
        stopped.append(attempt)
    return stopped


_BILL = f"SELECT max_cost_usd, {spent('jobs')} AS spent_usd FROM jobs WHERE id = :id"


def of(connection: Connection, job_id: int) -> Bill | None:
    """What a job has cost and may; None when that is not limited."""
    return bill(connection.execute(text(_BILL), {"id": job_id}).one())
