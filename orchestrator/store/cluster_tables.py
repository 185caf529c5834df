"""The table of clusters on which pools of pods live."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store import columns
from orchestrator.store.columns import metadata

clusters = Table(
    "clusters",
    metadata,
    columns.row_id(),
    Column("name", Text, nullable=False, unique=True),
    Column("ref", JSONB, nullable=False, comment="where it is and how it is found; never a credential"),
    Column("draining", Boolean, nullable=False, server_default=text("false")),
    columns.time("asked_at", comment="when somebody wanted to know whether it works"),
    columns.time("checked_at"),
    Column("checks", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    columns.time("created_at", now=True),
)
