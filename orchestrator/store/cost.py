"""What jobs have cost: the time of their attempts on slots of pools, times what such a slot costs.

An attempt that reaches over the end of an hour or a day is shared out. Pools without a price cost nothing in dollars;
their hours are counted all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

_NODES = "coalesce((j.document #>> '{spec,resources,nodes}')::int, 1)"
_KEYS = {
    "cloud": "p.cloud",
    "pool": "p.name",
    "user": "j.user_name",
    "kind": "j.kind",
    "job": "j.name",
    "label": "coalesce(j.labels ->> :label, '')",
}
BY = tuple(_KEYS)

_SPENT = """
    SELECT at, keyed AS key, sum(CAST(extract(epoch FROM until - since) AS float8) / 3600 * nodes) AS hours,
      sum(CAST(extract(epoch FROM until - since) AS float8) / 3600 * nodes * usd) AS usd,
      count(*) FILTER (WHERE began = since) AS attempts
    FROM (
      SELECT b.at, a.started_at AS began, {keyed} AS keyed, {nodes} AS nodes, p.usd_per_hour AS usd,
        greatest(a.started_at, b.at) AS since,
        least(coalesce(a.finished_at, now()), b.at + CAST(:step AS interval)) AS until
      FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN pools p ON p.id = a.pool_id
      CROSS JOIN LATERAL generate_series(
        greatest(date_trunc(:unit, a.started_at), :since), coalesce(a.finished_at, now()),
        CAST(:step AS interval)) AS b(at)
      WHERE j.workspace_id = :workspace AND (a.finished_at IS NULL OR a.finished_at > :since)
    ) AS used
    WHERE until > since
    GROUP BY at, keyed ORDER BY at, keyed
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """Hours of slots, and dollars, that were used for one thing in one span of time; `attempts` that began in it."""

    at: datetime
    key: str
    hours: float
    usd: float
    attempts: int


def spent(
    connection: Connection, workspace_id: int, *, since: datetime, unit: str, by: str, label: str = ""
) -> list[Spent]:
    """The cost of the workspace since then, by `unit` (`hour` or `day`) and by one of BY."""
    assert unit in {"hour", "day"}
    statement = _SPENT.format(keyed=_KEYS[by], nodes=_NODES)
    values = {"workspace": workspace_id, "since": since, "unit": unit, "step": f"1 {unit}"}
    if by == "label":
        values["label"] = label
    rows = connection.execute(text(statement), values)
    return [Spent(row.at, row.key, float(row.hours), float(row.usd or 0), row.attempts) for row in rows]


@dataclass(frozen=True, slots=True)
class Total:
    """All that a workspace has used in a span of time; `rate` is what runs now, in dollars per hour."""

    hours: float
    usd: float
    rate: float


_TODAY = f"""
    SELECT coalesce(sum(hours), 0) AS hours, coalesce(sum(hours * usd), 0) AS usd,
      coalesce(sum(usd) FILTER (WHERE running), 0) AS rate
    FROM (
      SELECT a.state = 'RUNNING' AS running, p.usd_per_hour * {_NODES} AS usd,
        extract(epoch FROM coalesce(a.finished_at, now())
          - greatest(a.started_at, date_trunc('day', now()))) / 3600 AS hours
      FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN pools p ON p.id = a.pool_id
      WHERE j.workspace_id = :workspace
        AND (a.finished_at IS NULL OR a.finished_at > date_trunc('day', now()))
    ) AS used
"""


def today(connection: Connection, workspace_id: int) -> Total:
    """What the workspace has used since midnight UTC."""
    row = connection.execute(text(_TODAY), {"workspace": workspace_id}).one()
    return Total(float(row.hours), float(row.usd), float(row.rate))


_LABEL_KEYS = """
    WITH RECURSIVE known AS (
      (SELECT key, 1 AS place FROM job_labels WHERE workspace_id = :workspace ORDER BY key LIMIT 1)
      UNION ALL
      SELECT (SELECT l.key FROM job_labels l WHERE l.workspace_id = :workspace AND l.key > known.key
              ORDER BY l.key LIMIT 1), place + 1
      FROM known WHERE known.key IS NOT NULL AND place < 50
    )
    SELECT key FROM known WHERE key IS NOT NULL
"""


def label_keys(connection: Connection, workspace_id: int) -> Sequence[str]:
    """The keys of labels that the workspace's jobs have; the first fifty."""
    return list(connection.execute(text(_LABEL_KEYS), {"workspace": workspace_id}).scalars())
