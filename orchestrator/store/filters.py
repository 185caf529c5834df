"""How a filter of jobs is read at the same cost however many jobs there are.

Each of its parts has an index. Which one is the narrowest is found out by counting each in its index, up to NARROW.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.store.listing import JobFilter, containing

NARROW = 8_000
"""So many jobs are read and sorted for one page."""
_NAMES = 1_000
"""So many names are looked up one by one; more of them are no narrow filter."""


@dataclass(slots=True)
class Plan:
    """How a filter is read, for everything that a page asks of it: `narrow` selects the few jobs that its narrowest
    part leaves; if none is narrow, `along` is the condition whose index is read in the order of ids. `sampled` are the
    newest jobs that it lets through, once they are known, and where the reading of them stopped."""

    workspace_id: int
    chosen: JobFilter
    conditions: list[str]
    values: dict[str, Any]
    narrow: str | None = None
    along: str = "true"
    sampled: tuple[list[int], str | None] | None = None


# The reasons of a job that goes its usual way belong to one state each and are in no index of their own.
_USUAL = {"submitted": "QUEUED", "placed": "DISPATCHED", "claimed": "RUNNING", "succeeded": "SUCCEEDED"}
UNUSUAL = "reason <> ALL (ARRAY['submitted', 'placed', 'claimed', 'succeeded'])"


def _conditions(chosen: JobFilter, values: dict[str, Any]) -> list[str]:
    """Each filter as a condition that its index can answer, the ones that are usually narrow first."""
    found: list[str] = []
    if chosen.name is not None:
        found.append("j.name = :name")
        values["name"] = chosen.name
    if chosen.reason in _USUAL:
        found.append("j.state = :usual AND j.reason = :reason")
        values |= {"usual": _USUAL[chosen.reason], "reason": chosen.reason}
    elif chosen.reason is not None:
        found.append(f"j.reason = :reason AND j.{UNUSUAL}")
        values["reason"] = chosen.reason
    for column, value in (("user_name", chosen.user), ("kind", chosen.kind)):
        if value is not None:
            found.append(f"j.{column} = :{column}")
            values[column] = value
    if chosen.pool is not None:
        found.append("j.pool_id = (SELECT id FROM pools WHERE name = :pool)")
        values["pool"] = chosen.pool
    if chosen.states:
        found.append("j.state = ANY(CAST(:states AS text[]))" if len(chosen.states) > 1 else "j.state = :state0")
        values |= {"states": [state.value for state in chosen.states], "state0": chosen.states[0].value}
    return found


def plan(connection: Connection, workspace_id: int, chosen: JobFilter) -> Plan:
    """Find out how to read what `chosen` lets through."""
    values: dict[str, Any] = {"workspace": workspace_id}
    indexed = _conditions(chosen, values)
    conditions = list(indexed)
    drives = [f"SELECT j.id FROM jobs j WHERE j.workspace_id = :workspace AND {condition}" for condition in indexed]
    for index, (key, value) in enumerate(chosen.labels):
        values |= {f"key{index}": key, f"value{index}": value, f"label{index}": json.dumps({key: value})}
        drives.append(
            "SELECT l.job_id FROM job_labels l "
            f"WHERE l.workspace_id = :workspace AND l.key = :key{index} AND l.value = :value{index}"
        )
        conditions.append(f"j.labels @> CAST(:label{index} AS jsonb)")
    if chosen.since is not None:
        values["since"] = chosen.since
        drives.append("SELECT j.id FROM jobs j WHERE j.workspace_id = :workspace AND j.created_at >= :since")
        conditions.append("j.created_at >= :since")
    for index, word in enumerate(chosen.words):
        values[f"word{index}"] = containing(word)
        conditions.append(f"j.name LIKE :word{index}")
    if chosen.words and (names := _names(connection, values, len(chosen.words))) is not None:
        values["names"] = names
        drives.append(
            "SELECT j.id FROM jobs j WHERE j.workspace_id = :workspace AND j.name = ANY(CAST(:names AS text[]))"
        )
    made = Plan(workspace_id, chosen, conditions, values)
    if not drives:
        return made
    columns = ", ".join(
        f"(SELECT count(*) FROM ({drive} LIMIT {NARROW + 1}) AS p{n}) AS n{n}" for n, drive in enumerate(drives)
    )
    counts = list(connection.execute(text(f"SELECT {columns}"), values).one())
    best = counts.index(min(counts))
    if counts[best] <= NARROW:
        made.narrow = f"{drives[best]} LIMIT {NARROW}"
    elif best < len(indexed) and ":states" not in indexed[best]:
        made.along = indexed[best]
    return made


def _names(connection: Connection, values: dict[str, Any], words: int) -> list[str] | None:
    """The names with all of the words in them; None when there are too many for a narrow filter."""
    wanted = " AND ".join(f"name LIKE :word{index}" for index in range(words))
    statement = f"SELECT name FROM job_names WHERE workspace_id = :workspace AND {wanted} LIMIT {_NAMES + 1}"
    found = list(connection.execute(text(statement), values).scalars())
    return found if len(found) <= _NAMES else None
