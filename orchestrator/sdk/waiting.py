"""Waiting for a job: over broken connections, with a bar, and without ever taking the job along on Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from math import inf

from orchestrator.domain.errors import InvalidSpec, JobCancelled, JobFailed, WaitTimeout
from orchestrator.domain.quantities import format_duration, parse_duration
from orchestrator.domain.state import JobState
from orchestrator.domain.views import JobAccepted, JobSummary, LogPage
from orchestrator.sdk.progress import display
from orchestrator.sdk.sse import EventSource
from orchestrator.sdk.steps import Call, Steps
from orchestrator.sdk.transport import get, path

_TAIL = 20  # lines of the log that a JobFailed carries


class Watch:
    """The changes of one job, up to a deadline."""

    def __init__(self, job: JobAccepted | JobSummary, timeout: str | float | None) -> None:
        self._job = job
        self._seconds = inf if timeout is None else seconds_of(timeout)
        self._deadline = time.monotonic() + self._seconds
        self._source = EventSource(Call("GET", path("jobs", job.id, "watch")))
        self.ended = False

    def next(self) -> Steps[JobSummary]:
        """The job after its next change. Raises WaitTimeout at the deadline."""
        event = yield from self._source.next(self._deadline)
        if event is None:
            waited = format_duration(round(self._seconds, 1))
            hint = f"The job goes on. Attach again with `neutrino wait {self._job.id}`."
            raise WaitTimeout(f"{self._job.id} is still {self._job.state} after {waited}.", hint=hint)
        if event.type != "job":
            return (yield from self.next())
        self._job = job = JobSummary.model_validate_json(event.data, extra="ignore")
        self.ended = job.state.terminal
        return job


def until_success(
    job: JobAccepted | JobSummary,
    see: Callable[[JobSummary], object],
    *,
    progress: bool,
    timeout: str | float | None,
) -> Steps[None]:
    """Return when the job has succeeded. Raises JobFailed, JobCancelled, WaitTimeout."""
    watch = Watch(job, timeout)
    try:
        with display(job, shown=progress) as show:
            while not watch.ended:
                job = yield from watch.next()
                see(job)
                show(job)
    except KeyboardInterrupt:
        sys.stderr.write(f"Detached; {job.id} goes on. Attach again with `neutrino wait {job.id}`.\n")
        raise
    if isinstance(job, JobSummary) and job.state is not JobState.SUCCEEDED:
        raise (yield from _failure(job))


def _failure(job: JobSummary) -> Steps[JobFailed]:
    if job.state is JobState.CANCELLED:
        hint = f"Run it once more with `neutrino retry {job.id}`."
        return JobCancelled(f"{job.id} ({job.name}) was cancelled. {job.message}".strip(), hint=hint, reason=job.reason)
    log = yield from get(path("jobs", job.id, "logs"), LogPage, tail=_TAIL)
    return JobFailed(
        f"{job.id} ({job.name}) failed: {job.message or job.reason}",
        hint=f"Its log: `neutrino logs {job.id}`. Once more: `neutrino retry {job.id}`.",
        reason=job.reason,
        exit_code=job.exit_code,
        log_tail=[line.text for line in log.lines],
    )


def seconds_of(timeout: str | float) -> float:
    """A timeout in seconds. Raises InvalidSpec when it is no duration."""
    try:
        return parse_duration(timeout)
    except ValueError as error:
        raise InvalidSpec(f"timeout={timeout!r}: {error}.") from None
