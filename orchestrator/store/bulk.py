"""What is done to many jobs at once, in one transaction: each as it would be done to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict
from orchestrator.store import jobs

MOST = 500
"""So many jobs at once; more take another round."""

ACTIONS: dict[str, Callable[[Connection, int, str], None]] = {"cancel": jobs.cancel, "retry": jobs.retry}
_CONCERNS = {
    "cancel": "state IN ('QUEUED', 'DISPATCHED', 'RUNNING')",
    "retry": "state IN ('FAILED', 'CANCELLED')",
}
# In the order of ids, like every other transaction that locks several jobs.
_LOCK = """
    SELECT id FROM jobs WHERE workspace_id = :workspace AND id = ANY(CAST(:ids AS bigint[])) AND {concerns}
    ORDER BY id FOR NO KEY UPDATE
"""


def concerned(connection: Connection, workspace_id: int, action: str, ids: Sequence[int]) -> list[int]:
    """Those of these jobs of the workspace whose state allows the action; it stays so until the transaction ends."""
    statement = _LOCK.format(concerns=_CONCERNS[action])
    return list(connection.execute(text(statement), {"workspace": workspace_id, "ids": list(ids)}).scalars())


def act(connection: Connection, workspace_id: int, user: str, action: str, ids: Sequence[int]) -> list[int]:
    """Cancel or retry those of these jobs for which it is possible, and return them; the others stay as they are."""
    done = []
    for job_id in concerned(connection, workspace_id, action, ids):
        try:
            ACTIONS[action](connection, job_id, user)
        except Conflict:
            continue
        done.append(job_id)
    return done
