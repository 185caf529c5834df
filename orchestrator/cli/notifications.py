"""Notifications."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import Column, Format, Output, ago, emit, emit_one, note, write


def _outcome(delivery: Any) -> str:
    if delivery.delivered_at:
        return "delivered"
    return "under way" if delivery.next_at else "given up"


_NOTIFICATIONS = (
    Column("NAME", lambda one: one.name),
    Column("KIND", lambda one: one.kind),
    Column("TARGET", lambda one: one.target),
    Column("ON", lambda one: ",".join(one.states)),
    Column("LABELS", lambda one: ",".join(f"{key}={value}" for key, value in one.labels.items())),
    Column("AGE", lambda one: ago(one.created_at)),
)
_DELIVERIES = (
    Column("ID", lambda one: one.id),
    Column("JOB", lambda one: one.job or "trial"),
    Column("STATE", lambda one: one.state),
    Column("OUTCOME", _outcome),
    Column("TRIES", lambda one: str(one.attempts)),
    Column("AGE", lambda one: ago(one.created_at)),
    Column("ERROR", lambda one: one.error or ""),
)

Named = Annotated[str, typer.Argument(metavar="NAME", help="The notification's name.")]


def list_all(output: Output = Format.TABLE) -> None:
    """List the notifications."""
    with connect() as client:
        emit(client.notifications.list(), _NOTIFICATIONS, output, name="name")


def create(
    name: Annotated[str, typer.Argument(help="Its name.")],
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="POST signed JSON there.")] = None,
    slack: Annotated[str | None, typer.Option(metavar="URL", help="An incoming webhook of Slack or alike.")] = None,
    email: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Send mail there.")] = None,
    on: Annotated[list[str] | None, typer.Option(metavar="STATE", help="Again for more; FAILED if not given.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only about jobs with it; again for more.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Tell somebody when jobs come to a state. A webhook's secret is shown this once."""
    from orchestrator.domain.notifications import CreateNotification

    given = {kind: to for kind, to in (("webhook", webhook), ("slack", slack), ("email", email)) if to is not None}
    if len(given) != 1:
        raise typer.BadParameter("give one of --webhook, --slack and --email")
    if wrong := [text for text in label or () if "=" not in text]:
        raise typer.BadParameter(f"{wrong[0]!r} is not KEY=VALUE", param_hint="--label")
    ((kind, target),) = given.items()
    fields: dict[str, Any] = {"name": name, "kind": kind, "target": target}
    fields |= {"states": [state.upper() for state in on]} if on else {}
    fields["labels"] = dict(text.split("=", 1) for text in label or ())
    with connect() as client:
        made = client.notifications.create(CreateNotification(**fields))
    if emit_one(made, output):
        return
    note(f"{made.name} tells {made.target} when a job is {' or '.join(made.states)}.")
    if made.secret:
        note("Its messages are signed with this secret. Keep it: it is not shown again.", style="dim")
        write(f"{made.secret}\n")


def delete(name: Named) -> None:
    """Delete a notification, and what is on its way."""
    with connect() as client:
        client.notifications.delete(name)
    note(f"{name} is deleted.")


def test(name: Named) -> None:
    """Send a trial."""
    with connect() as client:
        client.notifications.test(name)
    note(f"A trial is on its way; `neutrino notification deliveries {name}` tells what became of it.")


def deliveries(name: Named, output: Output = Format.TABLE) -> None:
    """List the newest deliveries of a notification, with what went wrong."""
    with connect() as client:
        emit(iter(client.notifications.deliveries(name).items), _DELIVERIES, output)
