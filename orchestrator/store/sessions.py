"""Who is signed in to the dashboard. The secret is in the browser's cookie; here is only its hash."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from orchestrator.domain.errors import PermissionDenied, RateLimited
from orchestrator.store.tokens import Principal, token_hash

LIFETIME_HOURS = 12.0
LINK_HOURS = 1 / 60
"""A link from `neutrino ui` is a session that nobody has taken over yet, and has so long to be."""
ROTATE_MINUTES = 60.0
"""So old a secret may become; then the browser gets another one with the next page."""
_BOTH_MINUTES = 1.0
"""So long after that, what the browser had already asked for with the old one is still answered."""
FAILURES = 10
"""So many wrong tokens from one address within WINDOW_MINUTES, and it has to wait."""
WINDOW_MINUTES = 5


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody at a browser. `csrf` must come back with every action; `workspaces` are those that they may change to;
    `due`: the secret of the cookie is to be replaced."""

    id: int
    workspace_id: int
    workspace: str
    user: str
    role: str
    csrf: str
    workspaces: tuple[str, ...] = ()
    due: bool = False


# A session that began with a token ends with it, and is never more than the token is now.
_LIVE = """
    s.ended_at IS NULL AND s.expires_at > clock_timestamp()
    AND (s.token_id IS NULL OR (t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())))
"""


def begin(
    connection: Connection,
    principal: Principal,
    hours: float = LIFETIME_HOURS,
    grants: Mapping[str, str] | None = None,
) -> str:
    """Sign somebody in; returns the secret for their cookie. `grants`: the role in each workspace that they may see."""
    secret = secrets.token_urlsafe(32)
    statement = """
        INSERT INTO sessions (hash, workspace_id, token_id, user_name, role, csrf, grants, expires_at)
        VALUES (:hash, :workspace, :token, :user, :role, :csrf, CAST(:grants AS jsonb),
          clock_timestamp() + :hours * interval '1 hour')
    """
    values = {
        "hash": token_hash(secret),
        "workspace": principal.workspace_id,
        "token": principal.token_id or None,
        "user": principal.user,
        "role": principal.role,
        "csrf": secrets.token_urlsafe(24),
        "grants": json.dumps(dict(grants)) if grants else None,
        "hours": hours,
    }
    connection.execute(text(statement), values)
    return secret


def take_over(connection: Connection, secret: str) -> str | None:
    """Give a live session a new secret and its full time; the old secret is worthless from now on."""
    fresh = secrets.token_urlsafe(32)
    statement = f"""
        UPDATE sessions
        SET hash = :fresh, rotated_at = clock_timestamp(), expires_at = clock_timestamp() + :hours * interval '1 hour'
        WHERE id = (SELECT s.id FROM sessions s LEFT JOIN tokens t ON t.id = s.token_id
                    WHERE s.hash = :hash AND {_LIVE} FOR UPDATE OF s)
        RETURNING id
    """
    values = {"fresh": token_hash(fresh), "hash": token_hash(secret), "hours": LIFETIME_HOURS}
    return None if connection.execute(text(statement), values).one_or_none() is None else fresh


def find(connection: Connection, secret: str) -> Session | None:
    """The session of a cookie, or None when it has ended or never was."""
    statement = f"""
        SELECT s.id, s.workspace_id, w.name AS workspace, s.user_name, coalesce(t.role, s.role) AS role, s.csrf,
          coalesce(s.grants, '{{}}') AS grants,
          s.hash = :hash AND s.rotated_at < clock_timestamp() - :rotate * interval '1 minute' AS due
        FROM sessions s JOIN workspaces w ON w.id = s.workspace_id LEFT JOIN tokens t ON t.id = s.token_id
        WHERE (s.hash = :hash
          OR s.previous = :hash AND s.rotated_at > clock_timestamp() - :both * interval '1 minute') AND {_LIVE}
    """
    values = {"hash": token_hash(secret), "rotate": ROTATE_MINUTES, "both": _BOTH_MINUTES}
    row = connection.execute(text(statement), values).one_or_none()
    if row is None:
        return None
    return Session(
        row.id, row.workspace_id, row.workspace, row.user_name, row.role, row.csrf, tuple(sorted(row.grants)), row.due
    )


