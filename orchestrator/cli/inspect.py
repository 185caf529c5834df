"""One job: what it is, why it is where it is, its history, its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.arguments import JobId, connect
from orchestrator.cli.output import (
    Column,
    Format,
    Output,
    ago,
    draw,
    emit,
    emit_data,
    emit_one,
    note,
    safe,
    state_cell,
    table,
    write,
)

if TYPE_CHECKING:
    from rich.text import Text

    from orchestrator.domain.inputs import InputView
    from orchestrator.domain.views import JobView, MetricSeries, Why
    from orchestrator.sdk.jobs import JobHandle

_BARS = "▁▂▃▄▅▆▇█"


def get(job: JobId, output: Output = Format.TABLE) -> None:
    """Show one job with its attempts."""
    with connect() as client:
        view: Any = client.jobs.get(job).view
    if not emit_one(view, output, name="id"):
        _describe(view, wide=output is Format.WIDE)


def _describe(job: JobView, *, wide: bool) -> None:
    draw(table(("", ""), _fields(job), fold=True))
    if job.attempts:
        write("\n")
        columns = (
            Column("ATTEMPT", lambda attempt: attempt.id),
            Column("STATE", lambda attempt: attempt.state),
            Column("STARTED", lambda attempt: _clock(attempt.started_at)),
            Column("FINISHED", lambda attempt: _clock(attempt.finished_at)),
            Column("WORKER", lambda attempt: attempt.worker or ""),
            Column("EXIT", lambda attempt: "" if attempt.exit_code is None else str(attempt.exit_code)),
            Column("MESSAGE", lambda attempt: attempt.message),
        )
        emit(job.attempts, columns, Format.TABLE, fold=True)
    if wide:
        write("\n")
        emit_data(job.document, Format.YAML)


def _fields(job: JobView) -> Iterator[tuple[str, str | Text]]:
    yield "Job", f"{job.id}  {job.name}"
    yield "State", state_cell(job.state)
    if job.message:
        yield "", job.message
    yield "Kind", job.kind
    yield "User", f"{job.user} in {job.workspace}"
    if job.labels:
        yield "Labels", ", ".join(f"{key}={value}" for key, value in job.labels.items())
    if job.pool:
        yield "Pool", job.pool
    if job.progress is not None and not job.state.terminal:
        yield "Done", f"{job.progress:.0%}"
    yield "Created", f"{_clock(job.created_at)}  ({ago(job.created_at)} ago)"
    if job.finished_at:
        yield "Finished", f"{_clock(job.finished_at)}  ({ago(job.finished_at)} ago)"
    yield from (("Input", _input(one)) for one in job.inputs)
    if job.model:
        yield "Model", job.model
    if job.moved_to:
        yield "Moved to", job.moved_to
    if job.standby:
        yield "Standby", job.standby.message
    if job.interruption_seconds is not None:
        yield "Away", f"{job.interruption_seconds:.1f} s, the last time it was moved or interrupted"


def _input(one: InputView) -> str:
    from orchestrator.domain.quantities import format_bytes

    came = f" from {one.store}" if one.store else ""
    return f"{one.name}: {one.ref}, {format_bytes(one.size)}{came}{'' if one.artifact else ', deleted since'}"


def _clock(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def why(job: JobId, output: Output = Format.TABLE) -> None:
    """Say why a job is where it is, and what to do next."""
    with connect() as client:
        answer = client.jobs.get(job).why()
    if not emit_one(answer, output):
        tell(answer)


def tell(answer: Why) -> None:
    """The sentence, the places considered, the next step."""
    position = f" Position {answer.position}." if answer.position is not None else ""
    write(safe(f"{answer.message or answer.reason}{position}").plain + "\n")
    width = max((len(place.pool) for place in answer.considered), default=0)
    for place in answer.considered:
        write(safe(f"  {place.pool:<{width}}  {place.verdict}").plain + "\n")
    for one in answer.tried:
        write(safe(f"  tried {one.pool} {one.at:%H:%M:%S}: {one.reason}. {one.message}").plain + "\n")
    if answer.standby:
        write(safe(f"Standby: {answer.standby.message}").plain + "\n")
    if answer.hint:
        write(safe(f"Next: {answer.hint}").plain + "\n")


def tell_if_stuck(job: JobHandle) -> None:
    """Say so when a job that was just submitted cannot start before somebody does something."""
    answer = job.why()
    if answer.state == "QUEUED" and answer.hint:
        note(safe(f"{answer.message} Next: {answer.hint}").plain, style="yellow")


def events(job: JobId, output: Output = Format.TABLE) -> None:
    """Show a job's history, oldest first."""
    columns = (
        Column("ID", lambda event: str(event.id), wide=True),
        Column("TIME", lambda event: _clock(event.at)),
        Column("STATE", lambda event: state_cell(event.target)),
        Column("TRY", lambda event: str(event.epoch), wide=True),
        Column("REASON", lambda event: event.reason),
        Column("BY", lambda event: event.actor),
        Column("MESSAGE", lambda event: event.message),
    )
    with connect() as client:
        emit(client.jobs.get(job).events(), columns, output, fold=True)


def metrics(
    job: JobId,
    name: Annotated[list[str] | None, typer.Option("--name", help="Only these metrics; repeatable.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the numbers that a job has logged."""
    with connect() as client:
        found = client.jobs.get(job).metrics
    series = [found[one] for one in name] if name else list(found.values())
    columns = (
        Column("METRIC", lambda one: one.name),
        Column("LAST", lambda one: _number(one.last)),
        Column("MIN", lambda one: _number(one.min)),
        Column("MAX", lambda one: _number(one.max)),
        Column("POINTS", lambda one: str(len(one.points))),
        Column("COURSE", _course),
    )
    emit(series, columns, output, name="name")
    if not series and output in {Format.TABLE, Format.WIDE}:
        note("Nothing yet. A job logs numbers with `nu.run().log_metrics({…})`.", style="dim")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _course(series: MetricSeries, width: int = 32) -> str:
    """The values as a row of bars, the last `width` of them."""
    values: Sequence[float] = [value for _, value in series.points if value is not None][-width:]
    if not values:
        return ""
    low, high = min(values), max(values)
    top = len(_BARS) - 1
    return "".join(_BARS[round((value - low) / (high - low) * top) if high > low else 0] for value in values)
