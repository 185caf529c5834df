"""Checkpoints copied ahead to another cloud, so that a lost one costs at most the work since the newest copy.

One copy of a job is on its way at a time, always of the newest checkpoint: those that came meanwhile are left out.
A job that runs on the cloud that stands by has none, as its checkpoints are made there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict
from orchestrator.domain.ids import decode, encode
from orchestrator.store import jobs, transfers

RETRY_SECONDS = 60.0
"""After a copy could not be made, the next one waits for so long."""

_AT_ONCE = 100
_LOCK = 7_201_113_603  # one scheduler at a time starts copies
_BEHIND = """
    SELECT j.id, j.workspace_id, newest.id AS artifact_id, newest.store AS source, target.store AS destination
    FROM jobs j
    CROSS JOIN LATERAL (SELECT p.store FROM pools p WHERE p.cloud = j.standby ORDER BY p.name LIMIT 1) AS target
    CROSS JOIN LATERAL (
      SELECT c.id, r.store FROM artifacts c JOIN replicas r ON r.artifact_id = c.id AND r.state = 'verified'
      WHERE c.job_id = j.id AND c.kind = 'checkpoint'
      ORDER BY c.epoch DESC, c.step DESC, c.id DESC, r.verified_at LIMIT 1
    ) AS newest
    WHERE j.standby IS NOT NULL AND j.finished_at IS NULL AND j.id <> ALL(CAST(:resting AS bigint[]))
      AND NOT EXISTS (SELECT FROM replicas r WHERE r.artifact_id = newest.id AND r.store = target.store
                      AND NOT (r.state = 'lost' AND r.job_id IS NULL))
      AND NOT EXISTS (SELECT FROM artifacts c JOIN replicas r ON r.artifact_id = c.id
                      WHERE c.job_id = j.id AND c.kind = 'checkpoint' AND r.job_id IS NOT NULL
                        AND r.state IN ('copying', 'lost'))
    ORDER BY j.id LIMIT :limit
"""
# `now()`, and not `clock_timestamp()`, because an index is asked about it.
_FAILED_LATELY = """
    SELECT failed.name FROM (
      SELECT DISTINCT workspace_id FROM jobs WHERE standby IS NOT NULL AND finished_at IS NULL
    ) AS concerned JOIN jobs failed ON failed.workspace_id = concerned.workspace_id AND failed.state = 'FAILED'
      AND failed.finished_at > now() - :seconds * interval '1 second'
    WHERE failed.kind = 'Transfer' AND failed.user_name = :system AND failed.name LIKE 'standby-%'
"""
_POINTLESS = """
    SELECT t.id FROM replicas r
    JOIN artifacts c ON c.id = r.artifact_id AND c.kind = 'checkpoint'
    JOIN jobs j ON j.id = c.job_id AND j.finished_at IS NOT NULL
    JOIN jobs t ON t.id = r.job_id AND t.kind = 'Transfer' AND t.user_name = :system
    WHERE r.state IN ('copying', 'lost') AND t.state IN ('QUEUED', 'DISPATCHED', 'RUNNING')
    ORDER BY t.id LIMIT :limit
"""
_NAME = "standby-"
# Held, it cannot be superseded before its copy has begun; found gone, it has been since we looked.
_KEEP = "SELECT FROM artifacts WHERE id = :artifact FOR KEY SHARE"


def replicate(connection: Connection) -> int:
    """Begin to copy the newest checkpoint of every job whose standby lacks it; returns how many. Copies of checkpoints
    of jobs that have ended are given up."""
    if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar_one():
        return 0
    for copy in connection.execute(text(_POINTLESS), {"system": transfers.SYSTEM, "limit": _AT_ONCE}).scalars().all():
        with suppress(Conflict):  # it has just ended
            jobs.cancel(connection, copy, transfers.SYSTEM)
    failed = connection.execute(text(_FAILED_LATELY), {"seconds": RETRY_SECONDS, "system": transfers.SYSTEM}).scalars()
    resting = [decode("j", name.removeprefix(_NAME)) for name in failed]
    behind = connection.execute(text(_BEHIND), {"resting": resting, "limit": _AT_ONCE}).all()
    return sum(_start(connection, job) for job in behind)


def _start(connection: Connection, job: Any) -> bool:
    if connection.execute(text(_KEEP), {"artifact": job.artifact_id}).first() is None:
        return False
    try:
        with connection.begin_nested():
            transfers.start(
                connection,
                job.workspace_id,
                transfers.SYSTEM,
                artifact_id=job.artifact_id,
                source=job.source,
                destination=job.destination,
                name=f"{_NAME}{encode('j', job.id)}",
            )
    except Conflict:  # somebody copies it there already
        return False
    return True
