"""The schema's history. Every migration works with the previous release's code: expand first, contract later."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, text

_LOCK = 7_201_113_600  # any constant: two processes that migrate at once take turns


def config(url: str) -> Config:
    """Alembic's configuration for the database at `url`."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.attributes["url"] = make_url(url).set(drivername="postgresql+psycopg")
    return settings


def upgrade(url: str) -> None:
    """Bring the database to this release's schema. Safe to run twice and from several processes at once."""
    settings = config(url)
    engine = create_engine(settings.attributes["url"])
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
            connection.commit()
    finally:
        engine.dispose()
