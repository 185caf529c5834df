"""Who is calling, and how the control plane is."""

from __future__ import annotations

from fastapi import APIRouter

from orchestrator.api.auth import Viewer
from orchestrator.api.dependencies import Db
from orchestrator.domain.state import JobState
from orchestrator.domain.views import StatusView, WhoAmI
from orchestrator.store import components, overview
from orchestrator.version import VERSION

router = APIRouter(prefix="/v1", tags=["operations"])


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
