"""Copies from which somebody has read wrong bytes. That alone marks nothing, since the way may be at fault: the copy is
checked, and what the check finds counts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict
from orchestrator.domain.ids import decode, encode
from orchestrator.domain.protocol import Report
from orchestrator.domain.transfer import Transfer
from orchestrator.store import transfers

PAUSE_SECONDS = 600.0
"""A copy that was found whole is not checked again for so long, whatever readers say."""

_ABOUT = """
    SELECT (SELECT m.name || '@' || v.version FROM model_versions v JOIN models m ON m.id = v.model_id
            WHERE v.artifact_id = r.artifact_id) AS model
    FROM replicas r WHERE r.artifact_id = :artifact AND r.store = :store AND r.state = 'verified' AND r.job_id IS NULL
      AND NOT EXISTS (
        SELECT FROM jobs j WHERE j.workspace_id = :workspace AND j.kind = 'Verify' AND j.state = 'SUCCEEDED'
          AND j.finished_at > clock_timestamp() - :pause * interval '1 second'
          AND j.document #>> '{spec,artifact}' = :name AND j.document #>> '{spec,store}' = :store)
"""


def look_into(connection: Connection, workspace_id: int, artifact_id: int, store: str) -> None:
    """Begin to check a copy, in Neutrino's own name, unless somebody is at work on it or has just found it whole."""
    values = {
        "artifact": artifact_id,
        "store": store,
        "workspace": workspace_id,
        "name": encode("a", artifact_id),
        "pause": PAUSE_SECONDS,
    }
    found = connection.execute(text(_ABOUT), values).one_or_none()
    if found is None:
        return
    with suppress(Conflict), connection.begin_nested():
        transfers.check(
            connection, workspace_id, transfers.SYSTEM, artifact_id=artifact_id, store=store, model=found.model
        )


def raised(connection: Connection, job: Any, report: Report) -> None:
    """Check the copies from which a transfer could not have its artifact intact, whatever came of it."""
    for store in report.damaged if job.document["kind"] == Transfer.kind else ():
        look_into(connection, job.workspace_id, decode("a", job.document["spec"]["artifact"]), store)
