"""Lists of jobs for people who look around: any filter in any order, both ways, at the same cost.

A page must answer at once however many jobs there are and whatever is asked, so no reading is longer than a fixed
number of rows. Which filter is the narrowest is found out by counting each of them in its index, up to NARROW:

- When one of them leaves few jobs, those are read, filtered and sorted: the answer is exact.
- Otherwise the index of the order is read from where the page begins, and what fits is taken, until the page is full
  or EFFORT rows have been seen. Then the page says so, and its cursor goes on from there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.ids import encode
from orchestrator.domain.views import JobSummary
from orchestrator.store import jobs
from orchestrator.store.listing import JobFilter, containing

NARROW = 8_000
"""So many jobs are read and sorted for one page."""
EFFORT = 8_000
"""So many jobs are looked at for one page that is read in order."""
_NAMES = 1_000
"""So many names are looked up one by one; more of them are no narrow filter."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order in which there is an index: its key (None for the id alone) and type, and what it leaves out."""

    words: str
    key: str | None = None
    type: str = "bigint"
    descending: bool = True
    only: str = "true"
    note: str | None = None


_ENDED = "j.finished_at IS NOT NULL"
_LASTED = "j.finished_at IS NOT NULL AND j.started_at IS NOT NULL"
_NOT_ENDED = "Jobs that have not ended are left out."
ORDERS: Mapping[str, Order] = {
    "newest": Order("Newest first"),
    "oldest": Order("Oldest first", descending=False),
    "finished": Order("Last finished first", "j.finished_at", "timestamptz", only=_ENDED, note=_NOT_ENDED),
    "longest": Order("Longest first", "(j.finished_at - j.started_at)", "interval", only=_LASTED, note=_NOT_ENDED),
    "shortest": Order(
        "Shortest first", "(j.finished_at - j.started_at)", "interval", False, only=_LASTED, note=_NOT_ENDED
    ),
    "name": Order("Name", "j.name", "text", descending=False),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A page. `total` is exact, or None where there are too many to count; `unseen`: the reading stopped before the
    page was full, and `next` goes on."""

    items: tuple[JobSummary, ...]
    previous: str | None
    next: str | None
    total: int | None
    unseen: bool = False


@dataclass(slots=True)
class _Plan:
    """How a filter is read: `narrow` selects the few jobs that the narrowest filter leaves; if none is narrow, `along`
    is the condition whose index is read in the order of ids."""

    conditions: list[str]
    values: dict[str, Any]
    narrow: str | None = None
    along: str = "true"
    floor: str = "true"


# The reasons of a job that goes its usual way belong to one state each and are in no index of their own.
_USUAL = {"submitted": "QUEUED", "placed": "DISPATCHED", "claimed": "RUNNING", "succeeded": "SUCCEEDED"}
_UNUSUAL = "j.reason <> ALL (ARRAY['submitted', 'placed', 'claimed', 'succeeded'])"


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
        found.append(f"j.reason = :reason AND {_UNUSUAL}")
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


def _plan(connection: Connection, workspace_id: int, chosen: JobFilter) -> _Plan:
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
    for index, word in enumerate(chosen.words):
        values[f"word{index}"] = containing(word)
        conditions.append(f"j.name LIKE :word{index}")
    if chosen.words and (names := _names(connection, values, len(chosen.words))) is not None:
        values["names"] = names
        drives.append(
            "SELECT j.id FROM jobs j WHERE j.workspace_id = :workspace AND j.name = ANY(CAST(:names AS text[]))"
        )
    plan = _Plan(conditions, values)
    if not drives:
        return plan
    columns = ", ".join(
        f"(SELECT count(*) FROM ({drive} LIMIT {NARROW + 1}) AS p{n}) AS n{n}" for n, drive in enumerate(drives)
    )
    counts = list(connection.execute(text(f"SELECT {columns}"), values).one())
    best = counts.index(min(counts))
    if counts[best] <= NARROW:
        plan.narrow = f"{drives[best]} LIMIT {NARROW}"
    elif best < len(indexed) and ":states" not in indexed[best]:
        plan.along = indexed[best]
    return plan


def _names(connection: Connection, values: dict[str, Any], words: int) -> list[str] | None:
    """The names with all of the words in them; None when there are too many for a narrow filter."""
    wanted = " AND ".join(f"name LIKE :word{index}" for index in range(words))
    statement = f"SELECT name FROM job_names WHERE workspace_id = :workspace AND {wanted} LIMIT {_NAMES + 1}"
    found = list(connection.execute(text(statement), values).scalars())
    return found if len(found) <= _NAMES else None


def _cursor(key: str | None, job_id: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([key, job_id]).encode()).decode().rstrip("=")


def _place(cursor: str, order: Order) -> tuple[str | None, int]:
    try:
        key, job_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(job_id, int) and isinstance(key, str) == (order.key is not None):
            return key, job_id
    except (ValueError, TypeError):
        pass
    raise InvalidSpec.of([FieldError("cursor", "is not a cursor of this list", "Begin at its first page.")])


def page(
    connection: Connection,
    workspace_id: int,
    chosen: JobFilter,
    *,
    sort: str = "newest",
    after: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Listed:
    """The jobs that `chosen` lets through, in the order `sort`: those after a cursor, or those right before one."""
    order = ORDERS[sort]
    plan = _plan(connection, workspace_id, chosen)
    backwards = before is not None and after is None
    cursor = before if backwards else after
    rows, total, last = _read(connection, plan, order, cursor, backwards=backwards, limit=limit)
    more = len(rows) > limit
    rows = rows[:limit]
    unseen = not more and last is not None
    far = _cursor(*rows[-1]) if more else last
    near = _cursor(*rows[0]) if rows and cursor is not None else None
    if backwards:
        rows.reverse()
    items = again(connection, workspace_id, [row[1] for row in rows])
    previous, following = (far, near) if backwards else (near, far)
    return Listed(items, previous, following, total, unseen)


def _read(
    connection: Connection, plan: _Plan, order: Order, cursor: str | None, *, backwards: bool, limit: int
) -> tuple[list[tuple[str | None, int]], int | None, str | None]:
    """One more than `limit` keys in order, how many there are in all, and where a reading that was cut off stopped."""
    descending = order.descending != backwards
    sense, comparison = ("DESC", "<") if descending else ("ASC", ">")
    values, start = dict(plan.values), plan.floor
    if cursor is not None:
        key, job_id = _place(cursor, order)
        values |= {"at": job_id} | ({} if key is None else {"key": key})
        start = (
            f"j.id {comparison} :at"
            if order.key is None
            else f"({order.key}, j.id) {comparison} (CAST(:key AS {order.type}), :at)"
        )
    key_column = f"CAST({order.key} AS text)" if order.key else "CAST(NULL AS text)"
    by = f"{order.key} {sense}, j.id {sense}" if order.key else f"j.id {sense}"
    fits = " AND ".join(["j.workspace_id = :workspace", order.only, *plan.conditions])
    if plan.narrow:
        statement = f"""
            WITH few (id) AS MATERIALIZED ({plan.narrow}),
            fitting AS MATERIALIZED (
              SELECT j.* FROM few JOIN jobs j ON j.id = few.id WHERE {fits})
            SELECT {key_column} AS key, j.id, (SELECT count(*) FROM fitting) AS total FROM fitting j
            WHERE {start} ORDER BY {by} LIMIT {limit + 1}
        """
        rows = connection.execute(text(statement), values).all()
        total = rows[0].total if rows else None if cursor else 0
        return [(row.key, row.id) for row in rows], total, None
    # A walk along the index, by the narrowest filter where its index has this order.
    along = plan.along if order.key is None else "true"
    inner = f"""
        SELECT {key_column} AS key, j.id, ({fits}) AS fits FROM jobs j
        WHERE j.workspace_id = :workspace AND {order.only} AND {along} AND {start} ORDER BY {by} LIMIT {EFFORT}
    """
    # The last row of the effort is read out whether it fits or not: it is where the next page goes on.
    numbered = f"SELECT *, row_number() OVER () AS place FROM ({inner}) AS w"
    statement = f"""
        SELECT key, id, fits, place FROM ({numbered}) AS n WHERE fits OR place = {EFFORT} LIMIT {limit + 2}
    """
    rows = connection.execute(text(statement), values).all()
    found = [(row.key, row.id) for row in rows if row.fits][: limit + 1]
    stopped = rows[-1] if rows and rows[-1].place == EFFORT and len(found) <= limit else None
    return found, None, _cursor(stopped.key, stopped.id) if stopped else None


def ids(
    connection: Connection, workspace_id: int, chosen: JobFilter, *, limit: int, newer: int | None = None
) -> tuple[list[int], bool]:
    """Up to `limit` of the newest jobs that `chosen` lets through (with `newer`, only those after that job), and
    whether there are, or may be, more."""
    plan = _plan(connection, workspace_id, chosen)
    if newer is not None:
        plan.floor = "j.id > :newer"
        plan.values["newer"] = newer
    rows, _, unread = _read(connection, plan, ORDERS["newest"], None, backwards=False, limit=limit)
    return [job_id for _, job_id in rows[:limit]], len(rows) > limit or unread is not None


def newest(connection: Connection, workspace_id: int) -> int:
    """The id of the workspace's newest job, 0 before the first."""
    statement = "SELECT coalesce(max(id), 0) FROM jobs WHERE workspace_id = :workspace"
    found: int = connection.execute(text(statement), {"workspace": workspace_id}).scalar_one()
    return found


def again(connection: Connection, workspace_id: int, ids: Sequence[int]) -> tuple[JobSummary, ...]:
    """These jobs of the workspace as they are now, in the order of `ids`."""
    statement = "SELECT id FROM jobs WHERE workspace_id = :workspace AND id = ANY(CAST(:ids AS bigint[]))"
    mine = connection.execute(text(statement), {"workspace": workspace_id, "ids": list(ids)}).scalars()
    found = {job.id: job for job in jobs.summaries(connection, list(mine))}
    return tuple(found[public] for one in ids if (public := encode("j", one)) in found)
