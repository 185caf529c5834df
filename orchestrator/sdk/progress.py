"""What a person sees while a job runs: a bar on a terminal, a line per change of state everywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.domain.state import JobState
from orchestrator.domain.views import JobAccepted, JobSummary

Show = Callable[[JobSummary], None]

# State as icon plus word plus colour: no one of the three alone carries the meaning.
LOOK = {
    JobState.QUEUED: ("○", "yellow"),
    JobState.DISPATCHED: ("◔", "cyan"),
    JobState.RUNNING: ("●", "blue"),
    JobState.CANCELLING: ("◌", "magenta"),
    JobState.SUCCEEDED: ("✓", "green"),
    JobState.FAILED: ("✗", "red"),
    JobState.CANCELLED: ("⊘", "bright_black"),
}


def animated() -> bool:
    """Whether standard error is a terminal on which something may move: not under NO_COLOR, nor TERM=dumb."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def display(job: JobAccepted | JobSummary, *, shown: bool) -> Iterator[Show]:
    """A function that shows the job's present state; nothing is written unless `shown`."""
    if not shown:
        yield lambda _: None
    elif animated():
        with _bar(job) as show:
            yield show
    else:
        yield _lines()


def _lines() -> Show:
    last: tuple[JobState, str] | None = None

    def show(job: JobSummary) -> None:
        nonlocal last
        now = (job.state, job.reason)
        if now != last:
            icon, _ = LOOK[job.state]
            sys.stderr.write(f"{icon} {job.id} {job.name}  {job.state}  {job.message}".rstrip() + "\n")
            sys.stderr.flush()
        last = now

    return show


@contextmanager
def _bar(job: JobAccepted | JobSummary) -> Iterator[Show]:
    from rich import progress as rp  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415 - only a terminal pays for rich

    columns = (
        rp.SpinnerColumn(finished_text=" "),
        rp.TextColumn("{task.description}", markup=True),
        rp.BarColumn(bar_width=28),
        rp.TaskProgressColumn(),
        rp.TimeElapsedColumn(),
        rp.TextColumn("{task.fields[message]}", style="dim", markup=False),
    )
    with rp.Progress(*columns, console=Console(stderr=True, highlight=False)) as bars:
        task = bars.add_task(f"[bold]{job.name}[/] {job.id}", total=None, message="")

        def show(now: JobSummary) -> None:
            icon, colour = LOOK[now.state]
            done = 1.0 if now.state is JobState.SUCCEEDED else now.progress
            bars.update(
                task,
                description=f"[bold]{now.name}[/] {now.id} [{colour}]{icon} {now.state}[/]",
                total=1.0 if done is not None or now.state.terminal else None,
                completed=done or 0.0,
                message=now.message,
            )

        yield show
