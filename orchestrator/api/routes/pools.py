"""Pools: made by administrators, seen by everybody."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from cloud_adapters.registry import check_store
from orchestrator.api.auth import Admin, Viewer
from orchestrator.api.dependencies import Db, IdempotencyKey, fingerprint
from orchestrator.domain.views import CreatePool, Page, PoolView, SetPrice
from orchestrator.queues import queue_for_pool
from orchestrator.store import audit, idempotency, pools, tokens

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
            return pools.view(connection, pool.name, queue_for_pool).model_dump(mode="json")

        body = fingerprint(request, pool.model_dump_json().encode())
        return PoolView.model_validate(idempotency.once(connection, caller.workspace_id, key, body, effect))


@router.put("/pools/{name}/price")
def set_pool_price(db: Db, caller: Admin, name: str, price: SetPrice) -> PoolView:
    """Say what one slot of a pool costs for an hour. What has run there before costs as much, too."""
    with db.transaction() as connection:
        tokens.require_installation(connection, caller.workspace_id)
        pools.set_price(connection, name, price.usd_per_hour)
        audit.about(name, usd_per_hour=price.usd_per_hour)
        return pools.view(connection, name, queue_for_pool)
