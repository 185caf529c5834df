"""How the platform is: jobs by state, and its parts."""

from __future__ import annotations

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import Column, Format, Output, ago, draw, emit, emit_one, state_cell, table, write


def _count(jobs: int) -> str:
    from orchestrator.domain.views import COUNTED

    return f"{jobs:,}+" if jobs >= COUNTED else str(jobs)


def status(output: Output = Format.TABLE) -> None:
    """Show the jobs by state and the parts of the platform."""
    with connect() as client:
        now = client.status()
    if emit_one(now, output):
        return
    if output is not Format.NAME:
        draw(table(("JOBS", ""), ((state_cell(state), _count(count)) for state, count in now.jobs.items() if count)))
        write("\n")
    columns = (
        Column("COMPONENT", lambda part: part.name),
        Column("KIND", lambda part: part.kind, wide=True),
        Column("HEALTH", lambda part: part.state),
        Column("SEEN", lambda part: ago(part.seen_at)),
        Column("DETAIL", lambda part: part.detail),
    )
    emit(now.components, columns, output, name="name")
