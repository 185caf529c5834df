"""Logs as pages and as a live stream, and the live state of a job. Streams resume where they broke."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from orchestrator.api.auth import Lasting, Viewer
from orchestrator.api.dependencies import Db, Limit, Watch
from orchestrator.domain.state import JobState
from orchestrator.domain.views import JobSummary, LogPage
from orchestrator.store import jobs
from orchestrator.store.changes import changed
from orchestrator.store.log_lines import START, Lines, LogPosition, lines, tail
from orchestrator.store.session import Database

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

_CHUNK = 1000


def _found(db: Db, caller: Viewer, job_id: str) -> int:
    """The job's row id, looked up before a stream begins, so that a wrong id is still a plain 404."""
    with db.transaction() as connection:
        return jobs.find(connection, caller.workspace_id, job_id)


def _resume(after: str | None = None, last_event_id: Annotated[str | None, Header()] = None) -> LogPosition:
    """Where a stream goes on, read before it begins, so that nonsense is still a plain 422."""
    line = last_event_id or after
    return START if line is None else LogPosition.parse(line)


Found = Annotated[int, Depends(_found)]
Resume = Annotated[LogPosition, Depends(_resume)]


def _read(
    db: Database, job_id: int, after: LogPosition, limit: int, since: datetime | None = None, newest: int | None = None
) -> tuple[JobState, Lines]:
    """The job's state, and lines of its log; with `newest`, its last ones."""
    with db.transaction() as connection:
        # The state first: lines that a finished job has written are all there when it is seen to have finished.
        state = jobs.summaries(connection, [job_id])[0].state
    with db.transaction() as connection:
        if newest is None:
            return state, lines(connection, job_id, after, limit, since)
        last = tail(connection, job_id, newest, after, since)
        return state, Lines(last, LogPosition(last[-1].epoch, last[-1].line) if last else after, whole=True)


@router.get("/logs")
def logs(
    db: Db,
    job: Found,
    after: Annotated[str | None, Query(description="The id of the line after which to begin.")] = None,
    since: Annotated[datetime | None, Query(description="Only what was written at this time or later.")] = None,
    newest: Annotated[
        int | None, Query(alias="tail", ge=1, le=10_000, description="Of the last so many lines; `limit` is not asked.")
    ] = None,
    limit: Limit = 1000,
) -> LogPage:
    """Lines of the job's log over all of its attempts, in order. A page may be empty although later ones are not: there
    is more as long as `next` changes."""
    position = START if after is None else LogPosition.parse(after)
    state, found = _read(db, job, position, limit, since, newest)
    return LogPage(
        lines=tuple(found.entries),
        next=after if found.reached == position else str(found.reached),
        complete=state.terminal and found.whole,
    )


@router.get("/logs/stream", response_class=EventSourceResponse)
async def follow(
    db: Db,
    good: Lasting,
    watch: Watch,
    job: Found,
    position: Resume,
    since: datetime | None = None,
) -> AsyncIterator[ServerSentEvent]:
    """The log as it is written. Each event's id resumes the stream after it; `end` comes when the job has ended."""
    with watch.watch(job) as event:
        while not watch.stopping:
            state, found = await run_sync(_read, db, job, position, _CHUNK, since)
            if not await run_sync(good):
                return  # who comes back is told why
            for entry in found.entries:
                yield ServerSentEvent(event="log", id=entry.id, data=entry)
            position = found.reached
            if not found.whole:
                continue
            if state.terminal:
                yield ServerSentEvent(event="end", data={"state": state})
                return
            await changed(event)


def _summary(db: Database, job_id: int) -> JobSummary:
    with db.transaction() as connection:
        return jobs.summaries(connection, [job_id])[0]


@router.get("/watch", response_class=EventSourceResponse)
async def watch_job(db: Db, good: Lasting, watch: Watch, job: Found) -> AsyncIterator[ServerSentEvent]:
    """The job's state, at once and whenever it or its progress changes; ends when the job has ended."""
    last: JobSummary | None = None
    with watch.watch(job) as event:
        while not watch.stopping:
            current = await run_sync(_summary, db, job)
            if not await run_sync(good):
                return
            if current != last:
                last = current
                yield ServerSentEvent(event="job", data=current)
            if current.state.terminal:
                return
            await changed(event)
