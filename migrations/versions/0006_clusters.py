"""Clusters, and the pods on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""
    op.create_table(
        "clusters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "ref",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="where it is and how it is found; never a credential",
        ),
        sa.Column("draining", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "asked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when somebody wanted to know whether it works",
        ),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "checks", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clusters")),
        sa.UniqueConstraint("name", name=op.f("uq_clusters_name")),
    )
    op.add_column("pools", sa.Column("cluster_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_pools_cluster_id_clusters"), "pools", "clusters", ["cluster_id"], ["id"])
    op.add_column(
        "pools",
        sa.Column(
            "pods",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="how its pods are made; null for pools of processes",
        ),
    )
    op.add_column("attempts", sa.Column("attached_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "attempts",
        sa.Column(
            "node_pods",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="by node, the uid of the pod that runs it: no other one may",
        ),
    )
    op.add_column(
        "attempts",
        sa.Column(
            "done_nodes",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="nodes whose program has ended well, but the first",
        ),
    )


def downgrade() -> None:
    """Undo `upgrade`."""
    op.drop_column("attempts", "done_nodes")
    op.drop_column("attempts", "node_pods")
    op.drop_column("attempts", "attached_at")
    op.drop_column("pools", "pods")
    op.drop_constraint(op.f("fk_pools_cluster_id_clusters"), "pools")
    op.drop_column("pools", "cluster_id")
    op.drop_table("clusters")
