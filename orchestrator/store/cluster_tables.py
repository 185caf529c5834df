"""The table of clusters on which pools of pods live."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Identity, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables import FIRST_ID, metadata

clusters = Table(
    "clusters",
    metadata,
    Column("id", BigInteger, Identity(always=True, start=FIRST_ID), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("ref", JSONB, nullable=False, comment="where it is and how it is found; never a credential"),
    Column("draining", Boolean, nullable=False, server_default=text("false")),
    Column("asked_at", DateTime(timezone=True), comment="when somebody wanted to know whether it works"),
    Column("checked_at", DateTime(timezone=True)),
    Column("checks", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
