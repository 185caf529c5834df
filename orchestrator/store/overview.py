"""What the first page shows: how deep the queue is, what has failed, what waits for nothing, what contradicts itself.

Every question here is answered from an index over what is alive or recent, never by a walk through all jobs. That needs
`now()`, which stays the same for a statement: an index cannot be asked about `clock_timestamp()`, which does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from orchestrator import settings
from orchestrator.domain.ids import decode, encode
from orchestrator.domain.state import JobState
from orchestrator.domain.views import COUNTED, Why
from orchestrator.store import explain
from orchestrator.store.fragments import ONLINE, distinct

WAITS_LONG_SECONDS = 60
UNCLAIMED_SECONDS = 10
_SHAPES = 20


def workspaces_of(connection: Connection, jobs: Iterable[int]) -> dict[int, set[int]]:
    """These jobs by the workspace that owns them."""
    statement = """
        SELECT workspace_id, array_agg(id) AS jobs FROM jobs
        WHERE id = ANY(CAST(:ids AS bigint[])) GROUP BY workspace_id
    """
    rows = connection.execute(text(statement), {"ids": list(jobs)})
    return {row.workspace_id: set(row.jobs) for row in rows}


_DEPTH = """
    SELECT state, (SELECT count(*) FROM (SELECT FROM jobs j WHERE j.workspace_id = :workspace AND j.state = s.state
                                         LIMIT :limit) AS few) AS jobs
    FROM unnest(CAST(:states AS text[])) AS s(state)
"""
_ALIVE = tuple(state for state in JobState if not state.terminal)


def depth(
    connection: Connection, workspace_id: int, states: Iterable[JobState] = _ALIVE, limit: int = COUNTED
) -> dict[JobState, int]:
    """How many jobs of the workspace are in each of these states, counted up to `limit`."""
    values = {"workspace": workspace_id, "limit": limit, "states": list(states)}
    return {JobState(row.state): row.jobs for row in connection.execute(text(_DEPTH), values)}


@dataclass(frozen=True, slots=True)
class Failures:
    """Jobs that failed in the last day for one reason, and the newest of them."""

    reason: str
    jobs: int
    newest: str
    name: str
    message: str
    at: datetime


_FAILURES = """
    WITH recent AS (
      SELECT reason, count(*) AS jobs, max(id) AS newest FROM jobs
      WHERE workspace_id = :workspace AND state = 'FAILED' AND finished_at > now() - interval '1 day'
      GROUP BY reason
    )
    SELECT r.reason, r.jobs, j.id, j.name, j.message, j.finished_at AS at FROM recent r JOIN jobs j ON j.id = r.newest
    ORDER BY r.reason = 'quarantined' DESC, r.jobs DESC
"""


def failures(connection: Connection, workspace_id: int) -> list[Failures]:
    """What failed in the last day, by reason; what takes workers down comes first."""
    rows = connection.execute(text(_FAILURES), {"workspace": workspace_id})
    return [Failures(row.reason, row.jobs, encode("j", row.id), row.name, row.message, row.at) for row in rows]


@dataclass(frozen=True, slots=True)
class Backlog:
    """Queued jobs of one shape: how many (up to COUNTED), and since when and why the first of them waits."""

    jobs: int
    since: datetime
    long: bool
    why: Why


_BACKLOG = f"""
    SELECT first.id, first.created_at AS since,
      first.created_at < now() - {WAITS_LONG_SECONDS} * interval '1 second' AS long,
      (SELECT count(*) FROM (SELECT FROM jobs j WHERE j.state = 'QUEUED' AND j.shape = shape.value
                               AND j.workspace_id = :workspace LIMIT :limit) AS few) AS jobs
    FROM ({distinct("shape", "jobs", "state = 'QUEUED'", _SHAPES)}) AS shape, LATERAL (
      SELECT id, created_at FROM jobs j
      WHERE j.state = 'QUEUED' AND j.shape = shape.value AND j.workspace_id = :workspace ORDER BY id LIMIT 1) AS first
    ORDER BY first.created_at
