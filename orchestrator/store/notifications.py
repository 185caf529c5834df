"""Notifications and their deliveries. `transitions` writes a delivery in the transaction of the move it tells of, so
that none is lost; whoever sends it may die, and then it is sent again: at least once, each with an id of its own."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, text

from orchestrator.domain.errors import Conflict, NotFound, nearest
from orchestrator.domain.ids import encode
from orchestrator.domain.notifications import (
    CreateNotification,
    DeliveryView,
    News,
    NotificationCreated,
    NotificationKind,
    NotificationView,
)
from orchestrator.domain.state import JobState

MOST_PER_WORKSPACE = 100
MOST_ATTEMPTS = 12
"""With the pauses between them: a day."""

POST = """
  INSERT INTO deliveries (notification_id, job_id, epoch, state, reason, message)
  SELECT * FROM (
    SELECT n.id, m.id AS job_id, m.epoch, m.target, m.reason, m.message
    FROM moved m JOIN notifications n
      ON n.workspace_id = m.workspace_id AND m.target = ANY(n.states) AND m.labels @> n.labels
    FOR KEY SHARE OF n -- one that is being deleted is waited for, and left out
  ) AS wanted
"""
"""Part of the statement that moves jobs: `moved` has what has just moved."""

_INSERT = """
    INSERT INTO notifications (workspace_id, name, kind, target, secret, states, labels)
    SELECT :workspace, :name, :kind, :target, :secret, :states, CAST(:labels AS jsonb)
    WHERE (SELECT count(*) FROM notifications WHERE workspace_id = :workspace) < :most
    ON CONFLICT (workspace_id, name) DO NOTHING
    RETURNING name, kind, target, states, labels, created_at
"""


def create(connection: Connection, workspace_id: int, wanted: CreateNotification) -> NotificationCreated:
    """Add a notification. Raises Conflict when its name is taken, or there are too many."""
    secret = f"whsec_{b64encode(secrets.token_bytes(24)).decode()}" if wanted.kind == "webhook" else None
    values = {
        "workspace": workspace_id,
        "secret": secret,
        "states": list(wanted.states),
        "labels": json.dumps(wanted.labels),
        "most": MOST_PER_WORKSPACE,
    }
    row = connection.execute(
        text(_INSERT), values | wanted.model_dump(include={"name", "kind", "target"})
    ).one_or_none()
    if row is None:
        raise Conflict(
            f"There is a notification {wanted.name} already, or there are {MOST_PER_WORKSPACE} of them.",
            hint="`neutrino notification list` shows them.",
        )
    return NotificationCreated(**_view(row).model_dump(), secret=secret)


def _view(row: Row[Any]) -> NotificationView:
    return NotificationView(
        name=row.name,
        kind=row.kind,
        target=shown(row.kind, row.target),
        states=row.states,
        labels=row.labels,
        created_at=row.created_at,
    )


def shown(kind: NotificationKind, target: str) -> str:
    """A target as it may be seen: what follows the host of a URL is often a secret."""
    if kind == "email":
        return target
    split = urlsplit(target)
    rest = "/…" if split.path.strip("/") or split.query else ""
    return f"{split.scheme}://{split.netloc}{rest}"


def views(connection: Connection, workspace_id: int) -> list[NotificationView]:
    """The notifications of a workspace by name."""
    statement = "SELECT * FROM notifications WHERE workspace_id = :workspace ORDER BY name"
    return [_view(row) for row in connection.execute(text(statement), {"workspace": workspace_id})]


def _find(connection: Connection, workspace_id: int, name: str) -> int:
    known = connection.execute(
        text("SELECT name, id FROM notifications WHERE workspace_id = :workspace"), {"workspace": workspace_id}
    )
    ids = {row.name: row.id for row in known}
    if name not in ids:
        guess = nearest(name, ids)
        hint = f"Did you mean {guess!r}?" if guess else "`neutrino notification list` shows all."
        raise NotFound(f"There is no notification {name!r}.", hint=hint, suggestions=[guess] if guess else [])
    found: int = ids[name]
    return found


def delete(connection: Connection, workspace_id: int, name: str) -> None:
    """Remove a notification and what is on its way. Raises NotFound."""
    values = {"id": _find(connection, workspace_id, name)}
    connection.execute(text("DELETE FROM notifications WHERE id = :id"), values)


def try_out(connection: Connection, workspace_id: int, name: str) -> None:
    """Put a trial on its way, as if a job had come to an end. Raises NotFound."""
    statement = """
        INSERT INTO deliveries (notification_id, epoch, state, reason, message)
        SELECT id, 0, states[1], 'trial', 'This is a trial of the notification ' || name || '.'
        FROM notifications WHERE id = :id
    """
    connection.execute(text(statement), {"id": _find(connection, workspace_id, name)})


def deliveries(connection: Connection, workspace_id: int, name: str, limit: int) -> list[DeliveryView]:
    """The newest deliveries of a notification. Raises NotFound."""
    statement = "SELECT * FROM deliveries WHERE notification_id = :id ORDER BY id DESC LIMIT :limit"
    values = {"id": _find(connection, workspace_id, name), "limit": limit}
    return [
        DeliveryView(
            id=f"d-{row.id}",
            job=None if row.job_id is None else encode("j", row.job_id),
            state=row.state,
            attempts=row.attempts,
            created_at=row.created_at,
            next_at=row.next_at,
            delivered_at=row.delivered_at,
            error=row.error,
        )
        for row in connection.execute(text(statement), values)
    ]


@dataclass(frozen=True, slots=True)
class Letter:
    """A delivery to be made now."""

    id: int
    kind: NotificationKind
    target: str
    secret: str | None
    news: News


# Whoever takes a letter has until `next_at` to say what became of it; then it is taken again. The pauses double from a
# minute, which is longer than sending may take, to three hours.
_TAKE = """
WITH due AS (
  SELECT id FROM deliveries WHERE next_at <= clock_timestamp() ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED
), taken AS (
  UPDATE deliveries d SET attempts = d.attempts + 1,
    next_at = clock_timestamp() + least(60 * 2 ^ d.attempts, 10800) * interval '1 second'
  FROM due WHERE d.id = due.id RETURNING d.*
)
SELECT t.id, n.kind, n.target, n.secret, t.created_at, w.name AS workspace, t.job_id, coalesce(j.name, 'trial') AS name,
  t.state, t.reason, t.message, t.epoch
