"""Queues and clusters, and workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.dashboard.access import ActingAdmin, ActingOperator, Db, Viewer
from orchestrator.dashboard.parts import shared
from orchestrator.dashboard.render import render
from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.ids import encode
from orchestrator.domain.views import COUNTED, WorkerView
from orchestrator.queues import queue_for_pool
from orchestrator.store import clusters, overview, pools, tokens
from orchestrator.store.listing import decode_cursor, encode_cursor
from orchestrator.store.notify import WORKERS, notify
from orchestrator.store.session import Connection

router = APIRouter()

_PAGE = 50


@router.get("/queues")
@shared
def queues(request: Request, db: Db, viewer: Viewer) -> Response:
    """Pools with their slots and windows, clusters, and what waits, by shape."""
    with db.transaction() as connection:
        return render(
            request,
            "queues.html",
            pools=pools.views(connection, queue_for_pool),
            clusters=clusters.views(connection),
            depth=overview.depth(connection, viewer.workspace_id),
            backlog=overview.backlog(connection, viewer.workspace_id),
            limit=COUNTED,
        )


@router.post("/queues/{pool}/price")
def set_pool_price(
    db: Db,
    viewer: ActingAdmin,
    pool: str,
    usd_per_hour: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """What one slot of a pool costs for an hour; empty: unknown."""
    try:
        price = float(usd_per_hour) if usd_per_hour.strip() else None
    except ValueError:
        price = -1.0
    if price is not None and not 0 <= price <= 1_000_000:
        raise InvalidSpec.of([FieldError("usd_per_hour", f"{usd_per_hour!r} is no price", "Write dollars, like 2.50.")])
    with db.transaction() as connection:
        tokens.require_installation(connection, viewer.workspace_id)
        pools.set_price(connection, pool, price)
    return RedirectResponse("/queues", status_code=303)


@dataclass(frozen=True, slots=True)
class Row:
    """A worker with the workspace's jobs on it: ids and names."""

    worker: WorkerView
    jobs: tuple[tuple[str, str, datetime], ...]


def _rows(connection: Connection, workspace_id: int, workers: list[WorkerView]) -> list[Row]:
    running = overview.running_on(connection, workspace_id, [worker.id for worker in workers])
    return [
        Row(worker, tuple((encode("j", job), name, since) for job, name, since in running.get(worker.id, ())))
        for worker in workers
    ]


@router.get("/workers")
@shared
def workers(request: Request, db: Db, viewer: Viewer, cursor: str | None = None) -> Response:
    """Workers: heartbeat, jobs, drain."""
    before = None if cursor is None else decode_cursor(cursor)
    with db.transaction() as connection:
        found, last = pools.workers(connection, before=before, limit=_PAGE)
        rows = _rows(connection, viewer.workspace_id, found)
    return render(
        request,
        "workers.html",
        rows=rows,
        first="/workers" if cursor else None,
        next=None if last is None else f"/workers?cursor={encode_cursor(last)}",
    )


@router.post("/workers/{worker_id}/drain")
def drain_worker(db: Db, viewer: ActingOperator, worker_id: str) -> Response:
    """Let a worker checkpoint what it runs, give it back, and exit."""
    with db.transaction() as connection:
        tokens.require_installation(connection, viewer.workspace_id)
        row_id, _ = pools.drain(connection, worker_id)
        notify(connection, {WORKERS: [row_id]})
    return RedirectResponse("/workers", status_code=303)
