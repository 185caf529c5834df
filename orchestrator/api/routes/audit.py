"""What was done in the workspace, and the proof that nobody has rewritten it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from orchestrator.api.auth import Admin
from orchestrator.api.dependencies import Cursor, Db, Limit
from orchestrator.domain.audit import AuditEntry, AuditVerdict
from orchestrator.domain.views import Page
from orchestrator.store import audit
from orchestrator.store.listing import decode_cursor, encode_cursor

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("")
def list_audit(db: Db, caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> Page[AuditEntry]:
    """The workspace's audit log, newest first."""
    with db.transaction() as connection:
        before = None if cursor is None else decode_cursor(cursor)
        entries, last = audit.page(connection, caller.workspace_id, before=before, limit=limit)
    return Page(items=tuple(entries), next=None if last is None else encode_cursor(last))


@router.get("/verify")
def verify_audit(
    db: Db,
    caller: Admin,
    after: Annotated[int, Query(ge=0, le=audit.MOST_ENTRIES, description="`next` of the part before.")] = 0,
) -> AuditVerdict:
    """Compute the chain of hashes again, part by part, and say where it breaks."""
    with db.transaction() as connection:
        return audit.verify(connection, caller.workspace_id, after)
