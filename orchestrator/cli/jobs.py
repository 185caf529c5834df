"""Many jobs: list them, wait for them, cancel and retry them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.arguments import JobIds, Timeout, connect, pairs
from orchestrator.cli.output import (
    Column,
    Format,
    Output,
    ago,
    colourful,
    duration,
    emit,
    note,
    state_cell,
    table,
)

if TYPE_CHECKING:
    from orchestrator.domain.views import JobSummary
    from orchestrator.sdk.jobs import JobHandle

_REDRAW_SECONDS = 1.0


def _ran(job: JobSummary) -> str:
    if job.started_at is None:
        return ""
    return duration(((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds())


def _done(job: JobSummary) -> str:
    return "" if job.progress is None or job.state.terminal else f"{job.progress:.0%}"


COLUMNS = (
    Column("ID", lambda job: job.id),
    Column("NAME", lambda job: job.name),
    Column("STATE", lambda job: state_cell(job.state)),
    Column("DONE", _done),
    Column("AGE", lambda job: ago(job.created_at)),
    Column("RAN", _ran),
    Column("KIND", lambda job: job.kind, wide=True),
    Column("USER", lambda job: job.user, wide=True),
    Column("POOL", lambda job: job.pool or "", wide=True),
    Column("TRY", lambda job: str(job.epoch), wide=True),
    Column("LABELS", lambda job: ",".join(f"{key}={value}" for key, value in job.labels.items()), wide=True),
    Column("MESSAGE", lambda job: job.message),
)


def list_jobs(
    state: Annotated[list[str] | None, typer.Option("--state", "-s", help="Only this state; repeatable.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only jobs of this name.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Only with this label; repeatable.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only jobs of this person.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Only jobs in this pool.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DURATION", help="Only the last 10m, 2d.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many; 0 for all.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep the table up to date.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """List jobs, newest first."""
    if watch and output not in {Format.TABLE, Format.WIDE}:
        raise typer.BadParameter("only tables can be watched.", param_hint="--watch")
    filters: dict[str, Any] = {
        "state": [one.upper() for one in state or ()] or None,
        "name": name,
        "label": pairs(label or (), "--label"),
        "user": user,
        "pool": pool,
        "since": since,
    }
    with connect() as client:

        def fetch() -> list[Any]:
            return [job.view for job in client.jobs.list(**filters, limit=limit + 1 if limit else None)]

        if watch:
            _watch(fetch, limit or None, output)
        jobs = fetch()
        emit(islice(jobs, limit or None), COLUMNS, output)
    if limit and len(jobs) > limit:
        note(f"There are more; --limit 0 lists all, --since and --state fewer than {limit}.", style="dim")
    elif not jobs and output in {Format.TABLE, Format.WIDE}:
        note("No jobs. Submit one with `neutrino run -- echo hello`.", style="dim")


def _watch(fetch: Callable[[], list[Any]], limit: int | None, output: Format) -> None:
    """Redraw the table until Ctrl-C; without a terminal, print it again whenever it has changed."""
    if not colourful(sys.stdout):
        last: list[Any] | None = None
        while True:
            if (jobs := fetch()[:limit]) != last:
                emit(jobs, COLUMNS, output)
                last = jobs
            time.sleep(_REDRAW_SECONDS)
    from rich.live import Live

    shown = [column for column in COLUMNS if output is Format.WIDE or not column.wide]
    with Live(auto_refresh=False, transient=False) as live:
        while True:
            rows = ([column.cell(job) for column in shown] for job in fetch()[:limit])
            live.update(table([column.title for column in shown], rows), refresh=True)
            time.sleep(_REDRAW_SECONDS)


def wait(jobs: JobIds, timeout: Timeout = None) -> None:
    """Wait until jobs have ended.

    The exit code is 0 when all succeeded, 8 when one failed, 9 when one was cancelled, 124 at the timeout, which counts
    for all of them together. Ctrl-C stops the waiting, not the jobs.
    """
    from orchestrator.domain.errors import JobFailed
    from orchestrator.sdk.waiting import seconds_of

    deadline = None if timeout is None else time.monotonic() + seconds_of(timeout)
    failures: list[JobFailed] = []
    with connect() as client:
        for job in [client.jobs.get(job) for job in jobs]:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            try:
                job.wait(progress=True, timeout=left)
            except JobFailed as failure:
                failures.append(failure)
    if failures:
        raise min(failures, key=lambda failure: failure.exit_code)


def cancel(jobs: JobIds) -> None:
    """Cancel jobs. One that runs gets time to save itself."""
    with connect() as client:
        _each(jobs, client.jobs.get, lambda job: job.cancel())


def retry(jobs: JobIds) -> None:
    """Run failed or cancelled jobs again.

    Each resumes from its last checkpoint.
    """
    with connect() as client:
        _each(jobs, client.jobs.get, lambda job: job.retry())


def _each(ids: Iterable[str], get: Callable[[str], JobHandle], act: Callable[[JobHandle], JobSummary]) -> None:
    """Act on every job, also after one of them refused; raises the first refusal at the end."""
    from orchestrator.domain.errors import Conflict, NotFound

    refusals: list[Conflict | NotFound] = []
    for job_id in ids:
        try:
            now = act(get(job_id))
        except (Conflict, NotFound) as refusal:
            refusals.append(refusal)
            continue
        text = state_cell(now.state)
        note(f"{text.plain}  {now.id}  {now.name}", style=str(text.style))
    for error in refusals[1:]:
        note(f"Error: {error.message}", style="red")
    if refusals:
        raise refusals[0]
