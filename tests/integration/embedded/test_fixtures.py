"""The servers that every other test relies on."""

from __future__ import annotations

import psycopg
from redis import Redis as RedisClient


def _tables(url: str) -> set[str]:
    with psycopg.connect(url.replace("+psycopg", "", 1)) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {row[0] for row in rows}


def test_a_test_gets_a_migrated_database(database_url: str) -> None:
    assert {"jobs", "attempts", "alembic_version"} <= _tables(database_url)


def test_a_test_may_ask_for_a_database_without_schema(empty_database_url: str) -> None:
    assert _tables(empty_database_url) == set()


def test_redis_is_empty_and_not_shared(redis_url: str) -> None:
    with RedisClient.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert client.connection_pool.connection_kwargs["db"] != 0
