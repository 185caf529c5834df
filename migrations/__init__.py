"""The schema's history. Every migration works with the previous release's code: expand first, contract later."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, make_url, text

log = logging.getLogger(__name__)

_LOCK_TIMEOUT = "10s"
_LOCK = 7_201_113_600  # any constant: two processes that migrate at once take turns
_CONNECT_SECONDS = 5


def config(url: str) -> Config:
    """Alembic's configuration for the database at `url`."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.attributes["url"] = make_url(url).set(drivername="postgresql+psycopg")
    return settings


def upgrade(url: str) -> None:
    """Bring the database to this release's schema. Safe to run twice and from several processes at once.

    The schema of a later release is left alone: this one works with it, which makes going back a release possible.
    """
    settings = config(url)
    engine = create_engine(settings.attributes["url"])
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            # That lock is the session's. A migration that cannot have a table at once gives up instead of making
            # everybody wait behind it; each has a transaction of its own, so that the next try goes on from there.
            connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
            connection.commit()
            if _is_later(connection, settings):
                log.warning("The schema belongs to a later release. It is left as it is.")
                return
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
            connection.commit()
    finally:
        engine.dispose()


def is_ready(url: str) -> bool:
    """Whether the database has this release's schema, or a later one. Raises OperationalError when it is away."""
    settings = config(url)
    engine = create_engine(settings.attributes["url"], connect_args={"connect_timeout": _CONNECT_SECONDS})
    try:
        with engine.connect() as connection:
            head = ScriptDirectory.from_config(settings).get_current_head()
            return _revision(connection) == head or _is_later(connection, settings)
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_later(connection: Connection, settings: Config) -> bool:
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    revision = _revision(connection)
    return revision is not None and revision not in known
