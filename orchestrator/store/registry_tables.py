"""The tables of the model registry: aliases, and what waits to be deleted. Replicas are with the artifacts."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from orchestrator.store.tables import _counter, _id, _text, _time, metadata

model_aliases = Table(
    "model_aliases",
    metadata,
    Column("model_id", BigInteger, nullable=False),
    Column("alias", Text, nullable=False),
    Column("version", Integer, nullable=False),
    _text("set_by"),
    _time("set_at", now=True),
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
    _id(),
    _text("store"),
    _text("prefix"),
    Column("job_id", BigInteger, comment="who may still be writing there"),
    Column("artifact_id", BigInteger, comment="what a copy that was given up was to become"),
    _time("since", now=True),
    _time("not_before"),
    _counter("tries"),
    _text("error", nullable=True),
    UniqueConstraint("store", "prefix"),
    comment="prefixes in stores that nothing refers to any more; their bytes are deleted, then the row",
)

store_sweeps = Table(
    "store_sweeps",
    metadata,
    Column("store", Text, primary_key=True),
    _time("swept_at", now=True),
    comment="when each store was last searched for uploads that nothing refers to",
)
