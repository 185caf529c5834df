"""What became of one job: how long it was in each state, what its attempts cost, where it came from and led to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.ids import encode
from orchestrator.domain.state import JobState
from orchestrator.store.usage import COSTS_SINCE, NODES


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in one state; the last one of a job that has not ended is still open."""

    state: JobState
    reason: str
    message: str
    epoch: int
    since: datetime
    until: datetime | None
    seconds: float


_SPANS = """
    SELECT target AS state, reason, message, epoch, at, lead(at) OVER (ORDER BY id) AS until,
      extract(epoch FROM coalesce(lead(at) OVER (ORDER BY id), clock_timestamp()) - at)::float8 AS seconds
    FROM (SELECT * FROM events WHERE job_id = :id AND source IS DISTINCT FROM target ORDER BY id DESC LIMIT :most) AS e
    ORDER BY id
"""
MOST = 400


def spans(connection: Connection, job_id: int) -> list[Span]:
    """The states of a job in order, each with its length; the newest MOST when it has had more. A state that is final
    has no length."""
    rows = connection.execute(text(_SPANS), {"id": job_id, "most": MOST})
    found = []
    for row in rows:
        state = JobState(row.state)
        over = state.terminal and row.until is None
        seconds = 0.0 if over else row.seconds
        found.append(Span(state, row.reason, row.message, row.epoch, row.at, row.until, seconds))
    return found


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of a job's history."""

    at: datetime
    epoch: int
    state: JobState
    reason: str
    message: str
    actor: str


def events(connection: Connection, job_id: int, limit: int) -> list[Event]:
    """The newest entries, newest first."""
    statement = "SELECT * FROM events WHERE job_id = :id ORDER BY id DESC LIMIT :limit"
    rows = connection.execute(text(statement), {"id": job_id, "limit": limit})
    return [Event(row.at, row.epoch, JobState(row.target), row.reason, row.message, row.actor) for row in rows]


@dataclass(frozen=True, slots=True)
class Spending:
    """What a job has used. `usd` is None when its pools have no price; `rate` is what it costs per hour now, in USD."""

    hours: float
    usd: float | None
    rate: float | None


_SPENT = f"""
    SELECT coalesce(sum(hours), 0)::float8 AS hours, sum(hours * usd)::float8 AS usd,
      sum(nodes * usd) FILTER (WHERE running)::float8 AS rate
    FROM (SELECT a.state = 'RUNNING' AND {COSTS_SINCE} IS NOT NULL AS running, p.usd_per_hour AS usd,
            {NODES} AS nodes,
            coalesce(extract(epoch FROM coalesce(a.finished_at, clock_timestamp()) - ({COSTS_SINCE})) / 3600, 0)
              * {NODES} AS hours
          FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN pools p ON p.id = a.pool_id WHERE a.job_id = :id) AS used
"""


def spending(connection: Connection, job_id: int) -> Spending:
    """The hours of slots that the attempts of a job have used, and what they cost."""
    row = connection.execute(text(_SPENT), {"id": job_id}).one()
    return Spending(row.hours, row.usd, row.rate)


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a job was made from and what it made: `models` are references, `parents` models that it began with,
    `used_by` jobs that began with one of its models, `artifacts` its other outputs and checkpoints."""

    dataset: str | None
    parents: tuple[str, ...]
    models: tuple[str, ...]
    used_by: tuple[tuple[str, str], ...]
    artifacts: tuple[tuple[str, str, int | None, int], ...]


_MODELS = """
    SELECT m.name || '@' || v.version AS ref FROM model_versions v JOIN models m ON m.id = v.model_id
    WHERE v.job_id = :id ORDER BY 1
"""
# A model is known by its reference; which jobs began with it stands in the lineage of what they made.
_USED = """
    SELECT v.job_id, m.name || '@' || v.version AS ref FROM model_versions v JOIN models m ON m.id = v.model_id
    WHERE m.workspace_id = :workspace AND v.lineage ->> 'parent' = ANY(CAST(:refs AS text[]))
    ORDER BY v.created_at DESC LIMIT 10
"""
_READS = "SELECT ref FROM job_inputs WHERE job_id = :id AND ref LIKE '%@%' ORDER BY name"
_ARTIFACTS = "SELECT id, kind, step, size FROM artifacts WHERE job_id = :id ORDER BY id DESC LIMIT 12"


def lineage(connection: Connection, workspace_id: int, job_id: int, document: dict[str, Any]) -> Lineage:
    """Where a job stands between data and models."""
    spec = document.get("spec", {})
    refs = list(connection.execute(text(_MODELS), {"id": job_id}).scalars())
    used = connection.execute(text(_USED), {"workspace": workspace_id, "refs": refs}).all() if refs else []
    artifacts = connection.execute(text(_ARTIFACTS), {"id": job_id})
    parents = [value for value in (spec.get("params", {}).get("parent"), spec.get("model")) if isinstance(value, str)]
    parents += connection.execute(text(_READS), {"id": job_id}).scalars()
    dataset = spec.get("dataset")
    return Lineage(
        dataset=dataset if isinstance(dataset, str) else None,
        parents=tuple(dict.fromkeys(parents)),
        models=tuple(refs),
        used_by=tuple((encode("j", row.job_id), row.ref) for row in used),
        artifacts=tuple((encode("a", row.id), row.kind, row.step, row.size) for row in artifacts),
    )


_BEFORE = """
    SELECT id FROM jobs WHERE workspace_id = :workspace AND name = :name AND id < :id ORDER BY id DESC LIMIT 1
"""


def run_before(connection: Connection, workspace_id: int, name: str, job_id: int) -> str | None:
    """The id of the job of the same name that was submitted before this one."""
    values = {"workspace": workspace_id, "name": name, "id": job_id}
    found = connection.execute(text(_BEFORE), values).scalar()
    return None if found is None else encode("j", found)
