"""The parts of the control plane, each of which says now and then that it is alive."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

from orchestrator import settings
from orchestrator.domain.views import ComponentView

_FORGET_SECONDS = 3600.0


def seen(connection: Connection, name: str, kind: str, detail: str, *, ok: bool = True) -> None:
    """Note how a component is: itself, or what somebody who uses it has seen of it."""
    statement = """
        INSERT INTO components (name, kind, detail, ok) VALUES (:name, :kind, :detail, :ok)
        ON CONFLICT (name) DO UPDATE
        SET seen_at = clock_timestamp(), detail = excluded.detail, kind = excluded.kind, ok = excluded.ok
    """
    connection.execute(text(statement), {"name": name, "kind": kind, "detail": detail, "ok": ok})


def left(connection: Connection, name: str) -> None:
    """Forget a component that has ended as it should, so that nobody misses it."""
    connection.execute(text("DELETE FROM components WHERE name = :name"), {"name": name})


def forget_gone(connection: Connection) -> None:
    """Drop components that have been silent for an hour."""
    statement = "DELETE FROM components WHERE seen_at < clock_timestamp() - :seconds * interval '1 second'"
    connection.execute(text(statement), {"seconds": _FORGET_SECONDS})


def views(connection: Connection) -> list[ComponentView]:
    """Every component and how it is. One that has said nothing for a whole lease, while others of its kind go on, was
    killed or cut off, and is not missed: it is gone."""
    statement = """
        SELECT name, kind, seen_at, detail, CASE
          WHEN silent <= :silence AND ok THEN 'well' WHEN silent <= :silence THEN 'broken'
          WHEN silent > :lease AND min(silent) OVER of_kind <= :silence THEN 'gone' ELSE 'silent' END AS state
        FROM components c, LATERAL (SELECT extract(epoch FROM clock_timestamp() - seen_at)) AS s (silent)
        WINDOW of_kind AS (PARTITION BY kind) ORDER BY kind, name
    """
    values = {"silence": settings.current().silence_seconds, "lease": settings.current().lease_seconds}
    return [ComponentView(**row) for row in connection.execute(text(statement), values).mappings()]


class StoreToWatch(NamedTuple):
    """A store next to a pool, and the prefix of the newest artifact that must be in it."""

    uri: str
    prefix: str | None


def stores_to_watch(connection: Connection) -> list[StoreToWatch]:
    """The stores of all pools."""
    statement = """
        SELECT DISTINCT p.store AS uri, (SELECT r.prefix FROM replicas r
          WHERE r.store = p.store AND r.state = 'verified' ORDER BY r.artifact_id DESC LIMIT 1) AS prefix
        FROM pools p ORDER BY 1
    """
    return [StoreToWatch(row.uri, row.prefix) for row in connection.execute(text(statement))]
