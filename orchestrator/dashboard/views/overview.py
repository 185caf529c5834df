"""The first page: what needs attention, and how every part is."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from orchestrator.dashboard.access import Db, Viewer
from orchestrator.dashboard.render import render
from orchestrator.store import components

router = APIRouter()


@router.get("/")
def overview(request: Request, db: Db, viewer: Viewer) -> Response:
    """The overview."""
    with db.transaction() as connection:
        counts = components.job_counts(connection, viewer.workspace_id)
        parts = components.views(connection)
    return render(request, "overview.html", counts=counts, parts=parts)
