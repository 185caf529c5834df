"""Jobs: submit, list, look, cancel, retry, explain."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request

from cloud_adapters.egress import usd_per_gib
from orchestrator import traces
from orchestrator.api.auth import Submitter, Viewer
from orchestrator.api.dependencies import Cursor, Db, IdempotencyKey, Limit, fingerprint
from orchestrator.domain import document
from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.ids import encode
from orchestrator.domain.spec import JobSpec
from orchestrator.domain.state import JobState
from orchestrator.domain.views import (
    EventView,
    JobAccepted,
    JobBatch,
    JobBatchAccepted,
    JobSummary,
    JobView,
    MetricSeries,
    Page,
    Why,
)
from orchestrator.store import audit, explain, files, filters, idempotency, inputs, jobs, listing, pools, streams

router = APIRouter(prefix="/v1", tags=["jobs"])

Document = Annotated[
    dict[str, Any],
    Body(description="A job document; its schema is at /schemas/job.v1.json.", examples=[{"kind": "Train"}]),
]
_ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"description": "Stored. The job will run whatever happens now."}}


def _accept(
    request: Request, db: Db, caller: Submitter, key: str | None, sent: object, specs: list[JobSpec]
) -> dict[str, Any]:
    identity = fingerprint(request, json.dumps(sent, sort_keys=True).encode())
    with db.transaction() as connection:

        def effect() -> dict[str, Any]:
            files.require(connection, caller.workspace_id, specs)
            pools.check_gpus(connection, specs)
            ids = jobs.submit(connection, caller.workspace_id, caller.user, specs, request.scope[traces.HEADER])
            made = [encode("j", job_id) for job_id in ids]
            audit.about(" ".join(made), jobs=made)
            return {"ids": ids}

        return idempotency.once(connection, caller.workspace_id, key, identity, effect)


def _accepted(job_id: int, spec: JobSpec) -> JobAccepted:
    return JobAccepted(id=encode("j", job_id), name=spec.name, state=JobState.QUEUED)


@router.post("/jobs", status_code=202, responses=_ACCEPTED)
def submit(request: Request, db: Db, caller: Submitter, key: IdempotencyKey, body: Document) -> JobAccepted:
    """Submit a job. The answer comes after it has been committed."""
    spec = document.parse(body)
    stored = _accept(request, db, caller, key, body, [spec])
    return _accepted(stored["ids"][0], spec)


@router.post("/jobs/batch", status_code=202, responses=_ACCEPTED)
def submit_batch(request: Request, db: Db, caller: Submitter, key: IdempotencyKey, body: JobBatch) -> JobBatchAccepted:
    """Submit up to 1,000 jobs in one transaction: all are accepted, or none."""
    specs: list[JobSpec] = []
    faults: list[FieldError] = []
    for index, one in enumerate(body.jobs):
        try:
            specs.append(document.parse(one))
        except InvalidSpec as error:
            faults += [FieldError(f"jobs[{index}].{fault.path}", fault.message, fault.hint) for fault in error.errors]
    if faults:
        raise InvalidSpec.of(faults)
    stored = _accept(request, db, caller, key, body.jobs, specs)
    pairs = zip(stored["ids"], specs, strict=True)
    return JobBatchAccepted(jobs=tuple(_accepted(job_id, spec) for job_id, spec in pairs))


@router.post("/plan")
def plan(db: Db, caller: Submitter, body: Document) -> Why:
    """What would become of a job if it were submitted now. Nothing is stored."""
    spec = document.parse(body)
    with db.transaction() as connection:
        pinned = inputs.pin(connection, caller.workspace_id, [spec])
        return explain.plan(connection, inputs.shape(spec, pinned, exact=True), usd_per_gib)


def _labels(label: Annotated[list[str], Query()]) -> list[tuple[str, str]]:
    pairs = [tuple(text.partition("=")[::2]) for text in label]
    if wrong := [text for text in label if "=" not in text]:
        raise InvalidSpec.of([FieldError("query.label", f"{wrong[0]!r} is not a label", "Write key=value.")])
    return [(key, value) for key, value in pairs]


@router.get("/jobs")
def list_jobs(
    db: Db,
    caller: Viewer,
    state: Annotated[list[JobState], Query(description="Any of these states.")] = [],  # noqa: B006 - FastAPI copies it
    name: str | None = None,
    label: Annotated[list[str], Query(description="key=value; all must match.")] = [],  # noqa: B006
    user: str | None = None,
    kind: str | None = None,
    pool: str | None = None,
    since: datetime | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[JobSummary]:
    """The workspace's jobs, newest first. A page may be short, or empty, while its `next` says that there is more: no
    request looks at more than some thousand jobs."""
    chosen = filters.JobFilter(
        states=tuple(dict.fromkeys(state)),
        name=name,
        labels=_labels(label),
        user=user,
        kind=kind,
        pool=pool,
        since=since,
    )
    with db.transaction() as connection:
        return listing.page(connection, caller.workspace_id, chosen, cursor=cursor, limit=limit)


@router.get("/jobs/{job_id}")
def get_job(db: Db, caller: Viewer, job_id: str) -> JobView:
    """One job with its attempts."""
    with db.transaction() as connection:
        return jobs.get(connection, caller.workspace_id, job_id)


@router.post("/jobs/{job_id}/cancel")
def cancel(request: Request, db: Db, caller: Submitter, key: IdempotencyKey, job_id: str) -> JobSummary:
    """Cancel a job. It is CANCELLED once its processes are gone; cancelling twice is the same as once."""
    return _move(request, db, caller, key, job_id, jobs.cancel)


@router.post("/jobs/{job_id}/retry")
def retry(request: Request, db: Db, caller: Submitter, key: IdempotencyKey, job_id: str) -> JobSummary:
    """Queue a failed or cancelled job again; it resumes from its last checkpoint."""
    return _move(request, db, caller, key, job_id, jobs.retry)


def _move(request: Request, db: Db, caller: Submitter, key: str | None, job_id: str, move: Any) -> JobSummary:
    with db.transaction() as connection:
        row_id = jobs.find(connection, caller.workspace_id, job_id)

        def effect() -> dict[str, Any]:
            move(connection, row_id, caller.user)
            return jobs.summaries(connection, [row_id])[0].model_dump(mode="json")

        answer = idempotency.once(connection, caller.workspace_id, key, fingerprint(request), effect)
        return JobSummary.model_validate(answer)


@router.get("/jobs/{job_id}/why")
def why(db: Db, caller: Viewer, job_id: str) -> Why:
    """Why the job is where it is, and what to do next."""
    with db.transaction() as connection:
        return explain.why(connection, jobs.find(connection, caller.workspace_id, job_id), usd_per_gib)


@router.get("/jobs/{job_id}/events")
def events(
    db: Db, caller: Viewer, job_id: str, limit: Limit = 200, after: Annotated[int, Query(ge=0)] = 0
) -> Page[EventView]:
    """The job's history, oldest first."""
    with db.transaction() as connection:
        return jobs.events(connection, jobs.find(connection, caller.workspace_id, job_id), after, limit)


@router.get("/jobs/{job_id}/metrics")
def metrics(db: Db, caller: Viewer, job_id: str, name: str | None = None) -> list[MetricSeries]:
    """The job's metrics by name, each over its steps."""
    with db.transaction() as connection:
        return streams.series(connection, jobs.find(connection, caller.workspace_id, job_id), name)
