"""Jobs: submit them, find them, and hold on to one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from orchestrator.domain.errors import FieldError, InvalidSpec, NotFound, nearest
from orchestrator.domain.moves import MoveView
from orchestrator.domain.spec import JobSpec
from orchestrator.domain.state import JobState
from orchestrator.domain.views import (
    ArtifactView,
    EventView,
    JobAccepted,
    JobBatchAccepted,
    JobSummary,
    JobView,
    LogEntry,
    MetricSeries,
    Why,
)
from orchestrator.sdk import logs, waiting
from orchestrator.sdk.binding import Bound, D, Fetched, Operation, Streaming
from orchestrator.sdk.logs import moment
from orchestrator.sdk.models import ModelVersion, fetch_version
from orchestrator.sdk.steps import Emit, Steps, Stream
from orchestrator.sdk.transport import collect, each, get, pages, path, post

View = TypeVar("View", bound=JobAccepted | JobSummary)

_BATCH = 500  # documents in one request: each batch is accepted as a whole or not at all
_OF_JOB = re.compile(r"jobs\[(\d+)\]\.")


def _counted_from(start: int, refused: InvalidSpec) -> InvalidSpec:
    """What is wrong with jobs of a batch, by their numbers among all jobs; `start` is that of the batch's first."""
    faults = []
    for fault in refused.errors if start else ():
        number = _OF_JOB.match(fault.path)
        index, field = (int(number[1]), fault.path[number.end() :]) if number else (0, fault.path)
        faults.append(FieldError(f"jobs[{start + index}].{field}", fault.message, fault.hint))
    return InvalidSpec.of(faults) if faults else refused


class UnknownMetric(NotFound, KeyError):
    """The job has logged nothing under this name. It is also a KeyError, because metrics are a mapping."""

    code = "unknown_metric"


class Metrics(dict[str, MetricSeries]):
    """The series of a job by name: `metrics["val/accuracy"].last`. Raises UnknownMetric."""

    def __missing__(self, name: str) -> MetricSeries:
        guess = nearest(name, self)
        hint = f"Did you mean {guess!r}?" if guess else f"There are: {', '.join(sorted(self)) or 'none yet'}."
        raise UnknownMetric(f"No metric {name!r}.", hint=hint, suggestions=[guess] if guess else [])


class JobHandle(Bound[D]):
    """A job of which one has the id. `state` and `view` are as of the last answer; `refresh` asks again."""

    def __init__(self, driver: D, view: JobAccepted | JobSummary) -> None:
        super().__init__(driver)
        self.id: str = view.id
        self.name: str = view.name
        self.view: JobAccepted | JobSummary = view

    @property
    def state(self) -> JobState:
        """Where the job was when the API was last asked."""
        return self.view.state

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.name!r} {self.state}>"

    @Operation
    def refresh(self) -> Steps[JobHandle[D]]:
        """Ask the API for the job as it is now; `view` then has its attempts and its document. Returns the
        handle."""
        yield from self._refreshed()
        return self

    @Operation
    def wait(self, *, progress: bool = False, timeout: str | float | None = None) -> Steps[JobHandle[D]]:
        """Wait until the job has succeeded. Survives broken connections and restarts of the API.

        `timeout` is in seconds or written as `1h30m`. With `progress`, a bar is drawn on standard error.
        Ctrl-C stops the waiting, never the job, and says how to attach again.
        Raises JobFailed with the reason, the exit code and the end of the log; JobCancelled; WaitTimeout.
        """
        yield from waiting.until_success(self.view, self._see, progress=progress, timeout=timeout)
        return self

    @Streaming
    def watch(self, *, timeout: str | float | None = None) -> Stream[JobSummary]:
        """The job now and after every change of its state or progress, until it has ended. Raises
        WaitTimeout."""
        watch = waiting.Watch(self.view, timeout)
        while not watch.ended:
            yield Emit(self._see((yield from watch.next())))

    @Streaming
    def logs(
        self, *, follow: bool = False, since: str | float | datetime | None = None, tail: int | None = None
    ) -> Stream[LogEntry]:
        """The lines that the job wrote, over all attempts. `follow` goes on until it has ended, and resumes
        where it broke.

        `since` is a duration back from now such as `10m`, or a time; `tail` begins with that many last
        lines.
        """
        yield from logs.lines(self.id, follow=follow, since=since, tail=tail)

    @Streaming
    def events(self) -> Stream[EventView]:
        """The job's history, oldest first."""
        yield from pages(path("jobs", self.id, "events"), EventView, cursor="after")

    @Operation
    def why(self) -> Steps[Why]:
        """Why the job is where it is, what was considered, and what to do next."""
        return (yield from get(path("jobs", self.id, "why"), Why))

    @Operation
    def cancel(self) -> Steps[JobSummary]:
        """Ask for the job's end. It is CANCELLED when nothing of it runs any more. Raises Conflict when it
        has ended."""
        return self._see((yield from post(path("jobs", self.id, "cancel"), JobSummary)))

    @Operation
    def retry(self) -> Steps[JobSummary]:
        """Run a failed or cancelled job once more, from its last checkpoint. Raises Conflict in any other
        state."""
        return self._see((yield from post(path("jobs", self.id, "retry"), JobSummary)))

    @Operation
    def migrate(self, to: str, *, dry_run: bool = False) -> Steps[MoveView]:
        """Let the job go on in the cloud `to`: it saves itself, stops, and resumes there from its checkpoint. `wait`
        then waits as before. With `dry_run` nothing is done, and the answer says what it would take.

        Raises InvalidSpec for an unknown cloud, NoPlace when no pool there can take it, and Conflict when it is there
        already, is on its way, or has ended.
        """
        body = {"to": to, "dryRun": dry_run}
        return (yield from post(path("jobs", self.id, "migrate"), MoveView, body))

    @Operation
    def checkpoint(self) -> Steps[JobSummary]:
        """Let the running job take a checkpoint at its next opportunity. Raises Conflict when it does not run."""
        return self._see((yield from post(path("jobs", self.id, "checkpoint"), JobSummary)))

    @Fetched
    def metrics(self) -> Steps[Metrics]:
        """The numbers that the job has logged, by name."""
        series = yield from get(path("jobs", self.id, "metrics"), list[MetricSeries])
        return Metrics((one.name, one) for one in series)

    @Fetched
    def model(self) -> Steps[ModelVersion[D]]:
        """The model version that the job has made. Raises NotFound when it has made none."""
        view = yield from self._refreshed()
        if view.model is None:
            hint = "Jobs register one with `outputs: {model: NAME}`, once they have succeeded."
            raise NotFound(f"{self.id} ({view.state}) has made no model.", hint=hint)
        return ModelVersion(self.driver, (yield from fetch_version(view.model)))

    @Fetched
    def artifacts(self) -> Steps[list[ArtifactView]]:
        """The sets of files that the job has published, newest first."""
        return (yield from collect(pages("/v1/artifacts", ArtifactView, job=self.id)))

    def _refreshed(self) -> Steps[JobView]:
        return self._see((yield from get(path("jobs", self.id), JobView)))

    def _see(self, view: View) -> View:
        self.view = view
        return view


