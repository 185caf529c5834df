"""Jobs that move between clouds: standby replicas and placement that changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STANDBY = sa.text("standby IS NOT NULL AND finished_at IS NULL")
_BOUND = sa.text("state = 'RUNNING' AND bound_for IS NOT NULL")


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""
    op.add_column(
        "jobs",
        sa.Column(
            "moved_to", sa.Text(), nullable=True, comment="the cloud to which a person moved the job, whatever its spec"
        ),
    )
    op.add_column(
        "jobs",
        sa.Column("standby", sa.Text(), nullable=True, comment="the cloud to which its checkpoints are copied ahead"),
    )
    op.create_index("ix_jobs_standby", "jobs", ["id"], unique=False, postgresql_where=_STANDBY)
    op.add_column(
        "attempts",
        sa.Column(
            "asked",
            sa.Text(),
            nullable=True,
            comment="what is wanted of it: checkpoint, cancel, move, or move once a copy has gone ahead",
        ),
    )
    op.add_column(
        "attempts",
        sa.Column(
            "bound_for",
            sa.BigInteger(),
            nullable=True,
            comment="the pool that keeps a slot for it, while it moves",
        ),
    )
    op.create_foreign_key(op.f("fk_attempts_bound_for_pools"), "attempts", "pools", ["bound_for"], ["id"])
    op.create_index("ix_attempts_bound", "attempts", ["bound_for"], unique=False, postgresql_where=_BOUND)
    op.add_column(
        "attempts",
        sa.Column(
            "first_metric_at",
            sa.Double(),
            nullable=True,
            comment="seconds since the epoch; of the numbers that the job itself logs",
        ),
    )
    op.add_column("attempts", sa.Column("last_metric_at", sa.Double(), nullable=True))
    op.create_check_constraint(
        op.f("ck_attempts_asked_known"), "attempts", "asked IN ('checkpoint', 'ahead', 'move', 'cancel')"
    )
    op.create_table(
        "refusals",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "pool_id", name=op.f("pk_refusals")),
        comment="the last time that each pool could not take a job, and why; the next offer is tried first",
    )


def downgrade() -> None:
    """Undo `upgrade`."""
    op.drop_table("refusals")
    op.drop_constraint(op.f("ck_attempts_asked_known"), "attempts")
    op.drop_column("attempts", "last_metric_at")
    op.drop_column("attempts", "first_metric_at")
    op.drop_index("ix_attempts_bound", table_name="attempts", postgresql_where=_BOUND)
    op.drop_constraint(op.f("fk_attempts_bound_for_pools"), "attempts", type_="foreignkey")
    op.drop_column("attempts", "bound_for")
    op.drop_column("attempts", "asked")
    op.drop_index("ix_jobs_standby", table_name="jobs", postgresql_where=_STANDBY)
    op.drop_column("jobs", "standby")
    op.drop_column("jobs", "moved_to")
