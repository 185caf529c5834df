"""Lists of jobs, by keyset: every page costs the same, whether it is the first or the ten-thousandth.

Each filter has an index that ends in the job's id, so a page is read in order and the reading stops when it is full. A
list over several states is the merge of one such reading per state, because Postgres cannot read `state IN (…)` in
order.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.state import JobState
from orchestrator.domain.views import JobSummary, Page
from orchestrator.store.jobs import SUMMARY_COLUMNS, SUMMARY_TABLES, views


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list shows; None and empty mean all. `labels` must all match, and all `words` must be in the name."""

    states: Sequence[JobState] = ()
    name: str | None = None
    labels: Sequence[tuple[str, str]] = field(default_factory=tuple)
    user: str | None = None
    kind: str | None = None
    pool: str | None = None
    since: datetime | None = None
    reason: str | None = None
    words: Sequence[str] = ()


def encode_cursor(last_id: int) -> str:
    """An opaque cursor: a page after it begins below this id."""
    return base64.urlsafe_b64encode(str(last_id).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """The id in a cursor. Raises InvalidSpec for a cursor that no page has given."""
    try:
        return int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise InvalidSpec.of([FieldError("cursor", "is not a cursor of this API", "Take it from `next`.")]) from None


_CONDITIONS = {
    "name": "j.name = :name",
    "user": "j.user_name = :user",
    "kind": "j.kind = :kind",
    "reason": "j.reason = :reason",
    "pool": "j.pool_id = (SELECT id FROM pools WHERE name = :pool)",
    # Ids are given in the order of time, so the oldest job that counts bounds the reading from below.
    "since": """j.created_at >= :since AND j.id >= (
        SELECT min(id) FROM (SELECT id FROM jobs WHERE workspace_id = :workspace AND created_at >= :since
                             ORDER BY created_at LIMIT 100) AS oldest)""",
}


def containing(word: str) -> str:
    """The pattern of LIKE for names with a word in them."""
    escaped = word.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _where(chosen: JobFilter, before: int | None) -> tuple[list[str], dict[str, Any]]:
    conditions, values = ["j.workspace_id = :workspace"], {}
    for name, condition in _CONDITIONS.items():
        if (value := getattr(chosen, name)) is not None:
            conditions.append(condition)
            values[name] = value
    for index, (key, value) in enumerate(chosen.labels):
        conditions.append(
            f"EXISTS (SELECT FROM job_labels l WHERE l.workspace_id = :workspace AND l.key = :key{index} "
            f"AND l.value = :value{index} AND l.job_id = j.id)"
        )
        values |= {f"key{index}": key, f"value{index}": value}
    for index, word in enumerate(chosen.words):
        conditions.append(f"j.name LIKE :word{index}")
        values[f"word{index}"] = containing(word)
    if before is not None:
        conditions.append("j.id < :before")
        values["before"] = before
    return conditions, values


def page(
    connection: Connection,
    workspace_id: int,
    chosen: JobFilter,
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[JobSummary]:
    """The newest jobs that `chosen` lets through, after `cursor`."""
    conditions, values = _where(chosen, None if cursor is None else decode_cursor(cursor))
    readings = []
    for index, state in enumerate(chosen.states or (None,)):
        mine = conditions if state is None else [*conditions, f"j.state = :state{index}"]
        values |= {} if state is None else {f"state{index}": state.value}
        readings.append(f"(SELECT j.id FROM jobs j WHERE {' AND '.join(mine)} ORDER BY j.id DESC LIMIT :limit)")
    statement = f"""
        WITH chosen AS (SELECT id FROM ({" UNION ALL ".join(readings)}) AS r ORDER BY id DESC LIMIT :limit)
        SELECT {SUMMARY_COLUMNS} FROM chosen JOIN {SUMMARY_TABLES} ON j.id = chosen.id ORDER BY j.id DESC
    """
    rows = list(connection.execute(text(statement), values | {"workspace": workspace_id, "limit": limit + 1}))
    more = len(rows) > limit
    return Page(
        items=tuple(views(connection, rows[:limit])),
        next=encode_cursor(rows[limit - 1].id) if more else None,
    )
