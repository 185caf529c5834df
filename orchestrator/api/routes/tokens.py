"""The tokens of a workspace."""

from __future__ import annotations

from fastapi import APIRouter, Request

from orchestrator.api.auth import Admin, Authenticator
from orchestrator.api.dependencies import Cursor, Db, Limit
from orchestrator.domain.views import CreateToken, Page, TokenCreated, TokenView
from orchestrator.store import audit, tokens
from orchestrator.store.listing import decode_cursor, encode_cursor

router = APIRouter(prefix="/v1", tags=["operations"])


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
