"""What jobs carry with them, wherever they run: their inputs and their newest checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from orchestrator.domain.freight import Freight, together

_NEWEST = """
    SELECT c.size, ARRAY(
      SELECT r.store FROM replicas r WHERE r.artifact_id = c.id AND r.state = 'verified') AS stores
    FROM artifacts c WHERE c.job_id = :job AND c.kind = 'checkpoint'
    ORDER BY c.epoch DESC, c.step DESC, c.id DESC LIMIT 1
"""


def checkpoint(connection: Connection, job_id: int) -> tuple[Freight, ...]:
    """The newest checkpoint of a job alone: of what it carries, this is what changes while it runs."""
    rows = connection.execute(text(_NEWEST), {"job": job_id})
    return tuple(Freight(size=row.size, stores=tuple(row.stores)) for row in rows)


_CARRIED = """
    SELECT c.job_id, c.size, ARRAY(
      SELECT r.store FROM replicas r WHERE r.artifact_id = c.artifact_id AND r.state = 'verified') AS stores
    FROM (
      SELECT job_id, artifact_id, size FROM job_inputs WHERE job_id = ANY(CAST(:jobs AS bigint[]))
      UNION ALL (
        SELECT DISTINCT ON (job_id) job_id, id, size FROM artifacts
        WHERE job_id = ANY(CAST(:jobs AS bigint[])) AND kind = 'checkpoint'
        ORDER BY job_id, epoch DESC, step DESC, id DESC)
    ) AS c
"""


def carried(connection: Connection, job_ids: Sequence[int]) -> dict[int, tuple[Freight, ...]]:
    """What each job that carries anything has with it: the bytes, and where they lie."""
    if not job_ids:
        return {}
    found: dict[int, list[Freight]] = {}
    for row in connection.execute(text(_CARRIED), {"jobs": list(job_ids)}):
        found.setdefault(row.job_id, []).append(Freight(size=row.size, stores=tuple(row.stores)))
    return {job_id: together(freights) for job_id, freights in found.items()}
