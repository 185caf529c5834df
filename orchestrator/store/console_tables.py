"""The tables of the dashboard: who is signed in, what was done, which views people have saved."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store import columns
from orchestrator.store.columns import metadata

sessions = Table(
    "sessions",
    metadata,
    columns.row_id(),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the cookie's secret, which is kept nowhere"),
    columns.reference("workspace_id", "workspaces.id"),
    Column(
        "token_id", BigInteger, ForeignKey("tokens.id"), comment="the session ends with this token, and has its role"
    ),
    columns.text("user_name"),
    columns.text("role"),
    columns.text("csrf"),
    Column("grants", JSONB, comment="roles by workspace, of somebody whom a provider let into several"),
    Column("previous", LargeBinary, comment="the hash before this one, good for a moment after `rotated_at`"),
    columns.time("rotated_at", now=True),
    columns.time("created_at", now=True),
    Column("expires_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    CheckConstraint("role IN ('viewer', 'submitter', 'operator', 'admin')", name="role_known"),
    UniqueConstraint("hash"),
    Index("ix_sessions_workspace", "workspace_id", "id"),
    Index("ix_sessions_previous", "previous"),
)

failed_sign_ins = Table(
    "failed_sign_ins",
    metadata,
    columns.row_id(),
    columns.text("address"),
    columns.time("at", now=True),
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
    columns.text("actor"),
    columns.text("role"),
    columns.text("via"),
    columns.text("action"),
    columns.text("target"),
    Column("detail", JSONB, nullable=False),
    columns.text("request_id"),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the hash before and of this row"),
    PrimaryKeyConstraint("workspace_id", "seq"),
)

saved_views = Table(
    "saved_views",
    metadata,
    columns.reference("workspace_id", "workspaces.id"),
    columns.text("user_name"),
    columns.text("name"),
    columns.text("query", comment="the query string of the list of jobs"),
    columns.time("created_at", now=True),
    PrimaryKeyConstraint("workspace_id", "user_name", "name"),
)

usage = Table(
    "usage",
    metadata,
    Column("workspace_id", BigInteger, nullable=False),
    columns.text("facet", comment="kind, user, job or label:KEY"),
    Column("at", DateTime(timezone=True), nullable=False, comment="the day's beginning, UTC"),
    Column("pool_id", BigInteger, nullable=False),
    columns.text("key"),
    Column("hours", Double, nullable=False, comment="of slots"),
    Column("attempts", BigInteger, nullable=False, comment="that began on that day"),
    PrimaryKeyConstraint("workspace_id", "facet", "at", "pool_id", "key"),
    comment="what ended attempts have used, added up by day; once for each facet",
)

usage_until = Table(
    "usage_until",
    metadata,
    Column("until", DateTime(timezone=True), nullable=False),
    comment="one row: attempts that ended by then are in `usage`, later ones are not; also the lock of who adds",
)

job_names = Table(
    "job_names",
    metadata,
    Column("workspace_id", BigInteger, nullable=False),
    columns.text("name"),
    PrimaryKeyConstraint("workspace_id", "name"),
    comment="every name that a job has had, once; a trigger on jobs fills it. Searching it finds words inside names",
)
