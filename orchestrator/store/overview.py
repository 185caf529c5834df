"""What the first page shows: what needs attention, how deep the queue is, how every part is."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text


def workspaces_of(connection: Connection, jobs: Iterable[int]) -> dict[int, set[int]]:
    """These jobs by the workspace that owns them."""
    statement = """
        SELECT workspace_id, array_agg(id) AS jobs FROM jobs
        WHERE id = ANY(CAST(:ids AS bigint[])) GROUP BY workspace_id
    """
    rows = connection.execute(text(statement), {"ids": list(jobs)})
    return {row.workspace_id: set(row.jobs) for row in rows}
