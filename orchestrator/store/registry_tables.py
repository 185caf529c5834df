"""The tables of artifacts and of the model registry: replicas, versions, aliases, and what waits to be deleted."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store import columns
from orchestrator.store.columns import metadata

artifacts = Table(
    "artifacts",
    metadata,
    columns.row_id(),
    columns.reference("workspace_id", "workspaces.id"),
    columns.text("kind"),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("step", BigInteger),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the manifest"),
    Column("size", BigInteger, nullable=False),
    Column("files", Integer, nullable=False),
    columns.time("created_at", now=True),
    CheckConstraint("kind IN ('model', 'output', 'checkpoint')", name="kind_known"),
    CheckConstraint("(kind = 'checkpoint') = (step IS NOT NULL)", name="checkpoint_has_step"),
    Index("ix_artifacts_job", "job_id", "kind", "id"),
    Index("ix_artifacts_workspace", "workspace_id", "id"),
    Index("ix_artifacts_checkpoints", "job_id", postgresql_where=text("kind = 'checkpoint'")),
)

replicas = Table(
    "replicas",
    metadata,
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id", ondelete="CASCADE"), nullable=False),
    Column("store", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    columns.time("verified_at", now=True),
    columns.text("state", default="verified"),
    columns.time("changed_at", now=True),
    Column(
        "checked_at",
        DateTime(timezone=True),
        server_default=func.clock_timestamp(),
        comment="when every byte was last hashed; null while it is being copied",
    ),
    columns.text("error", nullable=True),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), comment="the job that writes or checks this copy now"),
    Column("not_before", DateTime(timezone=True), comment="until when it is neither checked nor mended by itself"),
    columns.counter("tries"),
    PrimaryKeyConstraint("artifact_id", "store"),
    UniqueConstraint("store", "prefix"),
    CheckConstraint("state IN ('copying', 'verified', 'stale', 'lost')", name="state_known"),
    CheckConstraint("state <> 'copying' OR job_id IS NOT NULL", name="copying_has_job"),
    Index("ix_replicas_unsettled", "state", "changed_at", postgresql_where=text("state <> 'verified'")),
    Index("ix_replicas_job", "job_id", postgresql_where=text("job_id IS NOT NULL")),
    Index("ix_replicas_checked", "checked_at", postgresql_where=text("state = 'verified'")),
)

job_inputs = Table(
    "job_inputs",
    metadata,
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    columns.text("name"),
    columns.text("ref"),
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id", ondelete="SET NULL")),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the manifest"),
    Column("size", BigInteger, nullable=False),
    Column("files", Integer, nullable=False),
    columns.text("store", nullable=True),
    PrimaryKeyConstraint("job_id", "name"),
    Index("ix_job_inputs_artifact", "artifact_id"),
    comment="what a job reads, pinned when it was submitted; the store is where its newest attempt took it from",
)

readers = Table(
    "readers",
    metadata,
    columns.row_id(),
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id", ondelete="CASCADE"), nullable=False),
    columns.text("store"),
    Column("until", DateTime(timezone=True), nullable=False, comment="when it is taken for gone unless it says more"),
    Index("ix_readers_artifact", "artifact_id", "store"),
    comment="downloads that take long; a copy that was moved away stays until they are done",
)

models = Table(
    "models",
    metadata,
    columns.row_id(),
    columns.reference("workspace_id", "workspaces.id"),
    columns.text("name"),
    Column("versions", Integer, nullable=False, server_default=text("0")),
    columns.time("created_at", now=True),
    UniqueConstraint("workspace_id", "name"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("model_id", BigInteger, ForeignKey("models.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id"), nullable=False),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("lineage", JSONB, nullable=False),
    columns.time("created_at", now=True),
    PrimaryKeyConstraint("model_id", "version"),
    UniqueConstraint("job_id"),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    Column("model_id", BigInteger, nullable=False),
    Column("alias", Text, nullable=False),
    Column("version", Integer, nullable=False),
    columns.text("set_by"),
    columns.time("set_at", now=True),
    PrimaryKeyConstraint("model_id", "alias"),
    ForeignKeyConstraint(
        ["model_id", "version"],
        ["model_versions.model_id", "model_versions.version"],
        name="fk_model_aliases_model_id_version_model_versions",
    ),
    Index("ix_model_aliases_version", "model_id", "version"),
)

garbage = Table(
    "garbage",
    metadata,
    columns.row_id(),
    columns.text("store"),
    columns.text("prefix"),
    Column("job_id", BigInteger, comment="who may still be writing there"),
    Column("artifact_id", BigInteger, comment="what a copy that was given up was to become"),
    columns.time("since", now=True),
    columns.time("not_before"),
    columns.counter("tries"),
    columns.text("error", nullable=True),
    UniqueConstraint("store", "prefix"),
    comment="prefixes in stores that nothing refers to any more; their bytes are deleted, then the row",
)

store_sweeps = Table(
    "store_sweeps",
    metadata,
    Column("store", Text, primary_key=True),
    columns.time("swept_at", now=True),
    Column("marked", Boolean, nullable=False, server_default=text("false"), comment="our mark was seen there"),
    comment="when each store was last searched for uploads that nothing refers to",
)
