"""`neutrino migrate job`: let a job go on in another cloud; and a checkpoint on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.arguments import JobId, JobIds, Timeout, connect
from orchestrator.cli.output import Format, Output, duration, emit_one, note, safe, size, write

if TYPE_CHECKING:
    from orchestrator.domain.moves import MoveView


def migrate_job(
    job: JobId,
    to: Annotated[str, typer.Option("--to", metavar="CLOUD", help="Where it goes: aws, gcp, azure or local.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until the job has succeeded there.")] = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Let a job go on in another cloud, from a checkpoint that it takes now."""
    with connect() as client:
        handle = client.jobs.get(job)
        view = handle.migrate(to, dry_run=dry_run)
        if not emit_one(view, output, name="job"):
            _tell(view, dry_run=dry_run)
        if wait and not dry_run:
            handle.wait(progress=True, timeout=timeout)


def _tell(view: MoveView, *, dry_run: bool) -> None:
    load = f"{size(view.bytes_to_move)} to move for ${view.egress_usd:.2f}" if view.bytes_to_move else "nothing to move"
    if view.bytes_ahead:
        load += f" ({size(view.bytes_ahead)} of it while it still runs)"
    step = "no checkpoint yet" if view.step is None else f"checkpoint of step {view.step}"
    write(safe(f"{view.job}  {view.source or 'queue'} → {view.target} (pool {view.pool})").plain + "\n")
    write(f"  {step}, {load}; away for about {duration(view.downtime_seconds)}\n")
    note("Nothing has been changed." if dry_run else view.message, style="dim")


def checkpoint(jobs: JobIds) -> None:
    """Let running jobs take a checkpoint now."""
    with connect() as client:
        for job in jobs:
            client.jobs.get(job).checkpoint()
            note(f"{job}  is asked for a checkpoint")
