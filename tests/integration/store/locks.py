"""Orders of events that locks fix."""

from __future__ import annotations

from tests.integration.store.plane import Plane

_BLOCKED = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def until_blocked(plane: Plane, sessions: int = 1) -> None:
    """Return when so many sessions of this database wait for a lock."""
    while plane.sql(_BLOCKED)[0].n < sessions:
        pass
