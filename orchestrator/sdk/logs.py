"""The lines of a job, as pages and as a stream that resumes after the last line seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.quantities import parse_duration
from orchestrator.domain.views import LogEntry, LogPage
from orchestrator.sdk.sse import EventSource
from orchestrator.sdk.steps import Call, Emit, Steps, Stream
from orchestrator.sdk.transport import get, path, query

_PAGE = 1000


def lines(job: str, *, follow: bool, since: str | float | datetime | None, tail: int | None) -> Stream[LogEntry]:
    """The lines from `since`, or the last `tail`, or all; with `follow` until the job has ended."""
    start = moment(since)
    last: str | None = None
    if not follow or start or tail is not None:
        page = yield from _page(job, since=start, tail=tail)
        while True:
            for line in page.lines:
                yield Emit(line)
            if page.next == last:
                break
            last = page.next
            page = yield from _page(job, since=start, after=last)
        if page.complete or not follow:
            return
    yield from _stream(job, last, start)


def _page(job: str, **window: str | int | None) -> Steps[LogPage]:
    limit = None if window.get("tail") is not None else _PAGE
    return (yield from get(path("jobs", job, "logs"), LogPage, limit=limit, **window))


def _stream(job: str, last: str | None, start: str | None) -> Stream[LogEntry]:
    call = Call("GET", path("jobs", job, "logs", "stream"), query(since=start))
    source = EventSource(call, last_id=last)
    while (event := (yield from source.next())) and event.type != "end":
        if event.type == "log":
            yield Emit(LogEntry.model_validate_json(event.data, extra="ignore"))


def moment(since: str | float | datetime | None) -> str | None:
    """A time in ISO 8601, from a time or from a duration back from now. Raises InvalidSpec for anything
    else."""
    if since is None:
        return None
    if isinstance(since, datetime):
        return since.astimezone(UTC).isoformat()
    try:
        return (datetime.now(UTC) - timedelta(seconds=parse_duration(since))).isoformat()
    except (ValueError, OverflowError):
        raise InvalidSpec(f"since={since!r} is no duration.", hint="Write it like 10m, 1h30m or 2d.") from None
