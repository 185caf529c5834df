"""The tables of notifications: who wants to be told, and what is on its way to them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from orchestrator.store import columns
from orchestrator.store.columns import metadata

notifications = Table(
    "notifications",
    metadata,
    columns.row_id(),
    columns.reference("workspace_id", "workspaces.id"),
    columns.text("name"),
    columns.text("kind"),
    columns.text("target"),
    Column("secret", Text, comment="signs what a webhook is sent; never shown again"),
    Column("states", ARRAY(Text), nullable=False),
    Column("labels", JSONB, nullable=False),
    columns.time("created_at", now=True),
    UniqueConstraint("workspace_id", "name"),
    CheckConstraint("kind IN ('webhook', 'slack', 'email')", name="kind_known"),
)

_UNDER_WAY = text("next_at IS NOT NULL")

deliveries = Table(
    "deliveries",
    metadata,
    columns.row_id(),
    Column("notification_id", BigInteger, ForeignKey("notifications.id", ondelete="CASCADE"), nullable=False),
    Column("job_id", BigInteger, comment="null for a trial"),
    Column("epoch", Integer, nullable=False),
    columns.text("state"),
    columns.text("reason"),
    columns.text("message"),
    columns.counter("attempts"),
    columns.time("created_at", now=True),
    Column(
        "next_at",
        DateTime(timezone=True),
        server_default=text("clock_timestamp()"),
        comment="when it is sent next; null once it is delivered or given up",
    ),
    columns.time("delivered_at"),
    Column("error", Text),
    Index("ix_deliveries_due", "next_at", postgresql_where=_UNDER_WAY),
    Index("ix_deliveries_notification", "notification_id", "id"),
)
