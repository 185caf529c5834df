"""Who did what, for good: append-only, each entry chained to the one before by its hash, one chain per workspace.

An entry is written in the transaction of the action, so there is neither without the other. `Audited` is the one place
where that happens: a database whose transactions leave an entry when they have written something.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.audit import AuditEntry, AuditVerdict
from orchestrator.store.session import Database

_about: ContextVar[tuple[str, dict[str, Any]] | None] = ContextVar("about", default=None)
_MOST_LETTERS = 500


def about(target: str, **detail: Any) -> None:
    """Name what the action of this request made or changed, when its address does not. A long `target` is cut; what
    must be there whole, such as many ids, belongs into the `detail`."""
    _about.set((target, detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An action: who, as what, through what (`api` or `dashboard`), what, and to what. Never holds a secret."""

    workspace_id: int
    actor: str
    role: str
    via: str
    action: str
    target: str
    request_id: str
    detail: dict[str, Any] = field(default_factory=dict)


# One text per entry, the same whoever writes it down: jsonb orders keys and spaces its own way.
_CANONICAL = """
    convert_to(jsonb_build_array({seq}, extract(epoch FROM {at}), {row}.actor, {row}.role, {row}.via, {row}.action,
      {row}.target, {row}.detail, {row}.request_id)::text, 'UTF8')
"""
# The head's row is also the lock that puts the entries of a workspace in order.
_APPEND = f"""
WITH given AS MATERIALIZED (
  SELECT clock_timestamp() AS at, :actor AS actor, :role AS role, :via AS via, :action AS action, :target AS target,
    CAST(:detail AS jsonb) AS detail, :request_id AS request_id
  WHERE pg_current_xact_id_if_assigned() IS NOT NULL
), head AS (
  INSERT INTO audit_heads AS h (workspace_id, seq, hash)
  SELECT :workspace_id, 1, sha256({_CANONICAL.format(seq=1, at="given.at", row="given")}) FROM given
  ON CONFLICT (workspace_id) DO UPDATE SET seq = h.seq + 1,
    hash = (SELECT sha256(h.hash || {_CANONICAL.format(seq="h.seq + 1", at="given.at", row="given")}) FROM given)
  RETURNING h.seq, h.hash
)
INSERT INTO audit (workspace_id, seq, at, actor, role, via, action, target, detail, request_id, hash)
SELECT :workspace_id, head.seq, given.at, given.actor, given.role, given.via, given.action, given.target, given.detail,
  given.request_id, head.hash
FROM head, given
"""


def append(connection: Connection, act: Act) -> None:
    """Write the entry of an action, if this transaction has written anything; the last thing before its commit."""
    target, detail = _about.get() or (act.target, {})
    values = {
        "workspace_id": act.workspace_id,
        "actor": act.actor,
        "role": act.role,
        "via": act.via,
        "action": act.action,
        "target": target[:_MOST_LETTERS],
        "detail": json.dumps(act.detail | detail),
        "request_id": act.request_id,
    }
    connection.execute(text(_APPEND), values)


class Audited(Database):
    """A database for one request. `act` tells whose it is; None when nobody's actions are kept (a worker's)."""

    def __init__(self, database: Database, act: Callable[[], Act | None]) -> None:
        self.url, self.pulse, self.engine = database.url, database.pulse, database.engine
        self._act = act

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that leaves an entry if it writes."""
        with super().transaction() as connection:
            yield connection
            act = self._act()
            if act is not None:
                append(connection, act)


def page(
    connection: Connection, workspace_id: int, *, before: int | None, limit: int
) -> tuple[list[AuditEntry], int | None]:
    """The newest entries, and the number below which the next page begins."""
    statement = """
        SELECT seq, at, actor, role, via, action, target, detail, request_id, encode(hash, 'hex') AS hash
        FROM audit WHERE workspace_id = :workspace AND (CAST(:before AS bigint) IS NULL OR seq < :before)
        ORDER BY seq DESC LIMIT :limit
    """
    values = {"workspace": workspace_id, "before": before, "limit": limit + 1}
    rows = list(connection.execute(text(statement), values))
    entries = [AuditEntry(**row._mapping) for row in rows[:limit]]  # noqa: SLF001 - the public name of a row's mapping
    return entries, entries[-1].seq if len(rows) > limit else None


_VERIFIED_AT_ONCE = 50_000
MOST_ENTRIES = 2**62
_BROKEN = f"""
WITH part AS (
  SELECT * FROM audit WHERE workspace_id = :workspace AND seq > :after ORDER BY seq LIMIT :limit
), chained AS (
  SELECT part.*, :after + row_number() OVER w AS place,
    coalesce(lag(hash) OVER w, (SELECT hash FROM audit WHERE workspace_id = :workspace AND seq = :after)) AS before
  FROM part WINDOW w AS (ORDER BY seq)
), checked AS (
  SELECT seq, place, hash, seq = place
    AND hash = sha256(coalesce(before, '') || {_CANONICAL.format(seq="seq", at="at", row="chained")}) AS holds
  FROM chained
)
SELECT :after + (SELECT count(*) FROM checked) AS reached,
  (SELECT least(min(seq), min(place)) FROM checked WHERE NOT holds) AS broken_at,
  coalesce(h.seq, 0) AS newest, encode(h.hash, 'hex') AS head,
  (SELECT hash FROM audit WHERE workspace_id = :workspace AND seq = h.seq) IS NOT DISTINCT FROM h.hash AS whole
FROM (SELECT CAST(:workspace AS bigint) AS workspace_id) AS asked LEFT JOIN audit_heads h USING (workspace_id)
"""


def verify(connection: Connection, workspace_id: int, after: int = 0, limit: int = _VERIFIED_AT_ONCE) -> AuditVerdict:
    """Compute the hashes of the workspace's chain again, from behind an entry of which that was done, and of at most
    `limit` entries: however long the chain is, one look has an end."""
    values = {"workspace": workspace_id, "after": after, "limit": limit}
    row = connection.execute(text(_BROKEN), values).one()
    broken_at, reached = row.broken_at, row.reached
    more = broken_at is None and reached == after + limit and reached < row.newest
    if broken_at is None and not more and not (row.whole and reached == row.newest):
        broken_at = min(reached, row.newest) + 1
    if broken_at is not None:
        message = f"Entry {broken_at} was changed or removed, or one before it was added. Entries before it hold."
    elif more:
        message = f"The first {reached} of {row.newest} entries are as they were written. The others come next."
    else:
        message = f"All {reached} entries are as they were written."
    following = reached if more else None
    return AuditVerdict(entries=reached, head=row.head, broken_at=broken_at, next=following, message=message)
