"""Lists of jobs for people who look around: any filter in any order, both ways, at the same cost.

A page must answer at once however many jobs there are and whatever is asked, so no reading is longer than a fixed
number of rows. `store.filters` finds out how to read:

- When some part of the filter leaves few jobs, those are read, filtered and sorted: the answer is exact.
- Otherwise the index of the order is read from where the page begins, and what fits is taken, until the page is full
  or EFFORT rows have been seen. Then the page says so, and its cursor goes on from there.

What is found of the newest jobs on the way is kept in the plan as a sample, from which facets are counted.
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
from orchestrator.store.filters import Plan

EFFORT = 8_000
"""So many jobs are looked at for one page that is read in order."""
SAMPLE = 1_000
"""So many of the newest jobs are looked at to tell what others there are."""


@dataclass(frozen=True, slots=True)
class Sorting:
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
SORTINGS: Mapping[str, Sorting] = {
    "newest": Sorting("Newest first"),
    "oldest": Sorting("Oldest first", descending=False),
    "finished": Sorting("Last finished first", "j.finished_at", "timestamptz", only=_ENDED, note=_NOT_ENDED),
    "longest": Sorting("Longest first", "(j.finished_at - j.started_at)", "interval", only=_LASTED, note=_NOT_ENDED),
    "shortest": Sorting(
        "Shortest first", "(j.finished_at - j.started_at)", "interval", False, only=_LASTED, note=_NOT_ENDED
    ),
    "name": Sorting("Name", "j.name", "text", descending=False),
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


def _cursor(key: str | None, job_id: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([key, job_id]).encode()).decode().rstrip("=")


def _place(cursor: str, order: Sorting) -> tuple[str | None, int]:
    try:
        key, job_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(job_id, int) and isinstance(key, str) == (order.key is not None):
            return key, job_id
    except (ValueError, TypeError):
        pass
    raise InvalidSpec.of([FieldError("cursor", "is not a cursor of this list", "Begin at its first page.")])


def page(
    connection: Connection,
    plan: Plan,
    *,
    sort: str = "newest",
    after: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Listed:
    """The jobs that the plan lets through, in the order `sort`: those after a cursor, or those right before one."""
    order = SORTINGS[sort]
    backwards = before is not None and after is None
    cursor = before if backwards else after
    if plan.narrow:
        rows, total = _sorted(connection, plan, order, _Start.at(cursor, order, backwards), limit)
        last = None
    elif sort == "newest" and cursor is None:
        found, last = _sampled(connection, plan)
        rows, total = [(None, job_id) for job_id in found], None
    else:
        rows, last = _walked(connection, plan, order, _Start.at(cursor, order, backwards), limit)
        total = None
    more = len(rows) > limit
    rows = rows[:limit]
    unseen = not more and last is not None
    far = _cursor(*rows[-1]) if more else last
    near = _cursor(*rows[0]) if rows and cursor is not None else None
    if backwards:
        rows.reverse()
    items = again(connection, plan.workspace_id, [row[1] for row in rows])
    previous, following = (far, near) if backwards else (near, far)
    return Listed(items, previous, following, total, unseen)


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a reading begins and which way it goes, as SQL: `condition` on `values`, and `by`, its ORDER BY."""

    condition: str
    by: str
    values: dict[str, Any]

    @classmethod
    def at(cls, cursor: str | None, order: Sorting, backwards: bool) -> _Start:
        sense, comparison = ("DESC", "<") if order.descending != backwards else ("ASC", ">")
        by = f"{order.key} {sense}, j.id {sense}" if order.key else f"j.id {sense}"
        if cursor is None:
            return cls("true", by, {})
        key, job_id = _place(cursor, order)
        if order.key is None:
            return cls(f"j.id {comparison} :at", by, {"at": job_id})
        return cls(
            f"({order.key}, j.id) {comparison} (CAST(:key AS {order.type}), :at)", by, {"at": job_id, "key": key}
        )


_Row = tuple[str | None, int]


def _key(order: Sorting) -> str:
    return f"CAST({order.key} AS text)" if order.key else "CAST(NULL AS text)"