"""


def backlog(connection: Connection, workspace_id: int) -> list[Backlog]:
    """What waits, by shape; the one that has waited longest comes first."""
    rows = list(connection.execute(text(_BACKLOG), {"workspace": workspace_id, "limit": COUNTED}))
    return [Backlog(row.jobs, row.since, row.long, explain.why(connection, row.id)) for row in rows]


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """Jobs that the database says were sent to a pool, and that no worker has come for."""

    pool: str
    jobs: int
    seconds: float
    workers: int
    free: int


_UNCLAIMED = f"""
    SELECT p.name, u.jobs, u.seconds, w.workers, w.slots - r.running AS free
    FROM (SELECT pool_id, count(*) AS jobs, extract(epoch FROM now() - min(dispatched_at)) AS seconds
          FROM jobs WHERE state = 'DISPATCHED'
            AND dispatched_at < now() - {UNCLAIMED_SECONDS} * interval '1 second' GROUP BY pool_id) AS u
    JOIN pools p ON p.id = u.pool_id
    CROSS JOIN LATERAL (SELECT count(*) AS workers, coalesce(sum(slots) FILTER (WHERE NOT draining), 0) AS slots
      FROM workers w WHERE w.pool_id = p.id AND {ONLINE}) AS w
    CROSS JOIN LATERAL (SELECT count(*) AS running FROM attempts a
      WHERE a.pool_id = p.id AND a.state = 'RUNNING') AS r
    ORDER BY u.seconds DESC
"""


def unclaimed(connection: Connection) -> list[Unclaimed]:
    """Pools in whose windows jobs have waited for a while."""
    rows = connection.execute(text(_UNCLAIMED), {"silence": settings.current().silence_seconds})
    return [Unclaimed(row.name, row.jobs, float(row.seconds), row.workers, max(0, row.free)) for row in rows]


@dataclass(frozen=True, slots=True)
class Silent:
    """A worker that was there within the last day, and says nothing now; `running`: attempts it should be running."""

    id: str
    name: str
    pool: str
    since: datetime
    running: int


_SILENT = """
    SELECT w.id, w.name, p.name AS pool, w.heartbeat_at AS since,
      (SELECT count(*) FROM attempts a WHERE a.worker_id = w.id AND a.state = 'RUNNING') AS running
    FROM workers w JOIN pools p ON p.id = w.pool_id
    WHERE NOT w.draining AND w.heartbeat_at BETWEEN now() - interval '1 day'
      AND now() - :silence * interval '1 second'
    ORDER BY running DESC, w.heartbeat_at DESC LIMIT 50
"""


def silent(connection: Connection) -> list[Silent]:
    """Workers that have stopped sending heartbeats."""
    rows = connection.execute(text(_SILENT), {"silence": settings.current().silence_seconds})
    return [Silent(encode("w", row.id), row.name, row.pool, row.since, row.running) for row in rows]


_OVERDUE = """
    SELECT count(*) FROM attempts
    WHERE state = 'RUNNING' AND lease_expires_at < now() - interval '10 seconds'
"""


def overdue(connection: Connection) -> int:
    """Attempts whose lease ended a while ago, and that no scheduler has ended: none is at work."""
    return int(connection.execute(text(_OVERDUE)).scalar_one())


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """How the database itself is. `bytes` is its size on disk."""

    connections: int
    max_connections: int
    bytes: int


_DATABASE = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
      current_setting('max_connections')::int AS max_connections, pg_database_size(current_database()) AS bytes
"""


def database(connection: Connection) -> DatabaseState:
    """Ask the database about itself."""
    row = connection.execute(text(_DATABASE)).one()
    return DatabaseState(row.connections, row.max_connections, row.bytes)


def running_on(
    connection: Connection, workspace_id: int, workers: Sequence[str]
) -> dict[str, list[tuple[int, str, datetime]]]:
    """The workspace's jobs that run on each of these workers: row id, name, since when."""
    statement = """
        SELECT a.worker_id, j.id, j.name, a.started_at AS since FROM attempts a JOIN jobs j ON j.id = a.job_id
        WHERE a.worker_id = ANY(CAST(:workers AS bigint[])) AND a.state = 'RUNNING' AND j.workspace_id = :workspace
        ORDER BY j.id LIMIT 1000
    """
    values = {"workers": [decode("w", worker) for worker in workers], "workspace": workspace_id}
    found: dict[str, list[tuple[int, str, datetime]]] = {}
    for row in connection.execute(text(statement), values):
        found.setdefault(encode("w", row.worker_id), []).append((row.id, row.name, row.since))
    return found
