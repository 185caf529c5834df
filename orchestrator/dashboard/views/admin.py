"""For admins: tokens, people, and what everybody did."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.dashboard.access import ActingAdmin, Admin, Db
from orchestrator.dashboard.render import render
from orchestrator.domain.views import CreateToken
from orchestrator.store import audit, sessions, tokens
from orchestrator.store.listing import decode_cursor, encode_cursor
from orchestrator.store.session import Database

router = APIRouter(prefix="/admin")

_PAGE = 50
_ROLES = ("viewer", "submitter", "operator", "admin", "worker")


def _tokens(request: Request, db: Database, workspace_id: int, cursor: str | None, made: object = None) -> Response:
    before = None if cursor is None else decode_cursor(cursor)
    with db.transaction() as connection:
        items, last = tokens.page(connection, workspace_id, before=before, limit=_PAGE)
    return render(
        request,
        "admin_tokens.html",
        status=201 if made else 200,
        tokens=items,
        made=made,
        roles=_ROLES,
        first="/admin/tokens" if cursor else None,
        next=None if last is None else f"/admin/tokens?cursor={encode_cursor(last)}",
    )


@router.get("/tokens")
def list_tokens(request: Request, db: Db, viewer: Admin, cursor: str | None = None) -> Response:
    """The workspace's tokens."""
    return _tokens(request, db, viewer.workspace_id, cursor)


@router.post("/tokens")
def create_token(
    request: Request,
    db: Db,
    viewer: ActingAdmin,
    name: Annotated[str, Form(max_length=200)] = "",
    user: Annotated[str, Form(max_length=200)] = "",
    role: Annotated[str, Form(max_length=20)] = "submitter",
    expires_in_days: Annotated[str, Form(max_length=8)] = "365",
) -> Response:
    """Make a token; this answer is the only one that ever holds its secret."""
    given: dict[str, Any] = {"name": name, "user": user, "role": role, "expires_in_days": expires_in_days or None}
    wanted = CreateToken(**given)
    with db.transaction() as connection:
        made = tokens.create(connection, viewer.workspace_id, wanted)
        audit.about(f"{made.id} {made.name} ({made.role}) for {made.user}")
    return _tokens(request, request.app.state.database, viewer.workspace_id, None, made)


@router.post("/tokens/{token_id}/revoke")
def revoke_token(db: Db, viewer: ActingAdmin, token_id: str) -> Response:
    """End a token, and the sessions that began with it."""
    with db.transaction() as connection:
        tokens.revoke(connection, viewer.workspace_id, token_id)
    return RedirectResponse("/admin/tokens", status_code=303)


@router.get("/people")
def list_people(request: Request, db: Db, viewer: Admin) -> Response:
    """Who may use the workspace."""
    with db.transaction() as connection:
        return render(request, "admin_people.html", people=sessions.people(connection, viewer.workspace_id))


@router.get("/audit")
def show_audit(
    request: Request,
    db: Db,
    viewer: Admin,
    cursor: str | None = None,
    verify: bool = False,
    after: Annotated[int, Query(ge=0, le=audit.MOST_ENTRIES)] = 0,
) -> Response:
    """Who did what; with `verify`, the proof that nobody has rewritten it, part by part."""
    before = None if cursor is None else decode_cursor(cursor)
    with db.transaction() as connection:
        entries, last = audit.page(connection, viewer.workspace_id, before=before, limit=_PAGE)
        verdict = audit.verify(connection, viewer.workspace_id, after) if verify else None
    return render(
        request,
        "admin_audit.html",
        entries=entries,
        verdict=verdict,
        first="/admin/audit" if cursor else None,
        next=None if last is None else f"/admin/audit?cursor={encode_cursor(last)}",
    )
