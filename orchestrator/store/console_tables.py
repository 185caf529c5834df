"""The tables of the dashboard: who is signed in, what was done, which views people have saved."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables import FIRST_ID, metadata


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True, start=FIRST_ID), primary_key=True)


def _text(name: str, comment: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, comment=comment)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())


def _workspace() -> Column[int]:
    return Column("workspace_id", BigInteger, ForeignKey("workspaces.id"), nullable=False)


sessions = Table(
    "sessions",
    metadata,
    _id(),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the cookie's secret, which is kept nowhere"),
    _workspace(),
    Column(
        "token_id", BigInteger, ForeignKey("tokens.id"), comment="the session ends with this token, and has its role"
    ),
    _text("user_name"),
    _text("role"),
    _text("csrf"),
    _now("created_at"),
    Column("expires_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    CheckConstraint("role IN ('viewer', 'submitter', 'operator', 'admin')", name="role_known"),
    UniqueConstraint("hash"),
    Index("ix_sessions_workspace", "workspace_id", "id"),
)

# Nothing is written here any more: who is at the provider has it in a cookie. It goes when a migration may remove.
sign_ins = Table(
    "sign_ins",
    metadata,
    Column("state", LargeBinary, primary_key=True, comment="SHA-256 of what the provider sends back"),
    _text("nonce"),
    _text("verifier", "of PKCE"),
    _now("created_at"),
    comment="people who are at their identity provider just now",
)

failed_sign_ins = Table(
    "failed_sign_ins",
    metadata,
    _id(),
    _text("address"),
    _now("at"),
    Index("ix_failed_sign_ins_address", "address", "at"),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("workspace_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    comment="the newest row of each workspace's chain; also the lock that orders it",
)

audit = Table(
    "audit",
    metadata,
    Column("workspace_id", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    _text("actor"),
    _text("role"),
    _text("via"),
    _text("action"),
    _text("target"),
    Column("detail", JSONB, nullable=False),
    _text("request_id"),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the hash before and of this row"),
    PrimaryKeyConstraint("workspace_id", "seq"),
)

saved_views = Table(
    "saved_views",
    metadata,
    _workspace(),
    _text("user_name"),
    _text("name"),
    _text("query", "the query string of the list of jobs"),
    _now("created_at"),
    PrimaryKeyConstraint("workspace_id", "user_name", "name"),
)

job_names = Table(
    "job_names",
    metadata,
    Column("workspace_id", BigInteger, nullable=False),
    _text("name"),
    PrimaryKeyConstraint("workspace_id", "name"),
    comment="every name that a job has had, once; a trigger on jobs fills it. Searching it finds words inside names",
)
