"""The one door through which jobs and attempts change their state. No other code writes a state.

One statement moves any number of jobs: it locks them in the order of their ids, keeps those for which the move is
allowed (the table `job_transitions`) and whose epoch is the one named; it updates job and attempt and writes the event,
all at once or not at all. Who acts for an attempt holds its lease meanwhile (`store.fence`).

Locks are always taken job first, then attempt, so that two callers cannot wait for each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator import metrics, traces
from orchestrator.domain.ids import AttemptId, encode
from orchestrator.domain.retry import Counters
from orchestrator.domain.state import AttemptState, JobState, Reason
from orchestrator.store import notifications, replicas
from orchestrator.store.notify import JOBS, QUEUE, WORKERS, notify


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A move that somebody wants to make. What is None stays as it is."""

    job_id: int
    target: JobState
    reason: Reason
    message: str
    actor: str
    epoch: int | None = None
    """Move only if this is still the job's epoch."""
    pool_id: int | None = None
    delay: float = 0.0
    """For QUEUED: not before so many seconds from now."""
    shape: str | None = None
    """For QUEUED: what placement is to look at from now on."""
    exit_code: int | None = None
    counters: Counters | None = None
    ends: AttemptState | None = None
    """How the newest attempt ends with this move."""
    worker_id: int | None = None
    """For RUNNING: who claims it."""
    token_hash: str | None = None
    """For RUNNING: the SHA-256 of the attempt's token, in hex."""
    lease_seconds: float | None = None
    resumed_from_step: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A move that was made. `epoch` is the job's epoch after it."""

    job_id: int
    source: JobState
    target: JobState
    epoch: int
    worker_id: int | None
    reason: str
    age: float
    """Seconds since the job was submitted."""
    traceparent: str | None
    since: datetime | None
    """For a job that is traced: when it came to `source`."""
    at: datetime

    @property
    def attempt(self) -> AttemptId:
        """The newest attempt."""
        return AttemptId(self.job_id, self.epoch)


_MOVE = f"""
WITH change AS (
  SELECT * FROM jsonb_to_recordset(CAST(:changes AS jsonb)) AS c(
    job_id bigint, target text, reason text, message text, actor text, epoch int, pool_id bigint,
    delay float8, shape text, exit_code int, counters jsonb, ends text, worker_id bigint, token_hash text,
    lease_seconds float8, resumed_from_step bigint)
), held AS MATERIALIZED (
  SELECT j.id, j.state AS source, c.*
  FROM jobs j
  JOIN change c ON c.job_id = j.id
  JOIN job_transitions t ON t.source = j.state AND t.target = c.target
  WHERE (c.epoch IS NULL OR c.epoch = j.epoch)
  ORDER BY j.id
  FOR NO KEY UPDATE OF j
), moved AS (
  UPDATE jobs j SET
    state = h.target,
    reason = h.reason,
    message = h.message,
    epoch = j.epoch + CASE h.target WHEN 'RUNNING' THEN 1 ELSE 0 END,
    pool_id = CASE h.target WHEN 'DISPATCHED' THEN h.pool_id WHEN 'QUEUED' THEN NULL ELSE j.pool_id END,
    shape = coalesce(h.shape, j.shape),
    user_failures = coalesce((h.counters ->> 'user_failures')::int, j.user_failures),
    infra_failures = coalesce((h.counters ->> 'infra_failures')::int, j.infra_failures),
    preemptions = coalesce((h.counters ->> 'preemptions')::int, j.preemptions),
    worker_deaths = coalesce((h.counters ->> 'worker_deaths')::int, j.worker_deaths),
    exit_code = CASE h.target WHEN 'RUNNING' THEN NULL ELSE coalesce(h.exit_code, j.exit_code) END,
    not_before = CASE WHEN h.target = 'QUEUED' AND h.delay > 0
      THEN clock_timestamp() + h.delay * interval '1 second' END,
    dispatched_at = CASE h.target WHEN 'DISPATCHED' THEN clock_timestamp() ELSE j.dispatched_at END,
    started_at = CASE h.target WHEN 'RUNNING' THEN clock_timestamp() ELSE j.started_at END,
    finished_at = CASE WHEN h.target IN ('SUCCEEDED', 'FAILED', 'CANCELLED') THEN clock_timestamp() END
  FROM held h
  WHERE j.id = h.id
  RETURNING j.id, h.source, j.state AS target, j.epoch, j.pool_id, j.reason, j.message, h.actor, h.ends, h.exit_code,
    h.worker_id, h.token_hash, h.lease_seconds, h.resumed_from_step,
    extract(epoch FROM clock_timestamp() - j.created_at)::float8 AS age, j.traceparent, clock_timestamp() AS at,
    j.workspace_id, j.labels,
    CASE WHEN j.traceparent IS NOT NULL THEN
      (SELECT e.at FROM events e WHERE e.job_id = j.id ORDER BY e.id DESC LIMIT 1) END AS since
), began AS (
  INSERT INTO attempts (job_id, epoch, worker_id, pool_id, reason, token_hash, lease_expires_at, resumed_from_step)
  SELECT id, epoch, worker_id, pool_id, reason, decode(token_hash, 'hex'),
    clock_timestamp() + lease_seconds * interval '1 second', resumed_from_step
  FROM moved WHERE target = 'RUNNING'
), ended AS (
  UPDATE attempts a
  SET state = m.ends, reason = m.reason, message = m.message, exit_code = m.exit_code, finished_at = clock_timestamp()
  FROM moved m
  WHERE m.ends IS NOT NULL AND a.job_id = m.id AND a.epoch = m.epoch AND a.state = 'RUNNING'
), told AS (
  INSERT INTO events (job_id, epoch, source, target, reason, message, actor)
  SELECT id, epoch, source, target, reason, message, actor FROM moved ORDER BY id
), posted AS ({notifications.POST})
SELECT m.id, m.source, m.target, m.epoch, m.reason, m.age, m.traceparent, m.since, m.at,
  coalesce(m.worker_id, (SELECT a.worker_id FROM attempts a WHERE a.job_id = m.id AND a.epoch = m.epoch
    AND m.target = 'CANCELLING')) AS worker_id
FROM moved m
"""

