"""Clusters on which pools of pods live."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from orchestrator.api.auth import Admin, Operator, Viewer
from orchestrator.api.dependencies import Db, IdempotencyKey, fingerprint
from orchestrator.domain.pods import ClusterView, CreateCluster
from orchestrator.domain.views import Page
from orchestrator.store import clusters, idempotency, tokens
from orchestrator.store.notify import WORKERS, notify
from orchestrator.store.session import Connection

router = APIRouter(prefix="/v1/clusters", tags=["clusters"])


def _wake(connection: Connection, name: str) -> None:
    if launchers := clusters.launchers(connection, name):
        notify(connection, {WORKERS: launchers})


@router.get("")
def list_clusters(db: Db, caller: Viewer) -> Page[ClusterView]:  # noqa: ARG001 - asking for the caller is the check
    """All clusters. They belong to the installation and are the same for every workspace."""
    with db.transaction() as connection:
        return Page(items=tuple(clusters.views(connection)))


@router.post("", status_code=201)
def add_cluster(request: Request, db: Db, caller: Admin, key: IdempotencyKey, cluster: CreateCluster) -> ClusterView:
    """Write down where a cluster is. No credential is stored: the launcher opens it with the identity it runs under."""
    with db.transaction() as connection:
        tokens.require_installation(connection, caller.workspace_id)

        def effect() -> dict[str, Any]:
            clusters.create(connection, cluster)
            return clusters.get(connection, cluster.name).model_dump(mode="json")

        body = fingerprint(request, cluster.model_dump_json().encode())
        return ClusterView.model_validate(idempotency.once(connection, caller.workspace_id, key, body, effect))


@router.get("/{name}")
def get_cluster(db: Db, caller: Viewer, name: str) -> ClusterView:  # noqa: ARG001
    """One cluster, with what its launcher found when it last looked."""
    with db.transaction() as connection:
        return clusters.get(connection, name)


@router.post("/{name}/check", status_code=202)
def check_cluster(db: Db, caller: Operator, name: str) -> ClusterView:
    """Ask a launcher to look at what it may do there; `checked_at` rises above `asked_at` when it has."""
    with db.transaction() as connection:
        tokens.require_installation(connection, caller.workspace_id)
        clusters.ask(connection, name)
        _wake(connection, name)
        return clusters.get(connection, name)


@router.post("/{name}/drain", status_code=202)
def drain_cluster(db: Db, caller: Operator, name: str) -> ClusterView:
    """Start nothing new there; what runs takes a checkpoint and goes on elsewhere."""
    with db.transaction() as connection:
        tokens.require_installation(connection, caller.workspace_id)
        view = clusters.drain(connection, name, draining=True)
        _wake(connection, name)
        return view


@router.post("/{name}/resume", status_code=202)
def resume_cluster(db: Db, caller: Operator, name: str) -> ClusterView:
    """Undo a drain."""
    with db.transaction() as connection:
        tokens.require_installation(connection, caller.workspace_id)
        return clusters.drain(connection, name, draining=False)


@router.delete("/{name}", status_code=204)
def remove_cluster(db: Db, caller: Admin, name: str) -> None:
    """Forget a cluster on which nothing runs."""
    with db.transaction() as connection:
        tokens.require_installation(connection, caller.workspace_id)
        clusters.remove(connection, name)
