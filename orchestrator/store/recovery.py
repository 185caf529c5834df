"""What the loss of a job's cloud would cost, and what its last interruption did cost."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.recovery import StandbyView

_COPIED = """
    SELECT j.standby AS cloud, target.store, copy.step, copy.created_at,
      extract(epoch FROM clock_timestamp() - copy.created_at) AS age,
      (SELECT count(*) FROM artifacts c WHERE c.job_id = j.id AND c.kind = 'checkpoint'
        AND (copy.id IS NULL OR (c.epoch, c.step, c.id) > (copy.epoch, copy.step, copy.id))) AS behind
    FROM jobs j
    LEFT JOIN LATERAL (SELECT p.store FROM pools p WHERE p.cloud = j.standby ORDER BY p.name LIMIT 1) AS target ON true
    LEFT JOIN LATERAL (
      SELECT c.id, c.epoch, c.step, c.created_at
      FROM artifacts c JOIN replicas r ON r.artifact_id = c.id AND r.state = 'verified' AND r.store = target.store
      WHERE c.job_id = j.id AND c.kind = 'checkpoint' ORDER BY c.epoch DESC, c.step DESC, c.id DESC LIMIT 1
    ) AS copy ON true
    WHERE j.id = :job AND j.standby IS NOT NULL
"""


def view(connection: Connection, job_id: int) -> StandbyView | None:
    """What a job's standby has of it; None for a job without one."""
    row = connection.execute(text(_COPIED), {"job": job_id}).one_or_none()
    if row is None:
        return None
    return StandbyView(
        cloud=row.cloud,
        store=row.store,
        step=row.step,
        behind=row.behind,
        recovery_point=row.created_at,
        age_seconds=None if row.age is None else round(float(row.age), 1),
        message=_sentence(row),
    )


def _sentence(row: Any) -> str:
    if row.store is None:
        return f"Nothing is copied ahead: there is no pool on {row.cloud}."
    if row.step is None:
        return f"Nothing has arrived on {row.cloud} yet."
    behind = f", {row.behind} behind" if row.behind else ""
    return f"{row.cloud} has the checkpoint of step {row.step}, {float(row.age):.0f} s old{behind}."


# The numbers that a job logs carry their time, which shows when it worked; those of `sys/` are the worker's. Of each
# attempt the first and the last are noted as they come: a job may have millions.
_INTERRUPTION = """
    SELECT max(a.first_metric_at) FILTER (WHERE a.epoch = j.epoch)
      - max(a.last_metric_at) FILTER (WHERE a.epoch < j.epoch) AS seconds
    FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.job_id = :job AND j.epoch > 1
"""


def interruption(connection: Connection, job_id: int) -> float | None:
    """Seconds from the last number that the attempts before the newest have logged to the first of the newest: what
    the last migration or failure took, as the job itself saw it. None when it has not been interrupted."""
    seconds = connection.execute(text(_INTERRUPTION), {"job": job_id}).scalar_one()
    return None if seconds is None else round(float(seconds), 3)
