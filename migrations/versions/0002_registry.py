"""The registry: replica states, aliases, transfers."""

from __future__ import annotations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""


def downgrade() -> None:
    """Undo `upgrade`."""
