"""Models: their versions compared, where their copies lie, what is on its way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from orchestrator.dashboard.access import Db, Viewer
from orchestrator.dashboard.parts import shared
from orchestrator.dashboard.render import render
from orchestrator.domain.views import ModelVersionView, ReplicaView
from orchestrator.store import models, places, transfers

router = APIRouter(prefix="/models")

_PAGE = 50
_VERSIONS = 20
_METRICS = 5
_MIGRATIONS = 20


@router.get("")
@shared
def listing(
    request: Request, db: Db, viewer: Viewer, after: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """The models of the workspace, each with its newest version, and the migrations that run."""
    with db.transaction() as connection:
        page = models.page(connection, viewer.workspace_id, after=after, limit=_PAGE)
        running, _ = transfers.page(
            connection, viewer.workspace_id, model=None, open_only=True, before=None, limit=_MIGRATIONS
        )
    following = f"/models?{urlencode({'after': page.next})}" if page.next else None
    shown = {model.name: _foremost([model.latest], 3) for model in page.items}
    return render(
        request,
        "models.html",
        models=page.items,
        shown=shown,
        migrations=running,
        first="/models" if after else None,
        next=following,
    )


@router.get("/{name}")
@shared
def model(
    request: Request,
    db: Db,
    viewer: Viewer,
    name: str,
    before: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
) -> Response:
    """One model: its versions, aliases, copies and migrations."""
    with db.transaction() as connection:
        page = models.versions(connection, viewer.workspace_id, name, before=before, limit=_VERSIONS)
        aliases = models.aliases(connection, viewer.workspace_id, name)
        stores = places.stores(connection)
        migrations, _ = transfers.page(
            connection, viewer.workspace_id, model=name, open_only=False, before=None, limit=_MIGRATIONS
        )
    known = {store.store: store.cloud for store in stores}
    for version in page.items:
        known |= {copy.store: copy.cloud for copy in version.artifact.replicas}
    return render(
        request,
        "model.html",
        name=name,
        versions=page.items,
        metrics=_foremost(page.items, _METRICS),
        changes=_changes(page.items),
        aliases=aliases,
        stores=sorted(known.items(), key=lambda pair: (pair[1], pair[0])),
        copies=_matrix(page.items),
        migrations=migrations,
        first=f"/models/{name}" if before is not None else None,
        next=f"/models/{name}?before={page.next}" if page.next else None,
    )


_FOREMOST = ("test/", "val/", "eval/")


def _foremost(versions: Sequence[ModelVersionView], most: int) -> list[str]:
    """The metrics by which versions are told apart: what was measured on unseen data first."""
    names = dict.fromkeys(name for version in versions for name in version.metrics)
    ranks = {prefix: rank for rank, prefix in enumerate(_FOREMOST)}
    return sorted(names, key=lambda name: (ranks.get(f"{name.partition('/')[0]}/", len(ranks)), name))[:most]


def _matrix(versions: Sequence[ModelVersionView]) -> dict[tuple[int, str], ReplicaView]:
    return {(version.version, copy.store): copy for version in versions for copy in version.artifact.replicas}


def _changes(versions: Sequence[ModelVersionView]) -> dict[tuple[int, str], float]:
    """By how much each metric of a version is different from the version before it."""
    return {
        (newer.version, name): newer.metrics[name] - older.metrics[name]
        for newer, older in pairwise(versions)
        for name in newer.metrics.keys() & older.metrics.keys()
        if newer.metrics[name] != older.metrics[name]
    }
