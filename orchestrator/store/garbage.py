"""What lies in stores and is referred to by nothing: taken by a janitor, deleted, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from orchestrator.domain.errors import NotFound
from orchestrator.domain.ids import AttemptId, decode, decode_attempt
from orchestrator.domain.transfer import Place
from orchestrator.store import replicas
from orchestrator.store.replicas import Near

_TAKEN_SECONDS = 600.0  # a janitor that has not finished by then is taken for dead
_LONGEST_PAUSE = 3600.0


@dataclass(frozen=True, slots=True)
class Garbage:
    """A prefix whose bytes are to be deleted. `original` is a good copy of what was to be there, if that is known."""

    id: int
    store: str
    prefix: str
    original: Place | None


_TAKE = """
    UPDATE garbage g SET tries = tries + 1, not_before = clock_timestamp() + :taken * interval '1 second'
    FROM (
      SELECT id FROM garbage n
      WHERE (n.not_before IS NULL OR n.not_before <= clock_timestamp())
        AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = n.job_id AND j.finished_at IS NULL)
      ORDER BY n.id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE g.id = due.id RETURNING g.id, g.store, g.prefix, g.artifact_id
"""


def take(connection: Connection, limit: int) -> list[Garbage]:
    """What is to be deleted now; for a while nobody else is given it. It may be deleted twice without harm, since a
    prefix is never used again."""
    rows = connection.execute(text(_TAKE), {"taken": _TAKEN_SECONDS, "limit": limit}).all()
    return [Garbage(row.id, row.store, row.prefix, _original(connection, row.artifact_id)) for row in rows]


def _original(connection: Connection, artifact_id: int | None) -> Place | None:
    known = [] if artifact_id is None else replicas.sources(connection, artifact_id, Near())
    return known[0] if known else None


def gone(connection: Connection, garbage_id: int) -> None:
    """Its bytes are deleted."""
    connection.execute(text("DELETE FROM garbage WHERE id = :id"), {"id": garbage_id})


def refused(connection: Connection, garbage_id: int, why: str) -> None:
    """Its bytes could not be deleted; another try comes after a pause, which grows."""
    statement = """
        UPDATE garbage SET error = :why,
          not_before = clock_timestamp() + least(power(2, least(tries, 20)), :longest) * interval '1 second'
        WHERE id = :id
    """
    connection.execute(text(statement), {"id": garbage_id, "why": why, "longest": _LONGEST_PAUSE})


_DUE = """
    INSERT INTO store_sweeps AS s (store)
    SELECT DISTINCT store FROM pools
    ON CONFLICT (store) DO UPDATE SET swept_at = clock_timestamp()
      WHERE s.swept_at < clock_timestamp() - :hours * interval '1 hour'
    RETURNING store
"""


def due_stores(connection: Connection, hours: float) -> list[str]:
    """The stores that nobody has searched for so long; who asks is the one to do it now."""
    return list(connection.execute(text(_DUE), {"hours": hours}).scalars())


def is_marked(connection: Connection, store: str) -> bool:
    """Whether the mark of this installation was once seen in a store."""
    statement = "SELECT marked FROM store_sweeps WHERE store = :store"
    return bool(connection.execute(text(statement), {"store": store}).scalar())


def mark(connection: Connection, store: str) -> None:
    """The mark of this installation lies in a store; the caller was given its turn by `due_stores`."""
    connection.execute(text("UPDATE store_sweeps SET marked = true WHERE store = :store"), {"store": store})


def installation(connection: Connection) -> str:
    """What tells this installation from every other one that may use the same store: a hash of when it began."""
    statement = "SELECT encode(sha256(convert_to(min(created_at)::text, 'UTF8')), 'hex') FROM workspaces"
    return str(connection.execute(text(statement)).scalar_one())


# Whatever store the replica names: one store may be known by several addresses, and no prefix is used twice.
_ENDED = """
    SELECT u.prefix FROM unnest(CAST(:prefixes AS text[]), CAST(:jobs AS bigint[]), CAST(:epochs AS int[]))
      AS u(prefix, job_id, epoch)
    JOIN jobs j ON j.id = u.job_id
    LEFT JOIN attempts a ON a.job_id = u.job_id AND a.epoch = u.epoch
    WHERE coalesce(a.finished_at, CASE WHEN u.epoch = 0 THEN j.finished_at END)
        < clock_timestamp() - :hours * interval '1 hour'
      AND NOT EXISTS (SELECT FROM replicas r WHERE r.prefix = u.prefix)
"""


def throw_unreferenced_away(connection: Connection, store: str, prefixes: Sequence[str], hours: float) -> int:
    """Throw away those uploads that no row refers to and whose attempt ended so long ago: nothing more is accepted from
    it, so no row ever will. What is not an upload of ours is left alone. Returns how many there were."""
    known = {prefix: found for prefix in prefixes if (found := _writer(prefix))}
    values = {
        "prefixes": list(known),
        "jobs": [writer.job_id for writer in known.values()],
        "epochs": [writer.epoch for writer in known.values()],
        "hours": hours,
    }
    unreferenced = list(connection.execute(text(_ENDED), values).scalars())
    for prefix in unreferenced:
        replicas.throw_away(connection, store, prefix)
    return len(unreferenced)


def _writer(prefix: str) -> AttemptId | None:
    """Who has written an upload: an attempt, or with epoch 0 all attempts of a transfer."""
    owner = prefix.split("/")[2]
    try:
        return decode_attempt(owner) if "." in owner else AttemptId(decode("j", owner), 0)
    except NotFound:
        return None
