"""The audit log."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import Column, Format, Output, ago, emit, emit_one, note

_COLUMNS = (
    Column("ENTRY", lambda entry: str(entry.seq)),
    Column("AGE", lambda entry: ago(entry.at)),
    Column("USER", lambda entry: entry.actor),
    Column("ROLE", lambda entry: entry.role, wide=True),
    Column("VIA", lambda entry: entry.via),
    Column("ACTION", lambda entry: entry.action),
    Column("TARGET", lambda entry: entry.target),
    Column("REQUEST", lambda entry: entry.request_id, wide=True),
)


def list_audit(
    output: Output = Format.TABLE,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 100,
) -> None:
    """List who did what, newest first."""
    with connect() as client:
        emit(list(islice(client.audit.list(), limit)), _COLUMNS, output, name="seq")


def verify(output: Output = Format.TABLE) -> None:
    """Compute the chain of hashes again; exit code 1 when it is broken."""
    with connect() as client:
        verdict = client.audit.verify()
    if not emit_one(verdict, output):
        note(verdict.message, style="red" if verdict.broken_at else "green")
        if verdict.head:
            note(f"Newest hash {verdict.head}: kept elsewhere, it proves later that nothing was rewritten.")
    if verdict.broken_at:
        raise typer.Exit(1)