_FIELDS = tuple(field.name for field in fields(Change))

# A queued job wants to be dispatched; a claimed one has made room in its pool's window.
_WAKES_DISPATCHER = frozenset({JobState.QUEUED, JobState.RUNNING})
_WITHOUT_SUCCESS = frozenset({JobState.FAILED, JobState.CANCELLED})


def transition(connection: Connection, changes: Sequence[Change]) -> list[Moved]:
    """Make those of `changes` that are allowed now; each job at most once. Returns the moves that were made."""
    if not changes:
        return []
    rows = connection.execute(text(_MOVE), {"changes": json.dumps([_row(change) for change in changes])})
    moved = [_moved(row) for row in rows]
    for move in moved:
        _measure(move)
    if given_up := [move.job_id for move in moved if move.target in _WITHOUT_SUCCESS]:
        replicas.abandon(connection, given_up)
    announce(connection, moved)
    return moved


_NOTE = """
WITH noted AS (
  UPDATE jobs SET reason = :reason, message = :message WHERE id = :job RETURNING id, epoch, state
)
INSERT INTO events (job_id, epoch, source, target, reason, message, actor)
SELECT id, epoch, state, state, :reason, :message, :actor FROM noted
"""


def note(connection: Connection, job_id: int, reason: Reason, message: str, actor: str) -> None:
    """Write into a job's history what happened to it without a move; the caller has locked the job."""
    values = {"job": job_id, "reason": reason, "message": message, "actor": actor}
    connection.execute(text(_NOTE), values)
    notify(connection, {JOBS: [job_id]})


def _moved(row: Row[Any]) -> Moved:
    return Moved(
        job_id=row.id,
        source=JobState(row.source),
        target=JobState(row.target),
        epoch=row.epoch,
        worker_id=row.worker_id,
        reason=row.reason,
        age=row.age,
        traceparent=row.traceparent,
        since=row.since,
        at=row.at,
    )


def _measure(move: Moved) -> None:
    """For Prometheus and for the job's trace, in which each state that it leaves is a span. A transaction that is
    rolled back after this counts too; that is rare, and the database knows."""
    metrics.TRANSITIONS.labels(move.target, move.reason).inc()
    if move.target is JobState.RUNNING and move.epoch == 1:
        metrics.WAIT.observe(move.age)
    if move.target.terminal:
        metrics.LIFETIME.labels(move.target).observe(move.age)
    if move.since is not None:
        traces.record(
            move.source.lower(),
            move.traceparent,
            move.since,
            move.at,
            job=encode("j", move.job_id),
            epoch=move.epoch,
            target=move.target,
            reason=move.reason,
        )


def _row(change: Change) -> dict[str, object]:
    """A change as a row of the statement, without what is None. (`asdict` copies deeply, which costs much more.)"""
    row = {name: value for name in _FIELDS if (value := getattr(change, name)) is not None}
    return row | {"counters": asdict(change.counters)} if change.counters else row


def announce(connection: Connection, moved: Sequence[Moved]) -> None:
    """Tell dispatchers, workers and watchers what has moved, once it is committed."""
    if not moved:
        return
    news: dict[str, Iterable[int]] = {JOBS: [move.job_id for move in moved]}
    if any(move.target in _WAKES_DISPATCHER for move in moved):
        news[QUEUE] = ()
    stopping = {move.worker_id for move in moved if move.target is JobState.CANCELLING and move.worker_id is not None}
    if stopping:
        news[WORKERS] = stopping
    notify(connection, news)
