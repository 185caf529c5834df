"""What routes are given: the database, the idempotency key, the keyset of a page."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.roles import LADDER
from orchestrator.store.audit import Act, Audited
from orchestrator.store.changes import Changes
from orchestrator.store.session import Database
from orchestrator.store.tokens import Principal

_READS = {"GET", "HEAD", "OPTIONS"}


def _database(request: Request) -> Database:
    """The database; what a person changes through it leaves an entry in the audit log."""
    database: Database = request.app.state.database
    return database if request.method in _READS else Audited(database, lambda: _act(request))


def _act(request: Request) -> Act | None:
    caller: Principal | None = getattr(request.state, "caller", None)
    if caller is None or caller.role not in LADDER:
        return None
    return Act(
        workspace_id=caller.workspace_id,
        actor=caller.user,
        role=caller.role,
        via="api",
        action=request.scope["route"].name,
        target=" ".join(map(str, request.path_params.values())),
        request_id=request.scope.get("request_id", ""),
    )


def _changes(request: Request) -> Changes:
    changes: Changes = request.app.state.changes
    return changes


def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            max_length=255,
            description="A request sent twice with the same key has one effect and one answer.",
        ),
    ] = None,
) -> str | None:
    if idempotency_key is not None and not idempotency_key.strip():
        hint = "Leave the header out, or send something that no other request has, such as a UUID."
        raise InvalidSpec.of([FieldError("header.idempotency-key", "is empty", hint)])
    return idempotency_key


Db = Annotated[Database, Depends(_database)]
Watch = Annotated[Changes, Depends(_changes)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many items a page has at most.")]
Cursor = Annotated[str | None, Query(max_length=256, description="`next` of the page before.")]


def fingerprint(request: Request, body: bytes = b"") -> bytes:
    """What must be equal for two requests to be the same request: the method, the path and the body."""
    return b"\n".join([request.method.encode(), request.url.path.encode(), base64.b64encode(body)])
