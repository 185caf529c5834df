"""The registry: replica states, aliases, what waits to be deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UNSETTLED = sa.text("state <> 'verified'")
_AT_WORK = sa.text("job_id IS NOT NULL")
_CHECKPOINT = sa.text("kind = 'checkpoint'")
_COPIES_OPEN = sa.text("kind = 'Transfer' AND finished_at IS NULL")


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""
    op.add_column("replicas", sa.Column("state", sa.Text(), server_default="verified", nullable=False))
    op.add_column(
        "replicas",
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
    )
    op.add_column(
        "replicas",
        sa.Column(
            "checked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=True,
            comment="when every byte was last hashed; null while it is being copied",
        ),
    )
    op.add_column("replicas", sa.Column("error", sa.Text(), nullable=True))
    op.add_column(
        "replicas",
        sa.Column("job_id", sa.BigInteger(), nullable=True, comment="the job that writes or checks this copy now"),
    )
    op.add_column(
        "replicas",
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="until when it is neither checked nor mended by itself",
        ),
    )
    op.add_column("replicas", sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute("UPDATE replicas SET checked_at = verified_at, changed_at = verified_at")
    op.create_foreign_key(op.f("fk_replicas_job_id_jobs"), "replicas", "jobs", ["job_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_replicas_state_known"), "replicas", "state IN ('copying', 'verified', 'stale', 'lost')"
    )
    op.create_check_constraint(
        op.f("ck_replicas_copying_has_job"), "replicas", "state <> 'copying' OR job_id IS NOT NULL"
    )
    op.create_index("ix_replicas_unsettled", "replicas", ["state", "changed_at"], postgresql_where=_UNSETTLED)
    op.create_index("ix_replicas_job", "replicas", ["job_id"], postgresql_where=_AT_WORK)
    op.create_index("ix_replicas_checked", "replicas", ["checked_at"], postgresql_where=sa.text("state = 'verified'"))
    op.create_index("ix_artifacts_checkpoints", "artifacts", ["job_id"], postgresql_where=_CHECKPOINT)
    op.create_index("ix_jobs_copies_open", "jobs", ["workspace_id", "id"], postgresql_where=_COPIES_OPEN)
    op.add_column("attempts", sa.Column("staged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "job_inputs",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the manifest"),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("store", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_inputs_job_id_jobs")),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_job_inputs_artifact_id_artifacts"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_inputs")),
        comment="what a job reads, pinned when it was submitted; the store is where its newest attempt took it from",
    )
    op.create_index("ix_job_inputs_artifact", "job_inputs", ["artifact_id"])
    op.create_table(
        "readers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column(
            "until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when it is taken for gone unless it says more",
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_readers_artifact_id_artifacts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readers")),
        comment="downloads that take long; a copy that was moved away stays until they are done",
    )
    op.create_index("ix_readers_artifact", "readers", ["artifact_id", "store"])
    op.create_table(
        "model_aliases",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "version"],
            ["model_versions.model_id", "model_versions.version"],
            name=op.f("fk_model_aliases_model_id_version_model_versions"),
        ),
        sa.PrimaryKeyConstraint("model_id", "alias", name=op.f("pk_model_aliases")),
    )
    op.create_index("ix_model_aliases_version", "model_aliases", ["model_id", "version"])
    op.create_table(
        "garbage",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True, comment="who may still be writing there"),
        sa.Column("artifact_id", sa.BigInteger(), nullable=True, comment="what a copy that was given up was to become"),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_garbage")),
        sa.UniqueConstraint("store", "prefix", name=op.f("uq_garbage_store_prefix")),
        comment="prefixes in stores that nothing refers to any more; their bytes are deleted, then the row",
    )
    op.create_table(
        "store_sweeps",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("swept_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column(
            "marked",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="our mark was seen there",
        ),
        sa.PrimaryKeyConstraint("store", name=op.f("pk_store_sweeps")),
        comment="when each store was last searched for uploads that nothing refers to",
    )


def downgrade() -> None:
    """Undo `upgrade`."""
    op.drop_table("store_sweeps")
    op.drop_table("garbage")
    op.drop_index("ix_readers_artifact", table_name="readers")
    op.drop_table("readers")
    op.drop_index("ix_job_inputs_artifact", table_name="job_inputs")
    op.drop_table("job_inputs")
    op.drop_column("attempts", "staged_at")
    op.drop_index("ix_model_aliases_version", table_name="model_aliases")
    op.drop_table("model_aliases")
    op.drop_index("ix_jobs_copies_open", table_name="jobs")
    op.drop_index("ix_artifacts_checkpoints", table_name="artifacts")
    op.execute("DELETE FROM replicas WHERE state <> 'verified'")
    op.drop_index("ix_replicas_checked", table_name="replicas")
    op.drop_index("ix_replicas_job", table_name="replicas")
    op.drop_index("ix_replicas_unsettled", table_name="replicas")
    for column in ("tries", "not_before", "job_id", "error", "checked_at", "changed_at", "state"):
        op.drop_column("replicas", column)
