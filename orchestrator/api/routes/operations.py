"""Pools, workers, tokens, and the state of the control plane itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from cloud_adapters.registry import check_store
from orchestrator.api.auth import Admin, Authenticator, Operator, Viewer
from orchestrator.api.dependencies import Cursor, Db, IdempotencyKey, Limit, fingerprint
from orchestrator.domain.state import JobState
from orchestrator.domain.views import (
    CreatePool,
    CreateToken,
    Page,
    PoolView,
    StatusView,
    TokenCreated,
    TokenView,
    WhoAmI,
    WorkerView,
)
from orchestrator.queues import queue_for_pool
from orchestrator.store import audit, components, idempotency, overview, pools, tokens
from orchestrator.store.listing import decode_cursor, encode_cursor
from orchestrator.store.notify import WORKERS, notify
from orchestrator.version import VERSION

router = APIRouter(prefix="/v1", tags=["operations"])


@router.get("/pools")
def list_pools(db: Db, caller: Viewer) -> Page[PoolView]:  # noqa: ARG001 - asking for the caller is the check
    """All pools with their capacity. Pools belong to the installation and are the same for every workspace."""
    with db.transaction() as connection:
        return Page(items=tuple(pools.views(connection, queue_for_pool)))


@router.post("/pools", status_code=201)
def create_pool(request: Request, db: Db, caller: Admin, key: IdempotencyKey, pool: CreatePool) -> PoolView:
    """Add a pool. Its store is not contacted, but its address must be one that may be used."""
    check_store(pool.store)
    with db.transaction() as connection:
        tokens.require_installation(connection, caller.workspace_id)

        def effect() -> dict[str, Any]:
            pools.create(connection, pool)
            audit.about(pool.name)
            made = next(view for view in pools.views(connection, queue_for_pool) if view.name == pool.name)
            return made.model_dump(mode="json")

        body = fingerprint(request, pool.model_dump_json().encode())
        return PoolView.model_validate(idempotency.once(connection, caller.workspace_id, key, body, effect))


@router.get("/workers")
def list_workers(db: Db, caller: Viewer, limit: Limit = 50, cursor: Cursor = None) -> Page[WorkerView]:  # noqa: ARG001
    """The workers of all pools, newest first."""
    with db.transaction() as connection:
        before = None if cursor is None else decode_cursor(cursor)
        items, last = pools.workers(connection, before=before, limit=limit)
    return Page(items=tuple(items), next=None if last is None else encode_cursor(last))


@router.post("/workers/{worker_id}/drain", status_code=202)
def drain_worker(db: Db, caller: Operator, worker_id: str) -> WorkerView:
    """Ask a worker to checkpoint what it runs, give it back, and exit. Draining twice is the same as once."""
    with db.transaction() as connection:
        tokens.require_installation(connection, caller.workspace_id)
        row_id, view = pools.drain(connection, worker_id)
        notify(connection, {WORKERS: [row_id]})
    return view


@router.get("/tokens")
def list_tokens(db: Db, caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> Page[TokenView]:
    """The workspace's tokens, without their secrets."""
    with db.transaction() as connection:
        before = None if cursor is None else decode_cursor(cursor)
        items, last = tokens.page(connection, caller.workspace_id, before=before, limit=limit)
    return Page(items=tuple(items), next=None if last is None else encode_cursor(last))


@router.post("/tokens", status_code=201)
def create_token(db: Db, caller: Admin, wanted: CreateToken) -> TokenCreated:
    """Make a token. Its secret is in this answer and nowhere else, which is why an Idempotency-Key has no effect here:
    the answer is not kept."""
    with db.transaction() as connection:
        made = tokens.create(connection, caller.workspace_id, wanted)
        audit.about(f"{made.id} {made.name} ({made.role}) for {made.user}")
        return made


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(request: Request, db: Db, caller: Admin, token_id: str) -> None:
    """End a token. It dies here at once, in other API processes within two seconds."""
    with db.transaction() as connection:
        tokens.revoke(connection, caller.workspace_id, token_id)
    authenticator: Authenticator = request.app.state.authenticator
    authenticator.forget()


@router.get("/whoami")
def whoami(caller: Viewer) -> WhoAmI:
    """Who the token says you are."""
    return WhoAmI(user=caller.user, workspace=caller.workspace, role=caller.role)


@router.get("/status")
def status(db: Db, caller: Viewer) -> StatusView:
    """The workspace's jobs by state, and the health of every part of the control plane."""
    with db.transaction() as connection:
        return StatusView(
            version=VERSION,
            jobs=overview.depth(connection, caller.workspace_id, JobState),
            components=tuple(components.views(connection)),
        )
