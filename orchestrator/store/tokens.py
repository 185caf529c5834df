"""Workspaces and tokens. Secrets are shown once and kept as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator.domain.errors import Conflict, NotFound, PermissionDenied
from orchestrator.domain.ids import AttemptId, decode, encode
from orchestrator.domain.views import CreateToken, TokenCreated, TokenView
from orchestrator.store.fence import LIVE

USER_PREFIX = "nu_"
ATTEMPT_PREFIX = "nat_"
"""Prefixes tell secret scanners what they have found."""


def token_hash(secret: str) -> bytes:
    """What is kept of a token. Tokens are random and long, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from. `attempt` is set for the token of one attempt, with the worker that holds it."""

    token_id: int
    workspace_id: int
    workspace: str
    user: str
    role: str
    attempt: AttemptId | None = None
    worker_id: int | None = None


_HOME = "(SELECT min(id) FROM workspaces)"
_BY_HASH = f"""
    SELECT t.id, t.workspace_id, w.name AS workspace, t.user_name, t.role,
      t.last_used_at IS NULL OR t.last_used_at < clock_timestamp() - interval '1 minute' AS stale
    FROM tokens t JOIN workspaces w ON w.id = t.workspace_id
    WHERE t.hash = :hash AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
      AND (t.role <> 'worker' OR t.workspace_id = {_HOME})
"""
_TOUCH = "UPDATE tokens SET last_used_at = clock_timestamp() WHERE id = :id"
_BY_ATTEMPT = f"""
    SELECT a.job_id, a.epoch, a.worker_id, j.workspace_id, w.name AS workspace, j.user_name
    FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN workspaces w ON w.id = j.workspace_id
    WHERE a.token_hash = :hash AND {LIVE}
"""


def authenticate(connection: Connection, secret: str) -> Principal | None:
    """The principal that a secret stands for, or None when it stands for nobody (any more)."""
    values = {"hash": token_hash(secret)}
    if secret.startswith(ATTEMPT_PREFIX):
        row = connection.execute(text(_BY_ATTEMPT), values).one_or_none()
        if row is None:
            return None
        attempt = AttemptId(row.job_id, row.epoch)
        return Principal(0, row.workspace_id, row.workspace, row.user_name, "attempt", attempt, row.worker_id)
    row = connection.execute(text(_BY_HASH), values).one_or_none()
    if row is None:
        return None
    if row.stale:
        connection.execute(text(_TOUCH), {"id": row.id})
    return Principal(row.id, row.workspace_id, row.workspace, row.user_name, row.role)


def require_installation(connection: Connection, workspace_id: int) -> None:
    """Pools, clusters and workers serve every workspace, so that only those of the first one, which came with the
    installation, may change them. Raises PermissionDenied."""
    if not connection.execute(text(f"SELECT {_HOME} = :id"), {"id": workspace_id}).scalar_one():
        raise PermissionDenied(
            "This concerns every workspace, and yours is not the one that the installation began with.",
            hint="Ask whoever runs the installation.",
        )


def workspace_id(connection: Connection, name: str) -> int:
    """The row id of the workspace with this name. Raises NotFound."""
    row = connection.execute(text("SELECT id FROM workspaces WHERE name = :name"), {"name": name}).one_or_none()
    if row is None:
        raise NotFound(f"There is no workspace {name!r}.", hint="Ask an admin of the installation to make it.")
    found: int = row.id
    return found


def existing(connection: Connection, names: Iterable[str]) -> list[str]:
    """Those of these workspaces that there are, in their order."""
    statement = "SELECT name FROM workspaces WHERE name = ANY(CAST(:names AS text[]))"
    wanted = list(names)
    found = set(connection.execute(text(statement), {"names": wanted}).scalars())
    return [name for name in wanted if name in found]


def ensure_workspace(connection: Connection, name: str) -> int:
    """The row id of the workspace with this name, made if there is none."""
    statement = """
        INSERT INTO workspaces (name) VALUES (:name) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id
    """
    made: int = connection.execute(text(statement), {"name": name}).scalar_one()
    return made


_COLUMNS = "id, name, user_name, role, created_at, expires_at, last_used_at, revoked_at"
_CREATE = f"""
    INSERT INTO tokens (workspace_id, name, user_name, role, hash, expires_at)
    VALUES (:workspace, :name, :user, :role, :hash, clock_timestamp() + CAST(:days AS float8) * interval '1 day')
    RETURNING {_COLUMNS}
