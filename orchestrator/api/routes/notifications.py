"""Notifications: who is told when a job comes to a state."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from orchestrator.api.auth import Operator, Viewer
from orchestrator.api.dependencies import Db, IdempotencyKey, Limit, fingerprint
from orchestrator.domain.notifications import CreateNotification, DeliveryView, NotificationCreated, NotificationView
from orchestrator.domain.views import Page
from orchestrator.store import audit, idempotency, notifications

router = APIRouter(prefix="/v1/notifications", tags=["operations"])


@router.get("")
def list_notifications(db: Db, caller: Viewer) -> Page[NotificationView]:
    """The notifications of the workspace."""
    with db.transaction() as connection:
        return Page(items=tuple(notifications.views(connection, caller.workspace_id)))


@router.post("", status_code=201)
def create_notification(
    request: Request, db: Db, caller: Operator, key: IdempotencyKey, wanted: CreateNotification
) -> NotificationCreated:
    """Add a notification. The answer is the only one that ever holds the secret that signs a webhook."""
    made: list[NotificationCreated] = []
    with db.transaction() as connection:

        def effect() -> dict[str, Any]:
            made.append(notifications.create(connection, caller.workspace_id, wanted))
            audit.about(wanted.name)
            # What is kept for a repetition of the request holds no secret.
            return made[0].model_dump(mode="json", exclude={"secret"})

        body = fingerprint(request, wanted.model_dump_json().encode())
        stored = idempotency.once(connection, caller.workspace_id, key, body, effect)
    return made[0] if made else NotificationCreated.model_validate(stored)


@router.delete("/{name}", status_code=204)
def delete_notification(db: Db, caller: Operator, name: str) -> None:
    """Remove a notification, and what is on its way."""
    with db.transaction() as connection:
        notifications.delete(connection, caller.workspace_id, name)


@router.post("/{name}/test", status_code=202)
def test_notification(db: Db, caller: Operator, name: str) -> Page[DeliveryView]:
    """Send a trial, as if a job had come to an end. The answer holds it, to be looked at again."""
    with db.transaction() as connection:
        notifications.try_out(connection, caller.workspace_id, name)
        return Page(items=tuple(notifications.deliveries(connection, caller.workspace_id, name, 1)))


@router.get("/{name}/deliveries")
def list_deliveries(db: Db, caller: Viewer, name: str, limit: Limit = 50) -> Page[DeliveryView]:
    """The newest deliveries of a notification, with what went wrong."""
    with db.transaction() as connection:
        return Page(items=tuple(notifications.deliveries(connection, caller.workspace_id, name, limit)))
