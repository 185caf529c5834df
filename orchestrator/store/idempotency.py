"""A POST that is sent twice has one effect: the answer is kept beside the key, in the transaction of the effect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict

KEEP_HOURS = 48

_TAKE = """
    INSERT INTO idempotency_keys (workspace_id, key, request_hash) VALUES (:workspace, :key, :hash)
    ON CONFLICT DO NOTHING
    RETURNING 1
"""
_FIND = "SELECT request_hash, response FROM idempotency_keys WHERE workspace_id = :workspace AND key = :key"
_KEEP = """
    UPDATE idempotency_keys SET response = CAST(:response AS jsonb) WHERE workspace_id = :workspace AND key = :key
"""
_FORGET = "DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - :hours * interval '1 hour'"


def once(
    connection: Connection,
    workspace_id: int,
    key: str | None,
    request: bytes,
    effect: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """The answer of `effect`, which runs at most once for this key. A second caller waits for the first one's commit
    and gets its answer. Raises Conflict when the key came with another request before."""
    if key is None:
        return effect()
    named = {"workspace": workspace_id, "key": key}
    digest = hashlib.sha256(request).digest()
    if connection.execute(text(_TAKE), named | {"hash": digest}).one_or_none() is None:
        known = connection.execute(text(_FIND), named).one()
        if bytes(known.request_hash) != digest:
            raise Conflict(
                f"The idempotency key {key!r} was used before with another request.",
                hint="Use a new key for a new request; the SDK does.",
            )
        answer: dict[str, Any] = known.response
        return answer
    answer = effect()
    connection.execute(text(_KEEP), named | {"response": json.dumps(answer)})
    return answer


def answered(connection: Connection, workspace_id: int, key: str | None) -> bool:
    """Whether a request with this key has been answered before: then nothing needs to be looked at again."""
    return connection.execute(text(_FIND), {"workspace": workspace_id, "key": key}).one_or_none() is not None


def forget_old(connection: Connection) -> int:
    """Drop keys that no client can still be retrying with; returns how many."""
    return connection.execute(text(_FORGET), {"hours": KEEP_HOURS}).rowcount
