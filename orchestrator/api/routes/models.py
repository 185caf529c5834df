"""Models and artifacts: list, look, name, delete, download."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from orchestrator.api import reading
from orchestrator.api.auth import Submitter, Viewer
from orchestrator.api.dependencies import Cursor, Db, Limit
from orchestrator.api.outside import apart, pieces
from orchestrator.api.routes.files import BYTES
from orchestrator.domain.aliases import AliasView, SetAlias
from orchestrator.domain.spec import Name
from orchestrator.domain.views import ArtifactDetail, ArtifactView, ModelVersionView, ModelView, Page
from orchestrator.store import artifacts, jobs, models, targets
from orchestrator.store.listing import decode_cursor, encode_cursor
from orchestrator.store.replicas import Near

router = APIRouter(prefix="/v1", tags=["models"])

Alias = Annotated[Name, Path(description="A word that is no number, such as prod.")]
Nearby = Annotated[
    str | None, Query(max_length=1024, description="The reader's cloud, pool or store; by default any copy will do.")
]


@router.get("/models")
def list_models(db: Db, caller: Viewer, limit: Limit = 50, cursor: Cursor = None) -> Page[ModelView]:
    """The workspace's models by name, each with its newest version."""
    with db.transaction() as connection:
        return models.page(connection, caller.workspace_id, after=cursor, limit=limit)


@router.get("/models/{name}")
def list_versions(
    db: Db,
    caller: Viewer,
    name: str,
    limit: Limit = 50,
    before: Annotated[int | None, Query(alias="cursor", ge=0, lt=2**31)] = None,
) -> Page[ModelVersionView]:
    """A model's versions, newest first."""
    with db.transaction() as connection:
        return models.versions(connection, caller.workspace_id, name, before=before, limit=limit)


@router.get("/models/{name}/aliases")
def list_aliases(db: Db, caller: Viewer, name: str) -> list[AliasView]:
    """A model's aliases. `latest` is not among them: it is always the newest version."""
    with db.transaction() as connection:
        models.version(connection, caller.workspace_id, name, None)
        return models.aliases(connection, caller.workspace_id, name)


@router.put("/models/{name}/aliases/{alias}")
def set_alias(db: Db, caller: Submitter, name: str, alias: Alias, wanted: SetAlias) -> AliasView:
    """Let an alias point at a version, wherever it pointed before."""
    with db.transaction() as connection:
        return models.set_alias(connection, caller.workspace_id, name, alias, wanted.version, caller.user)


@router.delete("/models/{name}/aliases/{alias}", status_code=204)
def remove_alias(db: Db, caller: Submitter, name: str, alias: str) -> None:
    """Forget an alias. The version that it pointed at stays."""
    with db.transaction() as connection:
        models.remove_alias(connection, caller.workspace_id, name, alias)


@router.get("/models/{name}/{version}")
def get_version(db: Db, caller: Viewer, name: str, version: str) -> ModelVersionView:
    """One version of a model: a number, an alias, or `latest`."""
    with db.transaction() as connection:
        return models.version(connection, caller.workspace_id, name, version)


@router.delete("/models/{name}/{version}")
def delete_version(db: Db, caller: Submitter, name: str, version: str) -> ModelVersionView:
    """Delete a version with all of its copies. 409 names the aliases and jobs that use it."""
    with db.transaction() as connection:
        return models.delete(connection, caller.workspace_id, name, version)


@router.get("/artifacts")
def list_artifacts(
    db: Db, caller: Viewer, job: str | None = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[ArtifactView]:
    """The workspace's artifacts, newest first; those of one job when it is named."""
    before = None if cursor is None else decode_cursor(cursor)
    with db.transaction() as connection:
        job_id = None if job is None else jobs.find(connection, caller.workspace_id, job)
        items, last = artifacts.page(connection, caller.workspace_id, job_id=job_id, before=before, limit=limit)
    return Page(items=tuple(items), next=None if last is None else encode_cursor(last))


@router.get("/artifacts/{artifact_id}")
@apart
def get_artifact(db: Db, caller: Viewer, artifact_id: str, near: Nearby = None) -> ArtifactDetail:
    """One artifact with its manifest."""
    view, _, manifest = reading.locate(db, caller.workspace_id, artifact_id, _near(db, near))
    return ArtifactDetail(**dict(view), manifest=manifest)


@router.get("/artifacts/{artifact_id}/files/{path:path}", response_class=StreamingResponse, responses=BYTES)
@apart
def download(db: Db, caller: Viewer, artifact_id: str, path: str, near: Nearby = None) -> StreamingResponse:
    """The bytes of one file, from the nearest good copy. The SHA-256 to compare them with is in the manifest and in
    `X-Content-SHA256`."""
    _, place, manifest = reading.locate(db, caller.workspace_id, artifact_id, _near(db, near))
    entry, chunks = reading.Copy(db, caller.workspace_id, artifact_id, place).stream(manifest, path)
    headers = {"Content-Length": str(entry.size), "X-Content-SHA256": entry.sha256}
    return StreamingResponse(pieces(chunks), media_type="application/octet-stream", headers=headers)


def _near(db: Db, near: str | None) -> Near:
    if near is None:
        return Near()
    with db.transaction() as connection:
        return targets.resolve(connection, near)