"""


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": encode("t", row.id),
        "name": row.name,
        "user": row.user_name,
        "role": row.role,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }


def create(connection: Connection, workspace_id: int, wanted: CreateToken) -> TokenCreated:
    """Make a token; this is the only time its secret is known. A worker is given the jobs of every workspace, so that
    a token for one needs `require_installation`."""
    if wanted.role == "worker":
        require_installation(connection, workspace_id)
    secret = USER_PREFIX + secrets.token_urlsafe(32)
    return TokenCreated(token=secret, **_fields(_insert(connection, workspace_id, wanted, secret)))


def _insert(connection: Connection, workspace_id: int, wanted: CreateToken, secret: str) -> Row[Any]:
    values = {
        "workspace": workspace_id,
        "name": wanted.name,
        "user": wanted.user,
        "role": wanted.role,
        "hash": token_hash(secret),
        "days": wanted.expires_in_days,
    }
    return connection.execute(text(_CREATE), values).one()


def ensure(connection: Connection, workspace_id: int, wanted: CreateToken, secret: str) -> None:
    """Put a token in force whose secret is kept elsewhere, in place of any other of its name. One that was revoked
    stays revoked: whoever did that meant it."""
    known = "SELECT EXISTS (SELECT FROM tokens WHERE hash = :hash)"
    if connection.execute(text(known), {"hash": token_hash(secret)}).scalar_one():
        return
    revoke_named(connection, workspace_id, wanted.name)
    _insert(connection, workspace_id, wanted, secret)


def page(
    connection: Connection, workspace_id: int, *, before: int | None, limit: int
) -> tuple[list[TokenView], int | None]:
    """The workspace's newest tokens, and the id below which the next page begins."""
    statement = f"""
        SELECT {_COLUMNS} FROM tokens
        WHERE workspace_id = :workspace AND (CAST(:before AS bigint) IS NULL OR id < :before)
        ORDER BY id DESC LIMIT :limit
    """
    values = {"workspace": workspace_id, "before": before, "limit": limit + 1}
    rows = list(connection.execute(text(statement), values))
    return [TokenView(**_fields(row)) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None


_VALID = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())"
_ADMINS = f"""
    SELECT id FROM tokens WHERE workspace_id = :workspace AND role = 'admin' AND {_VALID} ORDER BY id FOR UPDATE
"""


def revoke(connection: Connection, workspace_id: int, public_id: str) -> None:
    """End a token now. Raises NotFound, and Conflict for the last one that can make others."""
    token = decode("t", public_id)
    admins = connection.execute(text(_ADMINS), {"workspace": workspace_id}).scalars().all()
    if list(admins) == [token]:
        raise Conflict(
            f"{public_id} is the last admin token of this workspace: without it nobody could make another.",
            hint="Make another one first: `neutrino token create NAME --user USER --role admin`.",
        )
    statement = """
        UPDATE tokens SET revoked_at = coalesce(revoked_at, clock_timestamp())
        WHERE id = :id AND workspace_id = :workspace RETURNING 1
    """
    if connection.execute(text(statement), {"id": token, "workspace": workspace_id}).one_or_none() is None:
        raise NotFound(f"There is no token {public_id} in this workspace.", hint="`neutrino token list` shows them.")


def revoke_named(connection: Connection, workspace_id: int, name: str) -> None:
    """End every token of this name."""
    statement = """
        UPDATE tokens SET revoked_at = clock_timestamp()
        WHERE workspace_id = :workspace AND name = :name AND revoked_at IS NULL
    """
    connection.execute(text(statement), {"workspace": workspace_id, "name": name})


def exists_named(connection: Connection, workspace_id: int, name: str) -> bool:
    """True when a token of this name is in force."""
    statement = (
        "SELECT EXISTS (SELECT FROM tokens WHERE workspace_id = :workspace AND name = :name AND revoked_at IS NULL)"
    )
    return bool(connection.execute(text(statement), {"workspace": workspace_id, "name": name}).scalar_one())
