"""The migrations make the tables that the code knows, and unmake them; also when several processes start at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine, inspect, text

import migrations
from orchestrator.store.tables import metadata


def _tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_the_migrated_schema_is_the_one_in_the_code(database_url: str) -> None:
    command.check(migrations.config(database_url))


def test_a_difference_between_schema_and_code_would_be_seen(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN forgotten text"))
    engine.dispose()
    with pytest.raises(CommandError, match="forgotten"):
        command.check(migrations.config(database_url))


def test_downgrading_leaves_nothing_and_upgrading_again_brings_everything(empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    assert _tables(empty_database_url) == {*metadata.tables, "alembic_version"}
    command.downgrade(migrations.config(empty_database_url), "base")
    assert _tables(empty_database_url) == {"alembic_version"}
    with psycopg.connect(empty_database_url.replace("+psycopg", "", 1)) as connection:
        left = connection.execute("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace").fetchall()
    assert left == []
    migrations.upgrade(empty_database_url)
    command.check(migrations.config(empty_database_url))


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    migrations.upgrade(database_url)
    assert _tables(database_url) == {*metadata.tables, "alembic_version"}


def test_processes_that_migrate_at_once_take_turns(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(migrations.upgrade, empty_database_url) for _ in range(4)]:
            done.result(timeout=120)
    assert _tables(empty_database_url) == {*metadata.tables, "alembic_version"}


def test_there_is_one_newest_migration() -> None:
    scripts = ScriptDirectory.from_config(migrations.config("postgresql://nowhere/nothing"))
    assert len(scripts.get_heads()) == 1
