"""The tables. Migrations create them; a test compares the two.

Row ids are the numbers inside public ids (`orchestrator.domain.ids`). Times are the database's own clock. States are
text with a CHECK; a trigger on `jobs` refuses moves that `job_transitions` does not list (see migrations/versions).

The tables that only ever grow (events, log_chunks, metrics, job_labels) have no foreign key to jobs: each insert would
lock and rewrite the job's row, and nothing can write to them but statements that have just found the job.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from orchestrator.domain.state import AttemptState, JobState
from orchestrator.store import cluster_tables, columns, console_tables, notification_tables, registry_tables  # noqa: F401 - the rest of `metadata`
from orchestrator.store.columns import metadata as metadata  # noqa: PLC0414 - whoever wants all tables asks here


def _one_of(column: str, values: type[JobState | AttemptState]) -> CheckConstraint:
    known = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({known})", name=f"{column}_known")


workspaces = Table(
    "workspaces",
    metadata,
    columns.row_id(),
    Column("name", Text, nullable=False, unique=True),
    columns.time("created_at", now=True),
)

tokens = Table(
    "tokens",
    metadata,
    columns.row_id(),
    columns.reference("workspace_id", "workspaces.id"),
    columns.text("name"),
    columns.text("user_name"),
    columns.text("role"),
    Column(
        "hash",
        LargeBinary,
        nullable=False,
        unique=True,
        comment="SHA-256 of the secret, which is kept nowhere",
    ),
    columns.time("created_at", now=True),
    columns.time("expires_at"),
    columns.time("last_used_at"),
    columns.time("revoked_at"),
    CheckConstraint("role IN ('viewer', 'submitter', 'operator', 'admin', 'worker')", name="role_known"),
    Index("ix_tokens_workspace", "workspace_id", "id"),
)

pools = Table(
    "pools",
    metadata,
    columns.row_id(),
    Column("name", Text, nullable=False, unique=True),
    columns.text("cloud"),
    columns.text("region"),
    columns.text("gpu", nullable=True),
    columns.text("store"),
    columns.time("created_at", now=True),
    Column("usd_per_hour", Double, comment="what one slot costs for an hour"),
    Column(
        "spot",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="its capacity can be taken back at short notice",
    ),
    columns.reference("cluster_id", "clusters.id", nullable=True),
    Column("pods", JSONB, comment="how its pods are made; null for pools of processes"),
)

workers = Table(
    "workers",
    metadata,
    columns.row_id(),
    columns.reference("pool_id", "pools.id"),
    columns.text("name"),
    columns.text("host"),
    Column("pid", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    columns.text("version"),
    Column("gpus", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("draining", Boolean, nullable=False, server_default=text("false")),
    columns.time("started_at", now=True),
    columns.time("heartbeat_at", now=True),
    CheckConstraint("slots > 0", name="slots_positive"),
    UniqueConstraint("pool_id", "name"),
)

job_transitions = Table(
    "job_transitions",
    metadata,
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    PrimaryKeyConstraint("source", "target"),
)

jobs = Table(
    "jobs",
    metadata,
    columns.row_id(),
    columns.reference("workspace_id", "workspaces.id"),
    columns.text("name"),
    columns.text("kind"),
    columns.text("user_name"),
    Column("labels", JSONB, nullable=False),
    Column("document", JSONB, nullable=False),
    Column("spec_hash", LargeBinary, nullable=False),
    Column("shape", Text, nullable=False, comment="what placement looks at; jobs of one shape are placed alike"),
    columns.text("state", default=JobState.QUEUED.value),
    columns.text("reason"),
    columns.text("message"),
    Column(
        "epoch",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="number of the newest attempt; the fencing token",
    ),
    columns.reference("pool_id", "pools.id", nullable=True),
    columns.counter("user_failures"),
    columns.counter("infra_failures"),
    columns.counter("preemptions"),
    columns.counter("worker_deaths"),
    Column("moved_to", Text, comment="the cloud to which a person moved the job, whatever its spec"),
    Column("standby", Text, comment="the cloud to which its checkpoints are copied ahead"),
    Column("max_cost_usd", Double, comment="what all of its attempts together may cost"),
    Column("exit_code", Integer),
    columns.time("not_before"),
    columns.time("created_at", now=True),
    columns.time("dispatched_at"),
    columns.time("started_at"),
    columns.time("finished_at"),
    Column("traceparent", Text, comment="W3C trace context of the submission"),
    _one_of("state", JobState),
    CheckConstraint(
        "(finished_at IS NOT NULL) = (state IN ('SUCCEEDED', 'FAILED', 'CANCELLED'))",
        name="finished_iff_terminal",
    ),
    CheckConstraint(
        "(pool_id IS NOT NULL) OR state NOT IN ('DISPATCHED', 'RUNNING', 'CANCELLING')",
        name="placed_has_pool",
    ),
    CheckConstraint("epoch > 0 OR state NOT IN ('RUNNING', 'CANCELLING', 'SUCCEEDED')", name="running_has_epoch"),
    Index("ix_jobs_workspace", "workspace_id", "id"),
    Index("ix_jobs_state", "workspace_id", "state", "id"),
    Index("ix_jobs_name", "workspace_id", "name", "id"),
    Index("ix_jobs_user", "workspace_id", "user_name", "id"),
    Index("ix_jobs_kind", "workspace_id", "kind", "id"),
    Index("ix_jobs_pool", "workspace_id", "pool_id", "id"),
    Index("ix_jobs_created", "workspace_id", "created_at"),
    Index("ix_jobs_queue", "shape", "id", postgresql_where=text("state = 'QUEUED'")),
    Index("ix_jobs_window", "pool_id", "id", postgresql_where=text("state = 'DISPATCHED'")),
    Index("ix_jobs_max_cost", "id", postgresql_where=text("max_cost_usd IS NOT NULL AND finished_at IS NULL")),
    Index("ix_jobs_standby", "id", postgresql_where=text("standby IS NOT NULL AND finished_at IS NULL")),
    Index(
        "ix_jobs_copies_open", "workspace_id", "id", postgresql_where=text("kind = 'Transfer' AND finished_at IS NULL")
    ),
    Index("ix_jobs_failed", "workspace_id", "finished_at", postgresql_where=text("state = 'FAILED'")),
    # For the lists of the dashboard. None is touched while a job goes its usual way: the first leaves out the reasons
    # of that way, the others take a job in when it has ended.
    Index(
        "ix_jobs_reason",
        "workspace_id",
        "reason",
        "id",
        postgresql_where=text("reason <> ALL (ARRAY['submitted', 'placed', 'claimed', 'succeeded'])"),
    ),
    Index("ix_jobs_finished", "workspace_id", "finished_at", "id", postgresql_where=text("finished_at IS NOT NULL")),
    Index(
        "ix_jobs_duration",
        "workspace_id",
        text("(finished_at - started_at)"),
        "id",
        postgresql_include=["started_at", "finished_at"],  # or Postgres would look the times up in the jobs
        postgresql_where=text("finished_at IS NOT NULL AND started_at IS NOT NULL"),
    ),
)

job_labels = Table(
    "job_labels",
    metadata,
    Column("workspace_id", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("job_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "key", "value", "job_id"),
    comment="labels once more, in the order in which lists filtered by label are read",
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    columns.reference("worker_id", "workers.id"),
    columns.reference("pool_id", "pools.id"),
    columns.text("state", default=AttemptState.RUNNING.value),
    columns.text("reason"),
    columns.text("message", default=""),
    Column(
        "token_hash",
        LargeBinary,
        nullable=False,
        comment="SHA-256 of the token that speaks for this attempt only",
    ),
    columns.time("lease_expires_at"),
    Column("resumed_from_step", BigInteger),
    Column("progress", Double),
    Column("note", Text, comment="what the job last said beside its progress"),
    Column("asked", Text, comment="what is wanted of it: checkpoint, cancel, move, or move once a copy has gone ahead"),
    Column(
        "bound_for", BigInteger, ForeignKey("pools.id"), comment="the pool that keeps a slot for it, while it moves"
    ),
    columns.time("attached_at"),
    Column("node_pods", JSONB, comment="by node, the uid of the pod that runs it: no other one may"),
    columns.time("staged_at"),
    Column("first_metric_at", Double, comment="seconds since the epoch; of the numbers that the job itself logs"),
    Column("last_metric_at", Double),
    Column("done_nodes", ARRAY(Integer), comment="nodes whose program has ended well, but the first"),
    Column("exit_code", Integer),
    columns.time("started_at", now=True),
    columns.time("finished_at"),
    PrimaryKeyConstraint("job_id", "epoch"),
    _one_of("state", AttemptState),
    CheckConstraint("(state = 'RUNNING') = (finished_at IS NULL)", name="finished_iff_ended"),
    CheckConstraint("state <> 'RUNNING' OR lease_expires_at IS NOT NULL", name="running_has_lease"),
    CheckConstraint("asked IN ('checkpoint', 'ahead', 'move', 'cancel')", name="asked_known"),
    Index("ix_attempts_lease", "lease_expires_at", postgresql_where=text("state = 'RUNNING'")),
    Index("ix_attempts_bound", "bound_for", postgresql_where=text("state = 'RUNNING' AND bound_for IS NOT NULL")),
    Index("ix_attempts_worker", "worker_id", postgresql_where=text("state = 'RUNNING'")),
    Index("uq_attempts_token_hash", "token_hash", unique=True, postgresql_where=text("state = 'RUNNING'")),
    Index("ix_attempts_finished", "finished_at"),
    Index("uq_attempts_one_running", "job_id", unique=True, postgresql_where=text("state = 'RUNNING'")),
)

refusals = Table(
    "refusals",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("pool_id", BigInteger, nullable=False),
    columns.time("at", now=True),
    columns.text("reason"),
    columns.text("message"),
    PrimaryKeyConstraint("job_id", "pool_id"),
    comment="the last time that each pool could not take a job, and why; the next offer is tried first",
)

events = Table(
    "events",
    metadata,
    columns.row_id(),
    Column("job_id", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    columns.time("at", now=True),
    Column("source", Text),
    Column("target", Text, nullable=False),
    columns.text("reason"),
    columns.text("message"),
    Column("actor", Text, nullable=False, comment="who did it: user:ada, dispatcher, worker:w-10001, reconciler"),
    Index("ix_events_job", "job_id", "id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("workspace_id", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("response", JSONB),
    columns.time("created_at", now=True),
    PrimaryKeyConstraint("workspace_id", "key"),
    Index("ix_idempotency_keys_age", "created_at"),
)

log_chunks = Table(
    "log_chunks",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("first_line", BigInteger, nullable=False),
    Column("last_line", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("lines", JSONB, nullable=False, comment="[[seconds since the epoch, stream, text], …]"),
    columns.time("stored_at", now=True),
    PrimaryKeyConstraint("job_id", "epoch", "first_line"),
    UniqueConstraint("job_id", "epoch", "seq"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("value", Double, comment="null stands for NaN and infinity"),
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("job_id", "name", "step", "epoch"),
)

source_files = Table(
    "source_files",
    metadata,
    Column("workspace_id", BigInteger, ForeignKey("workspaces.id"), nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    columns.time("created_at", now=True),
    PrimaryKeyConstraint("workspace_id", "sha256"),
    comment="files that users named for their jobs; small, and needed wherever the job runs, so they live with it",
)

components = Table(
    "components",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    columns.time("seen_at", now=True),
    Column("detail", Text, nullable=False, server_default=""),
    Column("ok", Boolean, nullable=False, server_default=text("true")),
)
