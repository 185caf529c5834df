"""Workers as people see them. What workers themselves call is in `routes.protocol`."""

from __future__ import annotations

from fastapi import APIRouter

from orchestrator.api.auth import Operator, Viewer
from orchestrator.api.dependencies import Cursor, Db, Limit
from orchestrator.domain.views import Page, WorkerView
from orchestrator.store import pools, tokens
from orchestrator.store.listing import decode_cursor, encode_cursor
from orchestrator.store.notify import WORKERS, notify

router = APIRouter(prefix="/v1", tags=["operations"])


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
