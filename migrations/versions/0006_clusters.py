"""Clusters, and the pods on them."""

from __future__ import annotations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""


def downgrade() -> None:
    """Undo `upgrade`."""
