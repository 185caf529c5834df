"""Jobs: accepted here, moved only by `transitions`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.ids import AttemptId, decode, encode
from orchestrator.domain.placement import Shape
from orchestrator.domain.retry import Counters
from orchestrator.domain.spec import JobSpec
from orchestrator.domain.state import AttemptState, JobState, Reason
from orchestrator.domain.transfer import OWN_KINDS
from orchestrator.domain.views import AttemptView, EventView, JobSummary, JobView, Page
from orchestrator.store import explain, inputs, max_cost, recovery
from orchestrator.store.notify import JOBS, QUEUE, notify
from orchestrator.store.transitions import Change, transition

_INSERT = """
WITH given AS (
  SELECT * FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS g(
    ord int, name text, kind text, labels jsonb, document jsonb, spec_hash text, shape text, standby text,
    max_cost_usd float8)
), made AS (
  INSERT INTO jobs (workspace_id, user_name, name, kind, labels, document, spec_hash, shape, standby,
    max_cost_usd, reason, message, traceparent)
  SELECT :workspace, :user, name, kind, labels, document, decode(spec_hash, 'hex'), shape, standby,
    max_cost_usd, :reason, :message, :traceparent
  FROM given ORDER BY ord
  RETURNING id, state, labels
), labelled AS (
  INSERT INTO job_labels (workspace_id, key, value, job_id)
  SELECT :workspace, pair.key, pair.value, made.id FROM made, jsonb_each_text(made.labels) AS pair
), told AS (
  INSERT INTO events (job_id, epoch, target, reason, message, actor)
  SELECT id, 0, state, :reason, :message, :actor FROM made ORDER BY id
)
SELECT id FROM made ORDER BY id
"""


def submit(
    connection: Connection, workspace_id: int, user: str, specs: Sequence[JobSpec], traceparent: str | None = None
) -> list[int]:
    """Store jobs for these specs, all or none; returns their row ids in the order of the specs. `traceparent` is the
    trace that the request belongs to (`orchestrator.traces`). Raises InvalidSpec for inputs that cannot be read."""
    pinned = inputs.pin(connection, workspace_id, specs)
    rows = [
        {
            "ord": index,
            "name": spec.name,
            "kind": spec.kind,
            "labels": spec.labels,
            "document": spec.document(),
            "spec_hash": spec.digest(),
            "shape": inputs.shape(spec, pinned).key(),
            "standby": spec.placement.standby,
            "max_cost_usd": spec.placement.max_cost_usd,
        }
        for index, spec in enumerate(specs)
    ]
    ids = connection.execute(
        text(_INSERT),
        {
            "jobs": json.dumps(rows),
            "workspace": workspace_id,
            "user": user,
            "reason": Reason.SUBMITTED,
            "message": "Waiting for the dispatcher.",
            "actor": f"user:{user}",
            "traceparent": traceparent,
        },
    ).scalars()
    made = list(ids)
    inputs.keep(connection, made, specs, pinned)
    notify(connection, {QUEUE: (), JOBS: made})
    return made


SUMMARY_COLUMNS = """
  j.id, j.name, j.kind, j.labels, j.user_name, j.state, j.reason, j.message, j.epoch, p.name AS pool, a.progress,
  a.note, j.exit_code, j.created_at, j.started_at, j.finished_at, j.shape, j.not_before,
  j.not_before > clock_timestamp() AS held_back
"""
SUMMARY_TABLES = """
  jobs j
  LEFT JOIN pools p ON p.id = j.pool_id
  LEFT JOIN attempts a ON a.job_id = j.id AND a.epoch = j.epoch
"""


def views(connection: Connection, rows: Sequence[Row[Any]]) -> list[JobSummary]:
    """The views of rows that have SUMMARY_COLUMNS; those of queued jobs say why they wait."""
    waiting = explain.waiting(connection, rows)
    return [JobSummary(**_summary_fields(row, waiting)) for row in rows]


def _summary_fields(row: Row[Any], waiting: Mapping[int, str]) -> dict[str, Any]:
    running = row.state == JobState.RUNNING
    return {
        "id": encode("j", row.id),
        "name": row.name,
        "kind": row.kind,
        "labels": row.labels,
        "user": row.user_name,
        "state": JobState(row.state),
        "reason": row.reason,
        "message": row.note if running and row.note else waiting.get(row.id, row.message),
        "epoch": row.epoch,
        "pool": row.pool,
        "progress": 1.0 if row.state == JobState.SUCCEEDED else row.progress,
        "exit_code": row.exit_code,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def _missing(public_id: str) -> NotFound:
    return NotFound(f"There is no job {public_id} in this workspace.", hint="`neutrino ps` lists the newest jobs.")


def find(connection: Connection, workspace_id: int, public_id: str) -> int:
    """The row id of a job of this workspace. Raises NotFound, also for another workspace's job."""
    statement = "SELECT id FROM jobs WHERE id = :id AND workspace_id = :workspace"
    row = connection.execute(text(statement), {"id": decode("j", public_id), "workspace": workspace_id}).one_or_none()
    if row is None:
        raise _missing(public_id)
    found: int = row.id
    return found


def summaries(connection: Connection, ids: Sequence[int]) -> list[JobSummary]:
    """The jobs with these row ids, in no particular order; the caller has made sure of the workspace."""
    statement = f"SELECT {SUMMARY_COLUMNS} FROM {SUMMARY_TABLES} WHERE j.id = ANY(CAST(:ids AS bigint[]))"
    return views(connection, connection.execute(text(statement), {"ids": list(ids)}).all())


