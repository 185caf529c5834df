"""Jobs that move between clouds: standby replicas and placement that changes."""

from __future__ import annotations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""


def downgrade() -> None:
    """Undo `upgrade`."""