class Jobs(Bound[D]):
    """The jobs of this workspace."""

    @Operation
    def submit(self, spec: JobSpec | Mapping[str, Any]) -> Steps[JobHandle[D]]:
        """Submit one job, given as a spec or as a document. Once this returns, the job is stored and will
        run.

        Raises InvalidSpec with every fault of the spec.
        """
        accepted = yield from post("/v1/jobs", JobAccepted, _document(spec))
        return JobHandle(self.driver, accepted)

    @Operation
    def submit_many(self, specs: Iterable[JobSpec | Mapping[str, Any]]) -> Steps[list[JobHandle[D]]]:
        """Submit any number of jobs in few requests, and return them in the same order.

        Up to 500 jobs are accepted together or not at all; when a later batch is refused, earlier ones stay
        submitted.
        """
        documents = [_document(spec) for spec in specs]
        handles: list[JobHandle[D]] = []
        for start in range(0, len(documents), _BATCH):
            body = {"jobs": documents[start : start + _BATCH]}
            try:
                accepted = yield from post("/v1/jobs/batch", JobBatchAccepted, body)
            except InvalidSpec as refused:
                raise _counted_from(start, refused) from None
            handles += [JobHandle(self.driver, job) for job in accepted.jobs]
        return handles

    @Operation
    def plan(self, spec: JobSpec | Mapping[str, Any]) -> Steps[Why]:
        """What would become of a job if it were submitted now: the pools considered, and why. Nothing is stored."""
        return (yield from post("/v1/plan", Why, _document(spec)))

    @Operation
    def get(self, job_id: str) -> Steps[JobHandle[D]]:
        """The job with this id. Raises NotFound."""
        return JobHandle(self.driver, (yield from get(path("jobs", job_id), JobView)))

    @Streaming
    def list(
        self,
        *,
        state: JobState | str | Sequence[JobState | str] | None = None,
        name: str | None = None,
        label: Mapping[str, str] | None = None,
        user: str | None = None,
        kind: str | None = None,
        pool: str | None = None,
        since: str | float | datetime | None = None,
        limit: int | None = None,
    ) -> Stream[JobHandle[D]]:
        """Jobs that fit every filter, newest first; fetched page by page while one iterates.

        `state` is one or several; `since` is a time, or a duration back from now such as `1h`.
        """
        filters: dict[str, Any] = {
            "name": name,
            "user": user,
            "kind": kind,
            "pool": pool,
            "since": moment(since),
        }
        labels = [f"{key}={value}" for key, value in (label or {}).items()]
        states = [state] if isinstance(state, str) else state
        summaries = pages("/v1/jobs", JobSummary, limit=limit, state=states, label=labels, **filters)
        yield from each(summaries, lambda summary: JobHandle(self.driver, summary))


def _document(spec: JobSpec | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(spec, JobSpec):
        return spec.document()
    if isinstance(spec, Mapping):
        return dict(spec)
    hint = "Submit nu.Train(…), nu.Command(…) or a document as a mapping; `neutrino apply -f` submits files."
    raise InvalidSpec(f"{spec!r:.80} is no job.", hint=hint)
