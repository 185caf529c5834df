"""Traces: what request a job came with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""
    op.add_column("jobs", sa.Column("traceparent", sa.Text(), comment="W3C trace context of the submission"))


def downgrade() -> None:
    """Undo `upgrade`."""
    op.drop_column("jobs", "traceparent")
