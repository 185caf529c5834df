"""The list of jobs for programs, by keyset: every page costs the same, whether it is the first or the ten-thousandth.

It is read like the newest jobs in `store.browse`: a page is cut short where a filter hardly lets any job through, and
`next` goes on from there.
"""

from __future__ import annotations

import base64

from sqlalchemy import Connection

from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.ids import decode
from orchestrator.domain.views import JobSummary, Page
from orchestrator.store import browse, filters, jobs
from orchestrator.store.filters import JobFilter


def encode_cursor(last_id: int) -> str:
    """An opaque cursor: a page after it begins below this id."""
    return base64.urlsafe_b64encode(str(last_id).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """The id in a cursor. Raises InvalidSpec for a cursor that no page has given."""
    try:
        return int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise InvalidSpec.of([FieldError("cursor", "is not a cursor of this API", "Take it from `next`.")]) from None


def page(
    connection: Connection,
    workspace_id: int,
    chosen: JobFilter,
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[JobSummary]:
    """The newest jobs that `chosen` lets through, after `cursor`. It may be short, or empty, and not the last one."""
    last = None if cursor is None else decode_cursor(cursor)
    plan = filters.plan(connection, workspace_id, chosen, by_age=True)
    ids, following = browse.below(connection, plan, last, limit)
    return Page(
        items=tuple(sorted(jobs.summaries(connection, ids), key=lambda job: decode("j", job.id), reverse=True)),
        next=None if following is None else encode_cursor(following),
    )
