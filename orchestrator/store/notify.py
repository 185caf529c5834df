"""What is told after a commit through Postgres NOTIFY. Only hints: whoever misses one finds out by looking."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

QUEUE = "neutrino_queue"  # something can be dispatched
WORKERS = "neutrino_workers"  # payload: ids of workers that should send a heartbeat now
JOBS = "neutrino_jobs"  # payload: ids of jobs with something new to see
EVERYTHING = "*"
_MAX_PAYLOAD = 7900  # Postgres takes payloads below 8000 bytes


def notify(connection: Connection, channel: str, ids: Iterable[int] = ()) -> None:
    """Tell the listeners of `channel` once this transaction has committed."""
    payload = ",".join(map(str, sorted(set(ids))))
    if len(payload) > _MAX_PAYLOAD:
        payload = EVERYTHING
    connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": channel, "payload": payload})
