"""Models that go to another cloud: planned, asked about, begun, watched; and copies that are checked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.arguments import Timeout, connect, rate
from orchestrator.cli.output import (
    Column,
    Format,
    Output,
    ago,
    draw,
    duration,
    emit,
    emit_one,
    note,
    size,
    state_cell,
    table,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.transfer import MigrationPlan, MigrationView
    from orchestrator.sdk.migrations import Migration

Ref = Annotated[
    str, typer.Argument(metavar="MODEL[@VERSION]", help="Such as digits-cnn@1, or digits-cnn@prod.", show_default=False)
]
MigrationIds = Annotated[list[str], typer.Argument(metavar="MIGRATION...", help="Ids of migrations.")]


def _copied(migration: MigrationView) -> str:
    if migration.moved_bytes is None or migration.total_bytes is None:
        return "" if migration.progress is None else f"{migration.progress:.0%}"
    return f"{size(migration.moved_bytes)} of {size(migration.total_bytes)}"


COLUMNS = (
    Column("ID", lambda migration: migration.id),
    Column("MODEL", lambda migration: migration.model or migration.artifact),
    Column("STATE", lambda migration: state_cell(migration.state)),
    Column("SENT", _copied),
    Column("AGE", lambda migration: ago(migration.created_at)),
    Column("FROM", lambda migration: migration.source or "", wide=True),
    Column("TO", lambda migration: migration.destination),
    Column("MESSAGE", lambda migration: migration.message, wide=True),
)


def migrate_model(
    ref: Ref,
    to: Annotated[str, typer.Option("--to", metavar="PLACE", help="A cloud, a pool, or the address of a store.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="PLACE", help="Which copy to read; the nearest by default.")
    ] = None,
    move: Annotated[bool, typer.Option("--move", help="Delete the copy that was read, once nothing reads it.")] = False,
    paranoid: Annotated[bool, typer.Option("--paranoid", help="Read everything back.")] = False,
    limit: Annotated[
        str | None, typer.Option("--limit", metavar="RATE", help="At most so much a second, such as 50MB/s.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the migration's id and return at once.")
    ] = False,
    output: Output = Format.TABLE,
) -> int:
    """Copy a model version to another cloud.

    Shows what would move, for how long and for how much, and on a terminal asks before it does. Every byte is verified
    before the copy is seen. Ctrl-C detaches and leaves the migration running.
    """
    most = rate(limit)
    with connect() as client:
        model = client.models.get(ref)
        plan = model.plan(to, source=source, move=move, paranoid=paranoid, limit=most)
        _show_plan(plan, output if dry_run else Format.TABLE)
        if dry_run:
            return 0
        if not yes and sys.stdin.isatty() and sys.stderr.isatty():
            typer.confirm("Migrate?", default=True, abort=True, err=True)
        migration = model.migrate(to, source=source, move=move, paranoid=paranoid, limit=most)
        if detach:
            write(f"{migration.id}\n")
            return 0
        migration.wait(progress=True)
        note(
            f"{plan.model} is in {plan.destination}: {_copied(migration.view)} sent, every byte verified.", style="dim"
        )
    return 0


def _show_plan(plan: MigrationPlan, output: Format) -> None:
    if emit_one(plan, output):
        return
    tariff = plan.route if plan.usd else "no charge known"
    fields: list[tuple[str, Any]] = [
        ("Model", plan.model),
        ("From", plan.source),
        ("To", plan.destination),
        ("To move", f"{size(plan.bytes_to_move)} of {size(plan.total_bytes)}, {plan.files} files"),
        ("Time", f"about {duration(max(1.0, plan.seconds))}"),
        ("Egress", f"${plan.usd:.2f}  ({tariff})"),
    ]
    if plan.move:
        fields.append(("Then", "the copy that was read is deleted"))
    if output is Format.NAME:
        write(f"{plan.destination}\n")
    else:
        draw(table(("", ""), fields, fold=True))


def list_migrations(
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Only of this model.")] = None,
    running: Annotated[bool, typer.Option("--running", help="Only those that have not ended.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many; 0 for all.")] = 50,
    output: Output = Format.TABLE,
) -> None:
    """List migrations of models and checkpoints, newest first."""
    with connect() as client:
        found = [one.view for one in client.migrations.list(model=model, running=running, limit=limit or None)]
        emit(found, COLUMNS, output)
    if not found and output in {Format.TABLE, Format.WIDE}:
        note("No migrations. Begin one with `neutrino migrate model NAME --to gcp`.", style="dim")


def get(
    migration: Annotated[str, typer.Argument(metavar="MIGRATION", help="The id, such as j-7f3k1.")],
    output: Output = Format.TABLE,
) -> None:
    """Show one migration."""
    with connect() as client:
        view = client.migrations.get(migration).view
    if emit_one(view, output, name="id"):
        return
    fields: list[tuple[str, Any]] = [
        ("Migration", view.id),
        ("Model", view.model or view.artifact),
        ("State", state_cell(view.state)),
        ("From", view.source or ""),
        ("To", view.destination),
        ("Sent", _copied(view)),
        ("Egress", "" if view.usd is None else f"${view.usd:.2f}"),
        ("Began", f"{view.created_at:%Y-%m-%d %H:%M:%S}  ({ago(view.created_at)} ago)"),
        ("Message", view.message),
    ]
    draw(table(("", ""), [field for field in fields if field[1]], fold=True))


def wait(migrations: MigrationIds, timeout: Timeout = None) -> None:
    """Wait until migrations have ended. The timeout counts for each of them."""
    with connect() as client:
        wait_for([client.migrations.get(one) for one in migrations], timeout)


def wait_for(migrations: Sequence[Migration], timeout: str | None = None) -> None:
    """Wait for all of them, also after one has failed; raises the first failure at the end."""
    from orchestrator.domain.errors import JobFailed

    failures: list[JobFailed] = []
    for migration in migrations:
        try:
            migration.wait(progress=True, timeout=timeout)
        except JobFailed as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def cancel(migrations: MigrationIds) -> None:
    """Cancel migrations. Nothing of their copies is ever seen."""
    with connect() as client:
        for one in migrations:
            now = client.migrations.get(one).cancel()
            text = state_cell(now.state)
            note(f"{text.plain}  {now.id}", style=str(text.style))
