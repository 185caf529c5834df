"""What a list can be narrowed to, and how many jobs each choice would leave.

Counting a million rows takes too long for a page, so nothing counts further than CAP. Without a filter, each value is
counted in its own index. With one, what is counted are the jobs that the filter lets through: all of them when they are
few, else the newest CAP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.state import JobState
from orchestrator.store import browse
from orchestrator.store.filters import UNUSUAL, JobFilter, Plan
from orchestrator.store.fragments import distinct

CAP = browse.SAMPLE
_VALUES = 12
_KEYS = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """A value and how many jobs have it; with `more`, at least so many. Every state is a choice, also with none."""

    value: str
    count: int
    more: bool = False


Facets = Mapping[str, tuple[Choice, ...]]
"""By name: state, reason, kind, user, pool, and each key of a label as `label:KEY`."""


def facets(connection: Connection, plan: Plan) -> Facets:
    """The choices within what the plan lets through, the most frequent ones first."""
    return _of_all(connection, plan.workspace_id) if plan.chosen == JobFilter() else _of_some(connection, plan)


_OF_JOBS = "(SELECT count(*) FROM (SELECT FROM jobs j WHERE j.workspace_id = :workspace AND {condition} LIMIT {cap}) c)"
_OF_LABELS = """(SELECT count(*) FROM (SELECT FROM job_labels l WHERE l.workspace_id = :workspace AND l.key = v.key
  AND l.value = v.value LIMIT {cap}) c)"""
_MINE = "workspace_id = :workspace"


def _values(column: str, where: str = _MINE, table: str = "jobs", most: int = _VALUES) -> str:
    return distinct(column, table, where, most)


def _count(condition: str) -> str:
    return _OF_JOBS.format(condition=condition, cap=CAP + 1)


# Each value is found by a jump in an index, and counted in it.
_ALL = f"""
SELECT 'state' AS facet, v.value, {_count("j.state = v.value")} AS jobs
FROM unnest(CAST(:states AS text[])) AS v (value)
UNION ALL SELECT 'kind', v.value, {_count("j.kind = v.value")} FROM ({_values("kind")}) v
UNION ALL SELECT 'user', v.value, {_count("j.user_name = v.value")} FROM ({_values("user_name")}) v
UNION ALL SELECT 'reason', v.value,
  {_count(f"j.reason = v.value AND j.{UNUSUAL}")} FROM ({_values("reason", f"{_MINE} AND {UNUSUAL}")}) v
UNION ALL SELECT 'pool', v.name, {_count("j.pool_id = v.id")}
  FROM (SELECT id, name FROM pools ORDER BY name LIMIT {_VALUES}) v
UNION ALL SELECT 'label:' || v.key, v.value, {_OF_LABELS.format(cap=CAP + 1)} FROM (
  SELECT k.value AS key, w.value
  FROM ({_values("key", table="job_labels", most=_KEYS)}) k,
    LATERAL ({_values("value", _MINE + " AND key = k.value", "job_labels")}) w) v
"""


def _of_all(connection: Connection, workspace_id: int) -> Facets:
    values = {"workspace": workspace_id, "states": [state.value for state in JobState]}
    found: dict[str, list[Choice]] = {}
    for row in connection.execute(text(_ALL), values):
        choice = Choice(row.value, min(row.jobs, CAP), row.jobs > CAP)
        if choice.count or row.facet == "state":
            found.setdefault(row.facet, []).append(choice)
    return {facet: _sorted(facet, choices) for facet, choices in found.items()}


def _sorted(facet: str, choices: list[Choice]) -> tuple[Choice, ...]:
    if facet == "state":
        order = [state.value for state in JobState]
        return tuple(sorted(choices, key=lambda choice: order.index(choice.value)))
    return tuple(sorted(choices, key=lambda choice: (-choice.count, choice.value))[:_VALUES])


_SOME = """
WITH one AS (
  SELECT j.state, j.reason, j.kind, j.user_name, p.name AS pool, j.labels
  FROM jobs j LEFT JOIN pools p ON p.id = j.pool_id WHERE j.id = ANY(CAST(:ids AS bigint[]))
)
SELECT facet, value, count(*) AS jobs FROM (
  SELECT v.facet, v.value FROM one, LATERAL (
    VALUES ('state', state), ('reason', reason), ('kind', kind), ('user', user_name), ('pool', pool)) v (facet, value)
  UNION ALL SELECT 'label:' || pair.key, pair.value FROM one, jsonb_each_text(labels) pair
) AS every WHERE value IS NOT NULL GROUP BY facet, value
"""


def _of_some(connection: Connection, plan: Plan) -> Facets:
    ids, more = browse.sample(connection, plan)
    found: dict[str, list[Choice]] = {}
    rows: list[Any] = list(connection.execute(text(_SOME), {"ids": ids}))
    for row in rows:
        found.setdefault(row.facet, []).append(Choice(row.value, row.jobs, more))
    seen = {choice.value for choice in found.get("state", ())}
    found.setdefault("state", []).extend(Choice(state.value, 0, more) for state in JobState if state.value not in seen)
    labels = sorted(facet for facet in found if facet.startswith("label:"))
    kept = {facet for facet in found if not facet.startswith("label:")} | set(labels[:_KEYS])
    return {facet: _sorted(facet, choices) for facet, choices in found.items() if facet in kept}
