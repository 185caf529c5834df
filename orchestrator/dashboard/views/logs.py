"""The log of a job: a page of it, the lines that are new, and all of it as a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from orchestrator.dashboard import ansi
from orchestrator.dashboard.access import Db, Viewer
from orchestrator.dashboard.render import render
from orchestrator.dashboard.views.job import heading
from orchestrator.domain.ids import encode
from orchestrator.store import jobs, log_lines, log_pages
from orchestrator.store.log_lines import START, LogPosition
from orchestrator.store.log_pages import LogFilter

router = APIRouter(prefix="/jobs/{job_id}")

_PAGE = 500
_CONTEXT = 200
"""A link to a line shows so many lines before it."""
_CHUNK = 2_000

Id = Annotated[str, Query(max_length=32)]
Number = Annotated[str, Query(pattern=r"^[0-9]{0,9}$")]


def _chosen(q: str, stream: str, rank: str, attempt: str) -> LogFilter:
    known = stream if stream in {"stdout", "stderr", "system"} else None
    return LogFilter(known, int(rank) if rank else None, q, int(attempt) if attempt else None)


def _position(line: str) -> LogPosition | None:
    return LogPosition.parse(line) if line else None


@router.get("/log")
def page(
    request: Request,
    db: Db,
    viewer: Viewer,
    job_id: str,
    q: Annotated[str, Query(max_length=200)] = "",
    stream: Annotated[str, Query(max_length=10)] = "",
    rank: Number = "",
    attempt: Number = "",
    after: Id = "",
    before: Id = "",
    at: Id = "",
) -> Response:
    """A page of lines: the last ones, those after or before a line, or those around the line `at`."""
    chosen = _chosen(q, stream, rank, attempt)
    begin, end, around = _position(after), _position(before), _position(at)
    if around is not None:
        begin = LogPosition(around.epoch, max(0, around.line - _CONTEXT))
    with db.transaction() as connection:
        head = heading(connection, viewer, job_id)
        log = log_pages.page(connection, head.row_id, chosen, after=begin, before=end, limit=_PAGE)
    kept = {
        name: request.query_params[name]
        for name in ("q", "stream", "rank", "attempt")
        if request.query_params.get(name)
    }

    def address(**places: str) -> str:
        query = urlencode(kept | places)
        return f"/jobs/{head.job.id}/log" + (f"?{query}" if query else "")

    return render(
        request,
        "job_log.html",
        tab="log",
        chosen=chosen,
        log=log,
        ranks=log_pages.ranks(log.lines),
        forwards=begin is not None,
        effort=log_pages.EFFORT,
        live=log.later is None and not head.job.state.terminal,
        address=address,
        job_id=head.job.id,
        **head._asdict(),
    )


@router.get("/log/lines")
def lines(
    request: Request,
    db: Db,
    viewer: Viewer,
    job_id: str,
    after: Id,
    q: Annotated[str, Query(max_length=200)] = "",
    stream: Annotated[str, Query(max_length=10)] = "",
    rank: Number = "",
    attempt: Number = "",
) -> Response:
    """The lines after one that a page has: it asks again whenever the job has something new, and after every break."""
    with db.transaction() as connection:
        row_id = jobs.find(connection, viewer.workspace_id, job_id)
        state = jobs.summaries(connection, [row_id])[0].state
    with db.transaction() as connection:  # after the state: what an ended job has written is all there
        log = log_pages.page(
            connection, row_id, _chosen(q, stream, rank, attempt), after=LogPosition.parse(after), limit=_PAGE
        )
    answer = render(request, "_lines.html", lines=log.lines, job_id=encode("j", row_id))
    answer.headers["X-Last"] = log.later or (log.lines[-1].id if log.lines else after)
    answer.headers["X-More"] = "1" if log.later else "0"
    answer.headers["X-Ended"] = "1" if state.terminal else "0"
    return answer


@router.get("/log.txt")
def download(db: Db, viewer: Viewer, job_id: str) -> StreamingResponse:
    """All lines as text, without colours."""
    with db.transaction() as connection:
        row_id = jobs.find(connection, viewer.workspace_id, job_id)

    def text() -> Iterator[str]:
        at = START
        while True:
            with db.transaction() as connection:
                found = log_lines.lines(connection, row_id, at, _CHUNK)
            yield "".join(f"{ansi.plain(line.text)}\n" for line in found.entries)
            if found.whole:
                return
            at = found.reached

    headers = {"Content-Disposition": f'attachment; filename="{encode("j", row_id)}.log"'}
    return StreamingResponse(text(), media_type="text/plain; charset=utf-8", headers=headers)
