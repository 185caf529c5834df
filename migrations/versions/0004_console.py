"""The dashboard: sessions, the audit log, saved views; what pools cost and how components are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LIMITED = sa.text("max_cost_usd IS NOT NULL AND finished_at IS NULL")

# Nobody rewrites what was done: not the application, nor a person in psql who has not dropped the trigger first.
GUARDS = """
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER audit_rows BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_table BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
"""

# A trigger, because the previous release's code submits jobs, too. In the order of names, so that two cannot wait for
# each other.
NAMES = """
CREATE FUNCTION note_job_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO job_names (workspace_id, name)
  SELECT DISTINCT workspace_id, name FROM made ORDER BY workspace_id, name ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE TRIGGER jobs_named AFTER INSERT ON jobs REFERENCING NEW TABLE AS made
  FOR EACH STATEMENT EXECUTE FUNCTION note_job_names();
INSERT INTO job_names (workspace_id, name) SELECT DISTINCT workspace_id, name FROM jobs;
"""


def upgrade() -> None:
    """Expand only: the previous release's code goes on working."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column(
            "hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the cookie's secret, which is kept nowhere"
        ),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "token_id", sa.BigInteger(), nullable=True, comment="the session ends with this token, and has its role"
        ),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column(
            "grants",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="roles by workspace, of somebody whom a provider let into several",
        ),
        sa.Column(
            "previous",
            sa.LargeBinary(),
            nullable=True,
            comment="the hash before this one, good for a moment after `rotated_at`",
        ),
        sa.Column(
            "rotated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('viewer', 'submitter', 'operator', 'admin')", name=op.f("ck_sessions_role_known")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_sessions_workspace_id_workspaces")),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name=op.f("fk_sessions_token_id_tokens")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("hash", name=op.f("uq_sessions_hash")),
    )
    op.create_index("ix_sessions_workspace", "sessions", ["workspace_id", "id"], unique=False)
    op.create_index("ix_sessions_previous", "sessions", ["previous"], unique=False)
    op.create_table(
        "failed_sign_ins",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failed_sign_ins")),
    )
    op.create_index("ix_failed_sign_ins_address", "failed_sign_ins", ["address", "at"], unique=False)
    op.create_table(
        "audit_heads",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_audit_heads")),
        comment="the newest row of each workspace's chain; also the lock that orders it",
    )
    op.create_table(
        "audit",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the hash before and of this row"),
        sa.PrimaryKeyConstraint("workspace_id", "seq", name=op.f("pk_audit")),
    )
    op.create_table(
        "saved_views",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False, comment="the query string of the list of jobs"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_saved_views_workspace_id_workspaces")
        ),
        sa.PrimaryKeyConstraint("workspace_id", "user_name", "name", name=op.f("pk_saved_views")),
    )
    op.add_column(
        "pools", sa.Column("usd_per_hour", sa.Double(), nullable=True, comment="what one slot costs for an hour")
    )
    op.add_column(
        "pools",
        sa.Column(
            "spot",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="its capacity can be taken back at short notice",
        ),
    )
    op.add_column(
        "jobs",
        sa.Column("max_cost_usd", sa.Double(), nullable=True, comment="what all of its attempts together may cost"),
    )
    op.create_index("ix_jobs_max_cost", "jobs", ["id"], unique=False, postgresql_where=_LIMITED)
    op.add_column("components", sa.Column("ok", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.create_index(
        "ix_jobs_failed",
        "jobs",
        ["workspace_id", "finished_at"],
        unique=False,
        postgresql_where=sa.text("state = 'FAILED'"),
    )
    op.create_index("ix_attempts_finished", "attempts", ["finished_at"], unique=False)
    op.create_index(
        "ix_jobs_reason",
        "jobs",
        ["workspace_id", "reason", "id"],
        unique=False,
        postgresql_where=sa.text("reason <> ALL (ARRAY['submitted', 'placed', 'claimed', 'succeeded'])"),
    )
    op.create_index(
        "ix_jobs_finished",
        "jobs",
        ["workspace_id", "finished_at", "id"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_duration",
        "jobs",
        ["workspace_id", sa.text("(finished_at - started_at)"), "id"],
        unique=False,
        postgresql_include=["started_at", "finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND started_at IS NOT NULL"),
    )
    op.create_table(
        "job_names",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "name", name=op.f("pk_job_names")),
        comment="every name that a job has had, once; a trigger on jobs fills it. Searching it finds words inside names",
    )
    op.create_table(
        "usage",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("facet", sa.Text(), nullable=False, comment="kind, user, job or label:KEY"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="the day's beginning, UTC"),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("hours", sa.Double(), nullable=False, comment="of slots"),
        sa.Column("attempts", sa.BigInteger(), nullable=False, comment="that began on that day"),
        sa.PrimaryKeyConstraint("workspace_id", "facet", "at", "pool_id", "key", name=op.f("pk_usage")),
        comment="what ended attempts have used, added up by day; once for each facet",
    )
    op.create_table(
        "usage_until",
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        comment="one row: attempts that ended by then are in `usage`, later ones are not; also the lock of who adds",
    )
    op.execute("INSERT INTO usage_until (until) VALUES ('epoch')")
    op.execute(GUARDS)
    op.execute(NAMES)


def downgrade() -> None:
    """Undo `upgrade`."""
    op.execute("DROP TRIGGER jobs_named ON jobs; DROP FUNCTION note_job_names()")
    op.drop_table("usage_until")
    op.drop_table("usage")
    op.drop_table("job_names")
    op.drop_index("ix_jobs_duration", table_name="jobs")
    op.drop_index("ix_jobs_finished", table_name="jobs")
    op.drop_index("ix_jobs_reason", table_name="jobs")
    op.drop_index("ix_attempts_finished", table_name="attempts")
    op.drop_index("ix_jobs_failed", table_name="jobs")
    op.drop_column("components", "ok")
    op.drop_index("ix_jobs_max_cost", table_name="jobs")
    op.drop_column("jobs", "max_cost_usd")
    op.drop_column("pools", "spot")
    op.drop_column("pools", "usd_per_hour")
    for table in ("saved_views", "audit", "audit_heads", "failed_sign_ins", "sessions"):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_audit_change()")
