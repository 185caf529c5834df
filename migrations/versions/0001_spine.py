"""The spine: workspaces, tokens, pools, workers, jobs, attempts, events, logs, metrics, artifacts and models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A copy of orchestrator.domain.state.TRANSITIONS as of this migration; a test keeps the newest copy equal to the code.
TRANSITIONS = (
    ("QUEUED", "DISPATCHED"),
    ("QUEUED", "CANCELLED"),
    ("DISPATCHED", "RUNNING"),
    ("DISPATCHED", "QUEUED"),
    ("DISPATCHED", "CANCELLED"),
    ("RUNNING", "SUCCEEDED"),
    ("RUNNING", "FAILED"),
    ("RUNNING", "QUEUED"),
    ("RUNNING", "CANCELLING"),
    ("CANCELLING", "CANCELLED"),
    ("FAILED", "QUEUED"),
    ("CANCELLED", "QUEUED"),
)

# The application asks before it moves a job; this is what stops everything else, down to a person in psql.
GUARDS = """
CREATE FUNCTION refuse_illegal_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    RAISE EXCEPTION 'a job begins QUEUED, not %', NEW.state USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.epoch < OLD.epoch THEN
    RAISE EXCEPTION 'the epoch of job % cannot fall from % to %', OLD.id, OLD.epoch, NEW.epoch
      USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.state <> OLD.state
     AND NOT EXISTS (SELECT FROM job_transitions t WHERE t.source = OLD.state AND t.target = NEW.state) THEN
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION refuse_illegal_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'attempt %.% has ended as % and stays so', OLD.job_id, OLD.epoch, OLD.state
    USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER jobs_begin BEFORE INSERT ON jobs FOR EACH ROW
  WHEN (NEW.state <> 'QUEUED') EXECUTE FUNCTION refuse_illegal_job();
CREATE TRIGGER jobs_move BEFORE UPDATE OF state, epoch ON jobs FOR EACH ROW
  WHEN (OLD.state <> NEW.state OR OLD.epoch > NEW.epoch) EXECUTE FUNCTION refuse_illegal_job();
CREATE TRIGGER attempts_end BEFORE UPDATE OF state ON attempts FOR EACH ROW
  WHEN (OLD.state <> 'RUNNING' AND OLD.state <> NEW.state) EXECUTE FUNCTION refuse_illegal_attempt();
