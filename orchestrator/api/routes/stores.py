"""Where bytes lie, for clients that move them with their own credentials."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from orchestrator.api.auth import Viewer
from orchestrator.api.dependencies import Db
from orchestrator.domain.places import ArtifactPlaces, StoreView
from orchestrator.domain.views import Page
from orchestrator.store import places

router = APIRouter(prefix="/v1", tags=["stores"])


@router.get("/stores")
def list_stores(db: Db, caller: Viewer) -> Page[StoreView]:  # noqa: ARG001 - whoever may look may see them
    """The object stores next to the pools."""
    with db.transaction() as connection:
        return Page(items=tuple(places.stores(connection)))


@router.get("/artifacts/{artifact_id}/replicas")
def list_replicas(
    db: Db,
    caller: Viewer,
    artifact_id: str,
    store: Annotated[str | None, Query(max_length=1024, description="Also say what this store could reuse.")] = None,
) -> ArtifactPlaces:
    """Where an artifact lies: store and prefix of every verified copy."""
    with db.transaction() as connection:
        return places.of_artifact(connection, caller.workspace_id, artifact_id, store)