def rotate(connection: Connection, session_id: int) -> str | None:
    """Give a session another secret, unless somebody else has just done so; the old one is good for another moment."""
    fresh = secrets.token_urlsafe(32)
    statement = """
        UPDATE sessions SET previous = hash, hash = :fresh, rotated_at = clock_timestamp()
        WHERE id = :id AND rotated_at < clock_timestamp() - :rotate * interval '1 minute' RETURNING 1
    """
    values = {"id": session_id, "fresh": token_hash(fresh), "rotate": ROTATE_MINUTES}
    return None if connection.execute(text(statement), values).one_or_none() is None else fresh


def enter(connection: Connection, session_id: int, workspace: str) -> None:
    """Change to another workspace, with the role that was granted there. Raises PermissionDenied."""
    statement = """
        UPDATE sessions s SET workspace_id = w.id, role = s.grants ->> w.name FROM workspaces w
        WHERE s.id = :id AND w.name = :workspace AND s.grants ? w.name RETURNING 1
    """
    if connection.execute(text(statement), {"id": session_id, "workspace": workspace}).one_or_none() is None:
        raise PermissionDenied(
            "You have no role in that workspace.", hint="Sign in again if a group of yours has just been given one."
        )


def living(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Those of these sessions that have not ended."""
    statement = f"""
        SELECT s.id FROM sessions s LEFT JOIN tokens t ON t.id = s.token_id
        WHERE s.id = ANY(CAST(:ids AS bigint[])) AND {_LIVE}
    """
    return set(connection.execute(text(statement), {"ids": list(ids)}).scalars())


def end(connection: Connection, session_id: int) -> None:
    """Sign out."""
    statement = "UPDATE sessions SET ended_at = clock_timestamp() WHERE id = :id AND ended_at IS NULL"
    connection.execute(text(statement), {"id": session_id})


def forget_old(connection: Connection) -> None:
    """Drop sessions that ended a month ago; the audit log remembers that they were."""
    statement = "DELETE FROM sessions WHERE coalesce(ended_at, expires_at) < clock_timestamp() - interval '30 days'"
    connection.execute(text(statement))


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may use the workspace, or is signed in to it."""

    user: str
    role: str
    tokens: int
    sessions: int
    last_seen: datetime | None


def people(connection: Connection, workspace_id: int) -> list[Person]:
    """Everybody with a token in force or a live session, by name. `role` is the highest that they have."""
    statement = f"""
        WITH known AS (
          SELECT t.user_name, t.role, 1 AS tokens, 0 AS sessions, t.last_used_at AS seen
          FROM tokens t WHERE t.workspace_id = :workspace AND t.role <> 'worker' AND t.revoked_at IS NULL
            AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
          UNION ALL
          SELECT s.user_name, coalesce(t.role, s.role), 0, 1, s.created_at
          FROM sessions s LEFT JOIN tokens t ON t.id = s.token_id WHERE s.workspace_id = :workspace AND {_LIVE}
        )
        SELECT user_name, sum(tokens) AS tokens, sum(sessions) AS sessions, max(seen) AS seen,
          (array_agg(role ORDER BY array_position(ARRAY['admin', 'operator', 'submitter', 'viewer'], role)))[1] AS role
        FROM known GROUP BY user_name ORDER BY user_name LIMIT 1000
    """
    rows = connection.execute(text(statement), {"workspace": workspace_id})
    return [Person(row.user_name, row.role, row.tokens, row.sessions, row.seen) for row in rows]


def refuse_guessing(connection: Connection, address: str) -> None:
    """Raise RateLimited when too many wrong tokens have come from this address."""
    statement = """
        SELECT count(*) AS failures,
          coalesce(extract(epoch FROM min(at) + :minutes * interval '1 minute' - clock_timestamp()), 0) AS wait
        FROM (SELECT at FROM failed_sign_ins
              WHERE address = :address AND at > clock_timestamp() - :minutes * interval '1 minute'
              ORDER BY at DESC LIMIT :failures) AS recent
    """
    values = {"address": address, "minutes": WINDOW_MINUTES, "failures": FAILURES}
    row = connection.execute(text(statement), values).one()
    if row.failures >= FAILURES:
        raise RateLimited(
            f"{FAILURES} wrong tokens came from your address.",
            hint=f"Try again in {max(1, round(row.wait))} s.",
            retry_after=float(row.wait),
        )


def failed(connection: Connection, address: str) -> None:
    """Remember a wrong token, and forget the old ones."""
    old = "DELETE FROM failed_sign_ins WHERE at < clock_timestamp() - :minutes * interval '1 minute'"
    connection.execute(text(old), {"minutes": WINDOW_MINUTES})
    connection.execute(text("INSERT INTO failed_sign_ins (address) VALUES (:address)"), {"address": address})