"""


def upgrade() -> None:
    op.create_table(
        "components",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_components")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "actor", sa.Text(), nullable=False, comment="who did it: user:ada, dispatcher, worker:w-10001, reconciler"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_job", "events", ["job_id", "id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("response", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("workspace_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_age", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "job_labels",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "key", "value", "job_id", name=op.f("pk_job_labels")),
        comment="labels once more, in the order in which lists filtered by label are read",
    )
    op.create_table(
        "job_transitions",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "target", name=op.f("pk_job_transitions")),
    )
    op.create_table(
        "log_chunks",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("first_line", sa.BigInteger(), nullable=False),
        sa.Column("last_line", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column(
            "lines",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[[seconds since the epoch, stream, text], …]",
        ),
        sa.Column("stored_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "epoch", "first_line", name=op.f("pk_log_chunks")),
        sa.UniqueConstraint("job_id", "epoch", "seq", name=op.f("uq_log_chunks_job_id_epoch_seq")),
    )
    op.create_table(
        "metrics",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True, comment="null stands for NaN and infinity"),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name", "step", "epoch", name=op.f("pk_metrics")),
    )
    op.create_table(
        "pools",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cloud", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("gpu", sa.Text(), nullable=True),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pools")),
        sa.UniqueConstraint("name", name=op.f("uq_pools_name")),
    )
    op.create_table(
        "workspaces",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workspaces")),
        sa.UniqueConstraint("name", name=op.f("uq_workspaces_name")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("spec_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "shape", sa.Text(), nullable=False, comment="what placement looks at; jobs of one shape are placed alike"
        ),
        sa.Column("state", sa.Text(), server_default="QUEUED", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "epoch",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="number of the newest attempt; the fencing token",
        ),
        sa.Column("pool_id", sa.BigInteger(), nullable=True),
        sa.Column("user_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("infra_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("preemptions", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("worker_deaths", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('SUCCEEDED', 'FAILED', 'CANCELLED'))",
            name=op.f("ck_jobs_finished_iff_terminal"),
        ),
        sa.CheckConstraint(
            "(pool_id IS NOT NULL) OR state NOT IN ('DISPATCHED', 'RUNNING', 'CANCELLING')",
            name=op.f("ck_jobs_placed_has_pool"),
        ),
        sa.CheckConstraint(
            "epoch > 0 OR state NOT IN ('RUNNING', 'CANCELLING', 'SUCCEEDED')", name=op.f("ck_jobs_running_has_epoch")
        ),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'DISPATCHED', 'RUNNING', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED')",
            name=op.f("ck_jobs_state_known"),
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_jobs_pool_id_pools")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_jobs_workspace_id_workspaces")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_created", "jobs", ["workspace_id", "created_at"], unique=False)
    op.create_index("ix_jobs_kind", "jobs", ["workspace_id", "kind", "id"], unique=False)
    op.create_index("ix_jobs_name", "jobs", ["workspace_id", "name", "id"], unique=False)
    op.create_index("ix_jobs_pool", "jobs", ["workspace_id", "pool_id", "id"], unique=False)
    op.create_index(
        "ix_jobs_queue", "jobs", ["shape", "id"], unique=False, postgresql_where=sa.text("state = 'QUEUED'")
    )
    op.create_index("ix_jobs_state", "jobs", ["workspace_id", "state", "id"], unique=False)
    op.create_index("ix_jobs_user", "jobs", ["workspace_id", "user_name", "id"], unique=False)
    op.create_index(
        "ix_jobs_window", "jobs", ["pool_id", "id"], unique=False, postgresql_where=sa.text("state = 'DISPATCHED'")
    )
    op.create_index("ix_jobs_workspace", "jobs", ["workspace_id", "id"], unique=False)
    op.create_table(
        "models",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("versions", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_models_workspace_id_workspaces")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_models_workspace_id_name")),
    )
    op.create_table(
        "source_files",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_source_files_workspace_id_workspaces")
        ),
        sa.PrimaryKeyConstraint("workspace_id", "sha256", name=op.f("pk_source_files")),
        comment="files that users named for their jobs; small, and needed wherever the job runs, so they live with it",
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the secret, which is kept nowhere"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "role IN ('viewer', 'submitter', 'operator', 'admin', 'worker')", name=op.f("ck_tokens_role_known")
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_tokens_workspace_id_workspaces")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
    op.create_index("ix_tokens_workspace", "tokens", ["workspace_id", "id"], unique=False)
    op.create_table(
        "workers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column(
            "gpus", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("draining", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("slots > 0", name=op.f("ck_workers_slots_positive")),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_workers_pool_id_pools")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
        sa.UniqueConstraint("pool_id", "name", name=op.f("uq_workers_pool_id_name")),
    )
    op.create_table(
        "artifacts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, start=1048576), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the manifest"),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("(kind = 'checkpoint') = (step IS NOT NULL)", name=op.f("ck_artifacts_checkpoint_has_step")),
        sa.CheckConstraint("kind IN ('model', 'output', 'checkpoint')", name=op.f("ck_artifacts_kind_known")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_artifacts_job_id_jobs")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_artifacts_workspace_id_workspaces")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
    )
    op.create_index("ix_artifacts_job", "artifacts", ["job_id", "kind", "id"], unique=False)
    op.create_index("ix_artifacts_workspace", "artifacts", ["workspace_id", "id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.BigInteger(), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="RUNNING", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "token_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the token that speaks for this attempt only",
        ),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resumed_from_step", sa.BigInteger(), nullable=True),
        sa.Column("progress", sa.Double(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True, comment="what the job last said beside its progress"),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'RUNNING') = (finished_at IS NULL)", name=op.f("ck_attempts_finished_iff_ended")),
        sa.CheckConstraint(
            "state <> 'RUNNING' OR lease_expires_at IS NOT NULL", name=op.f("ck_attempts_running_has_lease")
        ),
        sa.CheckConstraint(
            "state IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'PREEMPTED', 'LOST')",
            name=op.f("ck_attempts_state_known"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id_jobs")),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_attempts_pool_id_pools")),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_attempts_worker_id_workers")),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_attempts")),
    )
    op.create_index(
        "ix_attempts_lease",
        "attempts",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'RUNNING'"),
    )
    op.create_index(
        "ix_attempts_worker", "attempts", ["worker_id"], unique=False, postgresql_where=sa.text("state = 'RUNNING'")
    )
    op.create_index(
        "uq_attempts_one_running", "attempts", ["job_id"], unique=True, postgresql_where=sa.text("state = 'RUNNING'")
    )
    op.create_index(
        "uq_attempts_token_hash", "attempts", ["token_hash"], unique=True, postgresql_where=sa.text("state = 'RUNNING'")
    )
    op.create_table(
        "model_versions",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("lineage", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_model_versions_artifact_id_artifacts")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_model_versions_job_id_jobs")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_model_versions_model_id_models")),
        sa.PrimaryKeyConstraint("model_id", "version", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("job_id", name=op.f("uq_model_versions_job_id")),
    )
    op.create_table(
        "replicas",
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column(
            "verified_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_replicas_artifact_id_artifacts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("artifact_id", "store", name=op.f("pk_replicas")),
        sa.UniqueConstraint("store", "prefix", name=op.f("uq_replicas_store_prefix")),
    )
    transitions = sa.table("job_transitions", sa.column("source", sa.Text), sa.column("target", sa.Text))
    op.bulk_insert(transitions, [{"source": source, "target": target} for source, target in TRANSITIONS])
    op.execute(GUARDS)


def downgrade() -> None:
    op.drop_table("replicas")
    op.drop_table("model_versions")
    op.drop_index("uq_attempts_token_hash", table_name="attempts", postgresql_where=sa.text("state = 'RUNNING'"))
    op.drop_index("uq_attempts_one_running", table_name="attempts", postgresql_where=sa.text("state = 'RUNNING'"))
    op.drop_index("ix_attempts_worker", table_name="attempts", postgresql_where=sa.text("state = 'RUNNING'"))
    op.drop_index("ix_attempts_lease", table_name="attempts", postgresql_where=sa.text("state = 'RUNNING'"))
    op.drop_table("attempts")
    op.drop_index("ix_artifacts_workspace", table_name="artifacts")
    op.drop_index("ix_artifacts_job", table_name="artifacts")
    op.drop_table("artifacts")
    op.drop_table("workers")
    op.drop_index("ix_tokens_workspace", table_name="tokens")
    op.drop_table("tokens")
    op.drop_table("source_files")
    op.drop_table("models")
    op.drop_index("ix_jobs_workspace", table_name="jobs")
    op.drop_index("ix_jobs_window", table_name="jobs", postgresql_where=sa.text("state = 'DISPATCHED'"))
    op.drop_index("ix_jobs_user", table_name="jobs")
    op.drop_index("ix_jobs_state", table_name="jobs")
    op.drop_index("ix_jobs_queue", table_name="jobs", postgresql_where=sa.text("state = 'QUEUED'"))
    op.drop_index("ix_jobs_pool", table_name="jobs")
    op.drop_index("ix_jobs_name", table_name="jobs")
    op.drop_index("ix_jobs_kind", table_name="jobs")
    op.drop_index("ix_jobs_created", table_name="jobs")
    op.drop_table("jobs")
    op.drop_table("workspaces")
    op.drop_table("pools")
    op.drop_table("metrics")
    op.drop_table("log_chunks")
    op.drop_table("job_transitions")
    op.drop_table("job_labels")
    op.drop_index("ix_idempotency_keys_age", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_events_job", table_name="events")
    op.drop_table("events")
    op.drop_table("components")
    op.execute("DROP FUNCTION refuse_illegal_job(), refuse_illegal_attempt()")
