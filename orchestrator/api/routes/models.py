"""Models and artifacts: list, look, download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from cloud_adapters.artifacts import open_file, read_manifest
from cloud_adapters.registry import open_store
from orchestrator.api.auth import Viewer
from orchestrator.api.dependencies import Cursor, Db, Limit
from orchestrator.api.routes.files import BYTES
from orchestrator.domain.artifact import Manifest
from orchestrator.domain.errors import CorruptArtifact, NotFound, nearest
from orchestrator.domain.views import ArtifactDetail, ArtifactView, ModelVersionView, ModelView, Page
from orchestrator.store import artifacts, jobs, models
from orchestrator.store.listing import decode_cursor, encode_cursor

router = APIRouter(prefix="/v1", tags=["models"])


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


@router.get("/models/{name}/{version}")
def get_version(db: Db, caller: Viewer, name: str, version: str) -> ModelVersionView:
    """One version of a model: a number, or `latest`."""
    if version != "latest" and not (version.isascii() and version.isdigit() and len(version) < 10):
        raise NotFound(
            f"Model {name} has no version {version[:80]!r}.", hint="Versions are numbers; or write `latest`."
        )
    with db.transaction() as connection:
        number = None if version == "latest" else int(version)
        return models.version(connection, caller.workspace_id, name, number)


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


def _located(db: Db, workspace_id: int, artifact_id: str) -> tuple[ArtifactView, str, str, Manifest]:
    """An artifact with its store, its prefix and its manifest, which must be the one that the row names."""
    with db.transaction() as connection:
        view, store, prefix = artifacts.get(connection, workspace_id, artifact_id)
    manifest = read_manifest(open_store(store), prefix)
    if manifest.digest != view.digest:
        raise CorruptArtifact(
            f"The manifest of {artifact_id} in {store} is not the one that was published.",
            hint="Its replica has been changed from outside; nothing was read from it.",
        )
    return view, store, prefix, manifest


@router.get("/artifacts/{artifact_id}")
def get_artifact(db: Db, caller: Viewer, artifact_id: str) -> ArtifactDetail:
    """One artifact with its manifest."""
    view, _, _, manifest = _located(db, caller.workspace_id, artifact_id)
    return ArtifactDetail(**dict(view), manifest=manifest)


@router.get("/artifacts/{artifact_id}/files/{path:path}", response_class=StreamingResponse, responses=BYTES)
def download(db: Db, caller: Viewer, artifact_id: str, path: str) -> StreamingResponse:
    """The bytes of one file. The SHA-256 to compare them with is in the manifest and in `X-Content-SHA256`."""
    _, store, prefix, manifest = _located(db, caller.workspace_id, artifact_id)
    entry = next((file for file in manifest.files if file.path == path), None)
    if entry is None:
        guess = nearest(path, (file.path for file in manifest.files))
        raise NotFound(
            f"Artifact {artifact_id} has no file {path[:200]!r}.",
            hint=f"Did you mean {guess!r}?" if guess else None,
        )
    chunks: Iterator[bytes] = iter(open_file(open_store(store), prefix, path))
    headers = {"Content-Length": str(entry.size), "X-Content-SHA256": entry.sha256}
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)