def _sorted(
    connection: Connection, plan: Plan, order: Sorting, start: _Start, limit: int
) -> tuple[list[_Row], int | None]:
    """One more than `limit` rows of a narrow plan, and how many there are in all, if that is known. The sample comes
    with the first row, so that the jobs are read once."""
    fits = " AND ".join(["j.workspace_id = :workspace", *plan.conditions])
    statement = f"""
        WITH few (id) AS MATERIALIZED ({plan.narrow}),
        fitting AS MATERIALIZED (
          SELECT j.id, j.name, j.started_at, j.finished_at FROM few JOIN jobs j ON j.id = few.id WHERE {fits}),
        sampled AS MATERIALIZED (SELECT id FROM fitting ORDER BY id DESC LIMIT {SAMPLE + 1})
        SELECT {_key(order)} AS key, j.id, (SELECT count(*) FROM fitting j WHERE {order.only}) AS total,
          CASE WHEN row_number() OVER (ORDER BY {start.by}) = 1 THEN ARRAY(SELECT id FROM sampled) END AS sampled
        FROM fitting j WHERE {order.only} AND {start.condition} ORDER BY {start.by} LIMIT {limit + 1}
    """
    rows = connection.execute(text(statement), plan.values | start.values).all()
    if rows:
        plan.sampled = list(rows[0].sampled), None
    return [(row.key, row.id) for row in rows], rows[0].total if rows else None if start.values else 0


def _walked(
    connection: Connection, plan: Plan, order: Sorting, start: _Start, limit: int
) -> tuple[list[_Row], str | None]:
    """One more than `limit` rows along the index of the order, and where a reading that was cut off stopped."""
    along = plan.along if order.key is None else "true"
    fits = " AND ".join([*plan.conditions, "true"])
    inner = f"""
        SELECT {_key(order)} AS key, j.id, ({fits}) AS fits FROM jobs j
        WHERE j.workspace_id = :workspace AND {order.only} AND {along} AND {start.condition}
        ORDER BY {start.by} LIMIT {EFFORT}
    """
    # The last row of the effort is read out whether it fits or not: it is where the next page goes on.
    numbered = f"SELECT *, row_number() OVER () AS place FROM ({inner}) AS w"
    statement = f"""
        SELECT key, id, fits, place FROM ({numbered}) AS n WHERE fits OR place = {EFFORT} LIMIT {limit + 2}
    """
    rows = connection.execute(text(statement), plan.values | start.values).all()
    found = [(row.key, row.id) for row in rows if row.fits][: limit + 1]
    stopped = rows[-1] if rows and rows[-1].place == EFFORT and len(found) <= limit else None
    return found, _cursor(stopped.key, stopped.id) if stopped else None


_NEWEST = SORTINGS["newest"]


def _sampled(connection: Connection, plan: Plan) -> tuple[list[int], str | None]:
    """One more than SAMPLE of the newest jobs, read once, and where that reading stopped if it was cut off."""
    if plan.sampled is None:
        start = _Start.at(None, _NEWEST, backwards=False)
        if plan.narrow:
            rows, last = _sorted(connection, plan, _NEWEST, start, SAMPLE)[0], None
        else:
            rows, last = _walked(connection, plan, _NEWEST, start, SAMPLE)
        plan.sampled = [job_id for _, job_id in rows], last
    return plan.sampled


def sample(connection: Connection, plan: Plan) -> tuple[list[int], bool]:
    """Up to SAMPLE of the newest jobs that the plan lets through, and whether there are, or may be, more."""
    found, last = _sampled(connection, plan)
    return found[:SAMPLE], len(found) > SAMPLE or last is not None


def ids(connection: Connection, plan: Plan, *, limit: int, newer: int | None = None) -> tuple[list[int], bool]:
    """Up to `limit` of the newest jobs that the plan lets through (with `newer`, only those after that job), and
    whether there are, or may be, more."""
    start = _Start("true", "j.id DESC", {})
    if newer is not None:
        start = _Start("j.id > :newer", "j.id DESC", {"newer": newer})
    if plan.narrow:
        rows, last = _sorted(connection, plan, _NEWEST, start, limit)[0], None
    else:
        rows, last = _walked(connection, plan, _NEWEST, start, limit)
    return [job_id for _, job_id in rows[:limit]], len(rows) > limit or last is not None


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
