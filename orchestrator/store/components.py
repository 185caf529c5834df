"""The parts of the control plane, each of which says now and then that it is alive."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

from orchestrator.domain.state import JobState
from orchestrator.domain.views import ComponentView

HEALTHY_SECONDS = 15.0
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
    """Every component with its health."""
    statement = """
        SELECT name, kind, seen_at, detail, ok, seen_at > clock_timestamp() - :seconds * interval '1 second' AS healthy
        FROM components ORDER BY kind, name
    """
    return [
        ComponentView(
            name=row.name, kind=row.kind, seen_at=row.seen_at, healthy=row.healthy, detail=row.detail, ok=row.ok
        )
        for row in connection.execute(text(statement), {"seconds": HEALTHY_SECONDS})
    ]


def job_counts(connection: Connection, workspace_id: int) -> dict[JobState, int]:
    """How many jobs of the workspace are in each state that is not over, and how many have ended."""
    statement = "SELECT state, count(*) AS jobs FROM jobs WHERE workspace_id = :workspace GROUP BY state"
    counted = {row.state: row.jobs for row in connection.execute(text(statement), {"workspace": workspace_id})}
    return {state: counted.get(state.value, 0) for state in JobState}


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
