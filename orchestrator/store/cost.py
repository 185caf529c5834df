"""What jobs have cost: the time of their attempts on slots of pools, times what such a slot costs.

An attempt that reaches over the end of an hour or a day is shared out; one in pods costs nothing while it waits for
them. Pools without a price cost nothing in dollars; their hours are counted all the same. Days are read from what
`store.usage` has added up, and from the attempts that are not in it yet: those that run, and those that have just
ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.store import usage
from orchestrator.store.fragments import distinct
from orchestrator.store.usage import COSTS_SINCE, NODES

_NAME_OF_WORKSPACE = "(SELECT name FROM workspaces w WHERE w.id = {row}.workspace_id)"
# By what costs are told apart: the facet of `usage` that knows it, and how it is called there and of an attempt.
_KEYS = {
    "cloud": ("kind", "p.cloud", "p.cloud"),
    "pool": ("kind", "p.name", "p.name"),
    "user": ("user", "u.key", "j.user_name"),
    "kind": ("kind", "u.key", "j.kind"),
    "job": ("job", "u.key", "j.name"),
    "label": ("label", "u.key", "coalesce(j.labels ->> :label, '')"),
    "workspace": ("kind", _NAME_OF_WORKSPACE.format(row="u"), _NAME_OF_WORKSPACE.format(row="j")),
}
BY = tuple(_KEYS)
TOLD_APART = 100
"""So many keys are told apart, the dearest ones; the others are one."""

_ATTEMPTS = f"""
    SELECT b.at, {{key}} AS key, p.usd_per_hour AS price, CAST(s.since = c.since AS int) AS attempts,
      CAST(extract(epoch FROM s.until - s.since) AS float8) / 3600 * {NODES} AS hours
    FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN pools p ON p.id = a.pool_id
    CROSS JOIN LATERAL (SELECT {COSTS_SINCE} AS since) AS c
    CROSS JOIN LATERAL generate_series(
      greatest(date_trunc('{{unit}}', c.since), :since), coalesce(a.finished_at, now()), interval '1 {{unit}}'
    ) AS b (at)
    CROSS JOIN LATERAL (
      SELECT greatest(c.since, b.at), least(coalesce(a.finished_at, now()), b.at + interval '1 {{unit}}')
    ) AS s (since, until)
    WHERE {{whose}} AND (a.finished_at IS NULL OR a.finished_at > {{ended}}) AND c.since IS NOT NULL
      AND s.until > s.since
"""
_ADDED = """
    SELECT u.at, {key} AS key, p.usd_per_hour AS price, {sign} u.attempts AS attempts, {sign} u.hours AS hours
    FROM usage u JOIN pools p ON p.id = u.pool_id
    WHERE {whose} AND u.facet = {facet} AND u.at >= :since
"""
# A moment's difference may be left of what has no label, after everything that has one was taken off.
_SPENT = f"""
    WITH used AS NOT MATERIALIZED ({{used}}), ranked AS MATERIALIZED (
      SELECT key, row_number() OVER (ORDER BY coalesce(sum(hours * price), 0) DESC, sum(hours) DESC, key) AS place
      FROM used GROUP BY key HAVING sum(hours) > 1e-9
    )
    SELECT at, CASE WHEN place <= {TOLD_APART} THEN key END AS key, sum(hours) AS hours,
      coalesce(sum(hours * price), 0) AS usd, CAST(sum(attempts) AS bigint) AS attempts
    FROM used JOIN ranked USING (key) GROUP BY 1, 2 HAVING sum(hours) > 1e-9
"""
# How far `usage` has come is told by the statement that reads it; `:recent`, told a moment before, is for the planner.
_NOT_ADDED = "greatest(:since, CAST(:recent AS timestamptz)) AND a.finished_at > (SELECT until FROM usage_until)"


@dataclass(frozen=True, slots=True)
class Spent:
    """Hours of slots, and dollars, that were used for one thing in one span of time; `attempts` that began in it. A key
    of None stands for all that are not among the dearest."""

    at: datetime
    key: str | None
    hours: float
    usd: float
    attempts: int


def spent(
    connection: Connection, workspace_id: int | None, *, since: datetime, unit: str, by: str, label: str = ""
) -> list[Spent]:
    """The cost of the workspace (None: of all of them) since the hour or day that begins at `since`, by `unit` (`hour`
    or `day`) and by one of BY."""
    assert unit in {"hour", "day"}
    facet, added, key = _KEYS[by]
    whose = "true" if workspace_id is None else "{row}.workspace_id = :workspace"
    of_attempts, of_added = whose.format(row="j"), whose.format(row="u")
    ended = ":since" if unit == "hour" else _NOT_ADDED
    parts = [_ATTEMPTS.format(key=key, unit=unit, whose=of_attempts, ended=ended)]
    if unit == "day" and by == "label":
        parts += [
            _ADDED.format(key="u.key", sign="", whose=of_added, facet="'label:' || :label"),
            _ADDED.format(key="''", sign="-", whose=of_added, facet="'label:' || :label"),
            _ADDED.format(key="''", sign="", whose=of_added, facet="'kind'"),
        ]
    elif unit == "day":
        parts.append(_ADDED.format(key=added, sign="", whose=of_added, facet=f"'{facet}'"))
    values: dict[str, Any] = {"since": since} | ({} if workspace_id is None else {"workspace": workspace_id})
    if unit == "day":
        values["recent"] = usage.until(connection)
    if by == "label":
        values["label"] = label
    rows = connection.execute(text(_SPENT.format(used=" UNION ALL ".join(parts))), values)
    found = [Spent(row.at, row.key, row.hours, row.usd, row.attempts) for row in rows]
    return sorted(found, key=lambda one: (one.at, one.key is None, one.key or ""))


@dataclass(frozen=True, slots=True)
class Total:
    """All that a workspace has used in a span of time; `rate` is what runs now, in dollars per hour."""

    hours: float
    usd: float
    rate: float


_MIDNIGHT = "date_trunc('day', now())"
_RATE = f"""
    SELECT coalesce(sum(p.usd_per_hour * {NODES}), 0) AS rate
    FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN pools p ON p.id = a.pool_id
    WHERE j.workspace_id = :workspace AND a.state = 'RUNNING' AND {COSTS_SINCE} IS NOT NULL
"""


def today(connection: Connection, workspace_id: int) -> Total:
    """What the workspace has used since midnight UTC."""
    since = connection.execute(text(f"SELECT {_MIDNIGHT}")).scalar_one()
    rows = spent(connection, workspace_id, since=since, unit="day", by="kind")
    rate = connection.execute(text(_RATE), {"workspace": workspace_id}).scalar_one()
    return Total(sum(row.hours for row in rows), sum(row.usd for row in rows), float(rate))


_LABEL_KEYS = distinct("key", "job_labels", "workspace_id = :workspace", most=50)


def label_keys(connection: Connection, workspace_id: int) -> Sequence[str]:
    """The keys of labels that the workspace's jobs have; the first fifty."""
    return list(connection.execute(text(_LABEL_KEYS), {"workspace": workspace_id}).scalars())
