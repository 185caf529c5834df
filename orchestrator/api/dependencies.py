"""What routes are given: the database, the idempotency key, the keyset of a page."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from orchestrator.store.changes import Changes
from orchestrator.store.session import Database


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


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
    return idempotency_key


Db = Annotated[Database, Depends(_database)]
Watch = Annotated[Changes, Depends(_changes)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many items a page has at most.")]
Cursor = Annotated[str | None, Query(max_length=256, description="`next` of the page before.")]


def fingerprint(request: Request, body: bytes = b"") -> bytes:
    """What must be equal for two requests to be the same request: the method, the path and the body."""
    return b"\n".join([request.method.encode(), request.url.path.encode(), base64.b64encode(body)])