def get(connection: Connection, workspace_id: int, public_id: str) -> JobView:
    """One job with its attempts. Raises NotFound."""
    job_id = find(connection, workspace_id, public_id)
    statement = f"""
        SELECT {SUMMARY_COLUMNS}, j.moved_to, j.document, encode(j.spec_hash, 'hex') AS spec_hash, w.name AS workspace,
          (SELECT m.name || '@' || v.version FROM model_versions v JOIN models m ON m.id = v.model_id
           WHERE v.job_id = j.id) AS model
        FROM {SUMMARY_TABLES} JOIN workspaces w ON w.id = j.workspace_id WHERE j.id = :id
    """
    row = connection.execute(text(statement), {"id": job_id}).one()
    return JobView(
        **_summary_fields(row, explain.waiting(connection, [row])),
        document=row.document,
        spec_hash=row.spec_hash,
        workspace=row.workspace,
        attempts=tuple(_attempts(connection, job_id)),
        model=row.model,
        inputs=inputs.views(connection, job_id) if row.document["spec"].get("inputs") else (),
        moved_to=row.moved_to,
        standby=recovery.view(connection, job_id),
        interruption_seconds=recovery.interruption(connection, job_id) if row.epoch > 1 else None,
    )


def _attempts(connection: Connection, job_id: int) -> list[AttemptView]:
    statement = """
        SELECT a.*, w.name AS worker, p.name AS pool
        FROM attempts a JOIN workers w ON w.id = a.worker_id JOIN pools p ON p.id = a.pool_id
        WHERE a.job_id = :id ORDER BY a.epoch
    """
    return [
        AttemptView(
            id=str(AttemptId(job_id, row.epoch)),
            epoch=row.epoch,
            state=AttemptState(row.state),
            reason=row.reason,
            message=row.message,
            worker=row.worker,
            pool=row.pool,
            exit_code=row.exit_code,
            resumed_from_step=row.resumed_from_step,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
        for row in connection.execute(text(statement), {"id": job_id})
    ]


def events(connection: Connection, job_id: int, after: int, limit: int) -> Page[EventView]:
    """A job's history, oldest first, after the event with id `after`."""
    statement = "SELECT * FROM events WHERE job_id = :id AND id > :after ORDER BY id LIMIT :limit"
    rows = list(connection.execute(text(statement), {"id": job_id, "after": after, "limit": limit + 1}))
    items = tuple(
        EventView(
            id=row.id,
            at=row.at,
            job=encode("j", row.job_id),
            epoch=row.epoch,
            source=JobState(row.source) if row.source else None,
            target=JobState(row.target),
            reason=row.reason,
            message=row.message,
            actor=row.actor,
        )
        for row in rows[:limit]
    )
    return Page(items=items, next=str(items[-1].id) if len(rows) > limit else None)


# What cancelling makes of each state. Where nothing runs, it is done at once.
_CANCEL: dict[JobState, tuple[JobState, Reason, str]] = {
    JobState.QUEUED: (JobState.CANCELLED, Reason.CANCELLED_BY_USER, "Cancelled before it ran."),
    JobState.DISPATCHED: (JobState.CANCELLED, Reason.CANCELLED_BY_USER, "Cancelled before it ran."),
    JobState.RUNNING: (JobState.CANCELLING, Reason.CANCEL_REQUESTED, "Waiting for its processes to stop."),
}


def _locked(connection: Connection, job_id: int) -> Any:
    """The job's state, kind and shape, which stay so until the transaction ends."""
    statement = "SELECT state, kind, shape FROM jobs WHERE id = :id FOR NO KEY UPDATE"
    return connection.execute(text(statement), {"id": job_id}).one()


def cancel(connection: Connection, job_id: int, user: str) -> None:
    """Cancel a job; a second cancel changes nothing. Raises Conflict when it has finished."""
    state = JobState(_locked(connection, job_id).state)
    if state in {JobState.CANCELLING, JobState.CANCELLED}:
        return
    if state not in _CANCEL:
        raise Conflict(
            f"Job {encode('j', job_id)} has finished ({state}); there is nothing to cancel.",
            hint="`neutrino ps` lists what has not.",
        )
    target, reason, message = _CANCEL[state]
    change = Change(job_id=job_id, target=target, reason=reason, message=message, actor=f"user:{user}")
    transition(connection, [change])


def retry(connection: Connection, job_id: int, user: str) -> None:
    """Queue a failed or cancelled job again, with fresh budgets. Raises Conflict in any other state, when one of
    its inputs has been deleted, and when it has cost all that it may."""
    job = _locked(connection, job_id)
    if job.kind in OWN_KINDS:
        raise Conflict(
            f"Job {encode('j', job_id)} moved an artifact; what it had begun is being cleared away.",
            hint="Ask for the migration again, with `neutrino migrate model`.",
        )
    if job.state not in {JobState.FAILED, JobState.CANCELLED}:
        raise Conflict(
            f"Job {encode('j', job_id)} is {job.state}; only a failed or cancelled job can be retried.",
            hint="Submit it again to run it once more.",
        )
    inputs.require(connection, job_id)
    if (bill := max_cost.of(connection, job_id)) and bill.reached:
        raise Conflict(
            f"Job {encode('j', job_id)} would be stopped at once. {bill}",
            hint="Submit it again with more, in placement.maxCostUsd.",
        )
    shape = Shape.model_validate_json(job.shape).model_copy(update={"refused_by": ()})
    change = Change(
        job_id=job_id,
        target=JobState.QUEUED,
        shape=shape.key(),
        reason=Reason.RETRIED_BY_USER,
        message=f"Queued again by {user}.",
        actor=f"user:{user}",
        counters=Counters(),
    )
    transition(connection, [change])
