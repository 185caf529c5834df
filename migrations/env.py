"""Alembic's entry: runs migrations on the connection that `migrations.upgrade` holds."""

from __future__ import annotations

from alembic import context
from sqlalchemy import NullPool, create_engine

from orchestrator.store.tables import metadata

attributes = context.config.attributes


def _run(connection: object) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)  # type: ignore[arg-type]
    with context.begin_transaction():
        context.run_migrations()


if (held := attributes.get("connection")) is not None:
    _run(held)
else:
    with create_engine(attributes["url"], poolclass=NullPool).connect() as fresh:
        _run(fresh)
        fresh.commit()
