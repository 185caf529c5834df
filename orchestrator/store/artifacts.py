"""Artifacts, their replicas, and the models they become. A row here means: the files lie in the store, verified."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator.domain.errors import FieldError, InvalidSpec, NotFound
from orchestrator.domain.freight import cloud_of
from orchestrator.domain.ids import AttemptId, decode, encode
from orchestrator.domain.protocol import ArtifactUpload
from orchestrator.domain.state import ReplicaState
from orchestrator.domain.transfer import Place
from orchestrator.domain.views import ArtifactView, ReplicaView
from orchestrator.store import replicas
from orchestrator.store.replicas import Near

_INSERT = """
WITH made AS (
  INSERT INTO artifacts (workspace_id, kind, job_id, epoch, step, digest, size, files)
  SELECT j.workspace_id, :kind, j.id, a.epoch, CAST(:step AS bigint), decode(:digest, 'hex'), :size, :files
  FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN pools p ON p.id = a.pool_id
  WHERE a.job_id = :job AND a.epoch = :epoch AND p.store = :store
    AND starts_with(:prefix, 'artifacts/' || j.workspace_id || '/' || :attempt || '/')
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
    not in its pool's store, or not below the attempt's own prefix."""
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
        fault = f"{upload.prefix!r} in {upload.store!r} is not below the place of attempt {attempt}"
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
    SELECT DISTINCT ON (name) name, value FROM metrics
    WHERE job_id = :job AND value IS NOT NULL AND NOT starts_with(name, 'sys/')
    ORDER BY name, step DESC, epoch DESC) AS last), '{}'),
  CAST(:lineage AS jsonb) || (
    SELECT jsonb_build_object('spec', encode(j.spec_hash, 'hex'), 'neutrino', w.version, 'resumed_from_step',
      a.resumed_from_step,
      'inputs', (SELECT coalesce(jsonb_object_agg(i.name,
        jsonb_build_object('ref', i.ref, 'digest', encode(i.digest, 'hex'))), '{}')
        FROM job_inputs i WHERE job_id = j.id),
      'parent', coalesce(CAST(:lineage AS jsonb) -> 'parent',
        (SELECT to_jsonb(min(ref)) FROM job_inputs i WHERE job_id = j.id AND ref LIKE '%@%' HAVING count(*) = 1)))
    FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.epoch = j.epoch JOIN workers w ON w.id = a.worker_id
    WHERE j.id = :job)
FROM model
"""


def _code(spec: dict[str, Any]) -> str | None:
    """A hash of the user's own code: its files and how it is called. None for what comes with Neutrino."""
    called = [spec.get("command"), spec.get("entrypoint")]
    if not any(called):
        return None
    files = sorted((file["path"], file["sha256"]) for file in spec.get("files", ()))
    return hashlib.sha256(json.dumps([called, files]).encode()).hexdigest()


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
        "code": _code(spec),
    }
    if parent := spec.get("params", {}).get("parent"):
        lineage["parent"] = parent
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
  (SELECT coalesce(jsonb_agg(jsonb_build_object('store', r.store, 'state', r.state, 'error', r.error,
     'cloud', (SELECT min(p.cloud) FROM pools p WHERE p.store = r.store), 'job_id', r.job_id,
     'verified_at', r.verified_at, 'checked_at', r.checked_at) ORDER BY r.store), '[]')
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
        replicas=tuple(_replica(replica, row.size) for replica in row.replicas),
    )


def _replica(row: dict[str, Any], size: int) -> ReplicaView:
    copying = row["state"] == ReplicaState.COPYING
    return ReplicaView(
        store=row["store"],
        cloud=row["cloud"] or cloud_of(row["store"]),
        state=row["state"],
        bytes=0 if copying else size,
        verified_at=None if copying else row["verified_at"],
        checked_at=row["checked_at"],
        error=row["error"],
        job=encode("j", row["job_id"]) if row["job_id"] else None,
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


def get(connection: Connection, workspace_id: int, public_id: str, near: Near) -> tuple[ArtifactView, list[Place]]:
    """One artifact, with the copies of it that can be read, the nearest first. Raises NotFound."""
    statement = f"SELECT {COLUMNS} FROM artifacts c WHERE c.id = :id AND c.workspace_id = :workspace"
    values = {"id": decode("a", public_id), "workspace": workspace_id}
    row = connection.execute(text(statement), values).one_or_none()
    if row is None:
        raise NotFound(f"There is no artifact {public_id} in this workspace.")
    return view(row), replicas.sources(connection, row.id, near)
