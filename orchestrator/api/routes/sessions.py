"""The way from a token to the dashboard: `neutrino ui` asks for a link that works once."""

from __future__ import annotations

from fastapi import APIRouter

from orchestrator.api.auth import Viewer
from orchestrator.api.dependencies import Db
from orchestrator.domain.views import SignInLink
from orchestrator.store import sessions

router = APIRouter(prefix="/v1", tags=["operations"])


@router.post("/sessions", status_code=201)
def create_session(db: Db, caller: Viewer) -> SignInLink:
    """A link that signs a browser in as the caller; it works once, within a minute."""
    with db.transaction() as connection:
        key = sessions.begin(connection, caller, sessions.LINK_HOURS)
    return SignInLink(path=f"/login/once?key={key}")