FROM taken t JOIN notifications n ON n.id = t.notification_id JOIN workspaces w ON w.id = n.workspace_id
  LEFT JOIN jobs j ON j.id = t.job_id
ORDER BY t.id
"""


def take(connection: Connection, limit: int) -> list[Letter]:
    """Deliveries that are due, counted as tried; nobody else gets them for a while."""
    return [
        Letter(
            id=row.id,
            kind=row.kind,
            target=row.target,
            secret=row.secret,
            news=News(
                id=f"d-{row.id}",
                at=row.created_at,
                workspace=row.workspace,
                job=encode("j", row.job_id or 0),
                name=row.name,
                state=JobState(row.state),
                reason=row.reason,
                message=row.message,
                epoch=row.epoch,
            ),
        )
        for row in connection.execute(text(_TAKE), {"limit": limit})
    ]


_SETTLE = """
    UPDATE deliveries SET error = :error,
      delivered_at = CASE WHEN CAST(:error AS text) IS NULL THEN clock_timestamp() END,
      next_at = CASE WHEN CAST(:error AS text) IS NOT NULL AND :again AND attempts < :most THEN next_at END
    WHERE id = :id
"""


def settle(connection: Connection, letter: Letter, error: str | None, *, again: bool = True) -> None:
    """Note what became of a letter: delivered, or failed with `error`, and if `again` to be tried again."""
    said = error and error.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    connection.execute(text(_SETTLE), {"id": letter.id, "error": said, "again": again, "most": MOST_ATTEMPTS})


def forget_old(connection: Connection) -> None:
    """Drop deliveries that have been settled for a month."""
    statement = "DELETE FROM deliveries WHERE next_at IS NULL AND created_at < clock_timestamp() - interval '30 days'"
    connection.execute(text(statement))
