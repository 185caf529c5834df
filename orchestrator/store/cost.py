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
from typing import Any, NamedTuple

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
    UNION ALL
    SELECT u.at, {key} AS key, p.usd_per_hour AS price, {sign} u.attempts AS attempts, {sign} u.hours AS hours
    FROM usage u JOIN pools p ON p.id = u.pool_id
    WHERE {whose} AND u.facet = {facet} AND u.at >= :since
"""
# The dearest keys are found first; then only their rows are read by day. What is left of all is everybody else's, but
# for the moment's difference that remains where nothing does.
_SPENT = f"""
    WITH one_by_one AS MATERIALIZED ({{one_by_one}}), sums AS MATERIALIZED (
      SELECT key, coalesce(sum(hours * price), 0) AS usd, sum(hours) AS hours
      FROM (SELECT * FROM one_by_one {{added}}) AS used
      GROUP BY key HAVING sum(hours) > 1e-9 ORDER BY usd DESC, hours DESC, key LIMIT {TOLD_APART + 1}
    ), dear AS MATERIALIZED (
      SELECT key FROM sums ORDER BY usd DESC, hours DESC, key LIMIT {TOLD_APART}
    ), told AS MATERIALIZED (
      SELECT * FROM one_by_one WHERE key IN (SELECT key FROM dear) {{added_dear}}
    )
    SELECT at, key, sum(hours) AS hours, coalesce(sum(hours * price), 0) AS usd,
      CAST(sum(attempts) AS bigint) AS attempts
    FROM (
      SELECT at, key, price, attempts, hours FROM told
      UNION ALL
      SELECT at, NULL, price, attempts, hours FROM (
        SELECT * FROM one_by_one {{all_added}}
        UNION ALL SELECT at, key, price, -attempts, -hours FROM told
      ) AS others WHERE (SELECT count(*) FROM sums) > {TOLD_APART}
    ) AS used GROUP BY at, key HAVING sum(hours) > CASE WHEN key IS NULL THEN 1e-6 ELSE 1e-9 END
"""
_DEAR = "AND {key} = ANY (ARRAY(SELECT key FROM dear))"
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


class _Added(NamedTuple):
    """Rows of a facet of `usage`, under some key; they may be taken off."""

    key: str
    facet: str = "'kind'"
    sign: str = ""

    def sql(self, whose: str, *, dear: bool = False) -> str:
        return _ADDED.format(**self._asdict(), whose=whose.format(row="u")) + (
            _DEAR.format(key=self.key) if dear else ""
        )


def _added(by: str) -> list[_Added]:
    """The rows of `usage` that make up what is told apart by one of BY."""
    if by != "label":
        facet, key, _ = _KEYS[by]
        return [_Added(key, f"'{facet}'")]
    mine = "'label:' || :label"
    return [_Added("u.key", mine), _Added("''"), _Added("''", mine, "-")]


def spent(
    connection: Connection, workspace_id: int | None, *, since: datetime, unit: str, by: str, label: str = ""
) -> list[Spent]:
    """The cost of the workspace (None: of all of them) since the hour or day that begins at `since`, by `unit` (`hour`
    or `day`) and by one of BY."""
    assert unit in {"hour", "day"}
    whose = "true" if workspace_id is None else "{row}.workspace_id = :workspace"
    ended = ":since" if unit == "hour" else _NOT_ADDED
    added, everything = (_added(by), [_Added("NULL")]) if unit == "day" else ([], [])
    statement = _SPENT.format(
        one_by_one=_ATTEMPTS.format(key=_KEYS[by][2], unit=unit, whose=whose.format(row="j"), ended=ended),
        added="".join(part.sql(whose) for part in added),
        added_dear="".join(part.sql(whose, dear=True) for part in added),
        all_added="".join(part.sql(whose) for part in everything),
    )
    values: dict[str, Any] = {"since": since, "workspace": workspace_id, "label": label}
    if unit == "day":
        values["recent"] = usage.until(connection)
    rows = connection.execute(text(statement), values)
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
