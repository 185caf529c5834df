"""What is told after a commit through Postgres NOTIFY. Only hints: whoever misses one finds out by looking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, text

QUEUE = "neutrino_queue"  # something can be dispatched
WORKERS = "neutrino_workers"  # payload: ids of workers that should send a heartbeat now
JOBS = "neutrino_jobs"  # payload: ids of jobs with something new to see
EVERYTHING = "*"
_MAX_PAYLOAD = 7900  # Postgres takes payloads below 8000 bytes


_NOTIFY = """
    SELECT pg_notify(channel, payload)
    FROM unnest(CAST(:channels AS text[]), CAST(:payloads AS text[])) AS n(channel, payload)
"""


def notify(connection: Connection, news: Mapping[str, Iterable[int]]) -> None:
    """Tell the listeners of each channel about these ids, once this transaction has committed."""
    payloads = [",".join(map(str, sorted(set(ids)))) for ids in news.values()]
    short = [payload if len(payload) <= _MAX_PAYLOAD else EVERYTHING for payload in payloads]
    connection.execute(text(_NOTIFY), {"channels": list(news), "payloads": short})
