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
    total, stopped = None, None
    if plan.narrow:
        rows, total = _sorted(connection, plan, order, _Start.at(cursor, order, backwards), limit)
    elif sort == "newest" and cursor is None:
        rows, stopped = _walked(connection, plan, order, _Start.at(None, order, backwards), SAMPLE)
        plan.sampled = [job_id for _, job_id in rows], stopped is not None
    else:
        rows, stopped = _walked(connection, plan, order, _Start.at(cursor, order, backwards), limit)
    more = len(rows) > limit
    rows = rows[:limit]
    unseen = not more and stopped is not None
    far = _cursor(*rows[-1]) if more else _cursor(*stopped) if stopped else None
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


def _sorted(
    connection: Connection, plan: Plan, order: Sorting, start: _Start, limit: int
) -> tuple[list[_Row], int | None]:
    """One more than `limit` rows of a narrow plan, and how many there are in all, if that is known. The sample comes
    with the first row, so that the jobs are read once."""
    statement = f"""
        WITH few (id) AS MATERIALIZED ({plan.narrow}),
        fitting AS MATERIALIZED (
          SELECT j.id, j.name, j.started_at, j.finished_at
          FROM (SELECT j.id FROM few j WHERE {plan.fits(plan.best)}) AS f JOIN jobs j ON j.id = f.id
          WHERE j.workspace_id = :workspace AND {plan.named(plan.best, row=True)}),
        sampled AS MATERIALIZED (SELECT id FROM fitting ORDER BY id DESC LIMIT {SAMPLE + 1})
        SELECT CAST({order.key or "NULL"} AS text) AS key, j.id,
          (SELECT count(*) FROM fitting j WHERE {order.only}) AS total,
          CASE WHEN row_number() OVER (ORDER BY {start.by}) = 1 THEN ARRAY(SELECT id FROM sampled) END AS sampled
        FROM fitting j WHERE {order.only} AND {start.condition} ORDER BY {start.by} LIMIT {limit + 1}
    """
    rows = connection.execute(text(statement), plan.values | start.values).all()
    if rows:
        plan.sampled = list(rows[0].sampled), False
    return [(row.key, row.id) for row in rows], rows[0].total if rows else None if start.values else 0


# Ids are given in the order of time, so the oldest job that counts bounds the reading from below.
_SINCE = """ AND j.id >= (
  SELECT min(id) FROM (SELECT id FROM jobs WHERE workspace_id = :workspace AND created_at >= :since
                       ORDER BY created_at LIMIT 100) AS oldest)"""


def _walked(
    connection: Connection, plan: Plan, order: Sorting, start: _Start, limit: int
) -> tuple[list[_Row], _Row | None]:
    """One more than `limit` rows along the index of the order, and the row at which a reading that was cut off
    stopped."""
    source, done = plan.source() if order.key is None else ("jobs j WHERE j.workspace_id = :workspace", None)
    bounded = _SINCE if order.key is None and plan.chosen.since is not None else ""
    # Jobs of one time lie side by side: then their rows are read, which have all that is asked. Names are in the index
    # of their order, too.
    row = done is None and order.key in {None, "j.finished_at"}
    named = plan.named(done, row=row or (done is None and (order.key == "j.name" or not plan.parts)))
    inner = f"""
        SELECT {order.key or "NULL"} AS key, j.id, ({plan.fits(done, row=row)} AND {named}) AS fits
        FROM {source} AND {order.only} AND {start.condition}{bounded}
        ORDER BY {start.by} LIMIT {EFFORT}
    """
    # The last row of the effort is read out whether it fits or not: it is where the next page goes on.
    numbered = f"SELECT *, row_number() OVER () AS place FROM ({inner}) AS w"
    statement = f"""
        SELECT CAST(key AS text) AS key, id, fits, place FROM ({numbered}) AS n
        WHERE fits OR place = {EFFORT} LIMIT {limit + 2}
    """
    rows = connection.execute(text(statement), plan.values | start.values).all()
    found = [(row.key, row.id) for row in rows if row.fits][: limit + 1]
    stopped = rows[-1] if rows and rows[-1].place == EFFORT and len(found) <= limit else None
    return found, (stopped.key, stopped.id) if stopped else None


_NEWEST = SORTINGS["newest"]


def sample(connection: Connection, plan: Plan) -> tuple[list[int], bool]:
    """Up to SAMPLE of the newest jobs that the plan lets through, and whether there are, or may be, more."""
    if plan.sampled is None:
        plan.sampled = ids(connection, plan, limit=SAMPLE)
    found, more = plan.sampled
    return found[:SAMPLE], len(found) > SAMPLE or more


def ids(connection: Connection, plan: Plan, *, limit: int, newer: int | None = None) -> tuple[list[int], bool]:
    """Up to `limit` of the newest jobs that the plan lets through (with `newer`, only those after that job), and
    whether there are, or may be, more."""
    start = _Start("true", "j.id DESC", {})
    if newer is not None:
        start = _Start("j.id > :newer", "j.id DESC", {"newer": newer})
    rows, stopped = _walked(connection, plan, _NEWEST, start, limit)
    return [job_id for _, job_id in rows[:limit]], len(rows) > limit or stopped is not None


def below(connection: Connection, plan: Plan, last: int | None, limit: int) -> tuple[list[int], int | None]:
    """Up to `limit` of the newest jobs that the plan lets through, from below the id `last` on, and the id below which
    the next ones are; None when there are no more."""
    start = _Start("true", "j.id DESC", {}) if last is None else _Start("j.id < :last", "j.id DESC", {"last": last})
    rows, stopped = _walked(connection, plan, _NEWEST, start, limit)
    found = [job_id for _, job_id in rows[:limit]]
    return found, found[-1] if len(rows) > limit else stopped[1] if stopped else None


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
