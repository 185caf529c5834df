"""The dashboard: sessions, the audit log, saved views."""

from __future__ import annotations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""


def downgrade() -> None:
    """Undo `upgrade`."""
