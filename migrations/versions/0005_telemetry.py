"""Resource samples and notifications."""

from __future__ import annotations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""


def downgrade() -> None:
    """Undo `upgrade`."""
