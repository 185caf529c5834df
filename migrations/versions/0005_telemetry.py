"""Traces: what request a job came with. Notifications, and what is on its way to whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FIRST_ID = 32**4
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""
    op.add_column("jobs", sa.Column("traceparent", sa.Text(), comment="W3C trace context of the submission"))
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=FIRST_ID), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), comment="signs what a webhook is sent; never shown again"),
        sa.Column("states", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("labels", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.CheckConstraint("kind IN ('webhook', 'slack', 'email')", name=op.f("ck_notifications_kind_known")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_notifications_workspace_id_workspaces")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_notifications_workspace_id_name")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=FIRST_ID), nullable=False),
        sa.Column("notification_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), comment="null for a trial"),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column(
            "next_at",
            sa.DateTime(timezone=True),
            server_default=_NOW,
            comment="when it is sent next; null once it is delivered or given up",
        ),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text()),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notifications.id"],
            name=op.f("fk_deliveries_notification_id_notifications"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_due", "deliveries", ["next_at"], postgresql_where=sa.text("next_at IS NOT NULL"))
    op.create_index("ix_deliveries_notification", "deliveries", ["notification_id", "id"])


def downgrade() -> None:
    """Undo `upgrade`."""
    op.drop_table("deliveries")
    op.drop_table("notifications")
    op.drop_column("jobs", "traceparent")
