"""Artifacts, their replicas, and the models they become. A row here means: the files lie in the store, verified."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator.domain.errors import FieldError, InvalidSpec, NotFound
from orchestrator.domain.ids import AttemptId, decode, encode
from orchestrator.domain.protocol import ArtifactUpload
from orchestrator.domain.views import ArtifactView, ReplicaView

_INSERT = """
WITH made AS (
  INSERT INTO artifacts (workspace_id, kind, job_id, epoch, step, digest, size, files)
  SELECT workspace_id, :kind, id, :epoch, CAST(:step AS bigint), decode(:digest, 'hex'), :size, :files
  FROM jobs WHERE id = :job AND starts_with(:prefix, 'artifacts/' || workspace_id || '/' || :attempt || '/')
  RETURNING id
), copied AS (
  INSERT INTO replicas (artifact_id, store, prefix) SELECT id, :store, :prefix FROM made
)
SELECT id FROM made
"""


def insert(
    connection: Connection, kind: str, attempt: AttemptId, upload: ArtifactUpload, step: int | None = None
) -> int:
    """Write down what an attempt has uploaded, and where it lies; returns its row id. Raises InvalidSpec when that is
    not below the attempt's own prefix."""
    row = connection.execute(
        text(_INSERT),
        {
            "kind": kind,
            "attempt": str(attempt),
            "job": attempt.job_id,
            "epoch": attempt.epoch,
            "step": step,
            "digest": upload.digest,
            "size": upload.size,
            "files": upload.files,
            "store": upload.store,
            "prefix": upload.prefix,
        },
    ).one_or_none()
    if row is None:
        fault = f"{upload.prefix!r} is not below the prefix of attempt {attempt}"
        raise InvalidSpec.of([FieldError("artifact.prefix", fault, "The lease says where its artifacts go.")])
    made: int = row.id
    return made


_NEXT_VERSION = """
WITH model AS (
  INSERT INTO models (workspace_id, name, versions) VALUES (:workspace, :name, 1)
  ON CONFLICT (workspace_id, name) DO UPDATE SET versions = models.versions + 1
  RETURNING id, versions
)
INSERT INTO model_versions (model_id, version, artifact_id, job_id, metrics, lineage)
SELECT model.id, model.versions, :artifact, :job,
  coalesce((SELECT jsonb_object_agg(name, value) FROM (
    SELECT DISTINCT ON (name) name, value FROM metrics WHERE job_id = :job AND value IS NOT NULL
    ORDER BY name, step DESC, epoch DESC) AS last), '{}'),
  CAST(:lineage AS jsonb)
FROM model
"""


def register_output(connection: Connection, job: Any, attempt: AttemptId, upload: ArtifactUpload) -> None:
    """Register what a job left behind: the next version of a model where its spec names one, else a plain output."""
    spec = job.document["spec"]
    name = spec.get("outputs", {}).get("model")
    kind = "model" if name else "output"
    artifact = insert(connection, kind, attempt, upload)
    if name is None:
        return
    lineage = {
        "job": encode("j", attempt.job_id),
        "attempt": str(attempt),
        "workload": spec.get("workload"),
        "dataset": spec.get("dataset"),
        "params": spec.get("params", {}),
    }
    connection.execute(
        text(_NEXT_VERSION),
        {
            "workspace": job.workspace_id,
            "name": name,
            "artifact": artifact,
            "job": attempt.job_id,
            "lineage": json.dumps(lineage),
        },
    )


COLUMNS = """
  c.id, c.kind, c.job_id, c.epoch, c.step, encode(c.digest, 'hex') AS digest, c.size, c.files, c.created_at,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('store', r.store, 'verified_at', r.verified_at) ORDER BY r.store), '[]')
   FROM replicas r WHERE r.artifact_id = c.id) AS replicas
"""


def view(row: Row[Any]) -> ArtifactView:
    """The view of a row that has COLUMNS."""
    return ArtifactView(
        id=encode("a", row.id),
        kind=row.kind,
        job=encode("j", row.job_id),
        epoch=row.epoch,
        step=row.step,
        digest=row.digest,
        size=row.size,
        files=row.files,
        created_at=row.created_at,
        replicas=tuple(ReplicaView.model_validate(replica) for replica in row.replicas),
    )


def page(
    connection: Connection, workspace_id: int, *, job_id: int | None, before: int | None, limit: int
) -> tuple[list[ArtifactView], int | None]:
    """The newest artifacts, and the id below which the next page begins."""
    statement = f"""
        SELECT {COLUMNS} FROM artifacts c
        WHERE c.workspace_id = :workspace AND (CAST(:job AS bigint) IS NULL OR c.job_id = :job)
          AND (CAST(:before AS bigint) IS NULL OR c.id < :before)
        ORDER BY c.id DESC LIMIT :limit
    """
    values = {"workspace": workspace_id, "job": job_id, "before": before, "limit": limit + 1}
    rows = list(connection.execute(text(statement), values))
    return [view(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None


def get(connection: Connection, workspace_id: int, public_id: str) -> tuple[ArtifactView, str, str]:
    """One artifact, with the store and the prefix of a replica of it. Raises NotFound."""
    statement = f"""
        SELECT {COLUMNS}, r.store, r.prefix FROM artifacts c JOIN replicas r ON r.artifact_id = c.id
        WHERE c.id = :id AND c.workspace_id = :workspace ORDER BY r.verified_at DESC LIMIT 1
    """
    values = {"id": decode("a", public_id), "workspace": workspace_id}
    row = connection.execute(text(statement), values).one_or_none()
    if row is None:
        raise NotFound(f"There is no artifact {public_id} in this workspace.")
    return view(row), row.store, row.prefix
