"""Real servers for every test that asks for them: one Postgres and one Redis per session, both empty for each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from redis import Redis as RedisClient

import migrations
from orchestrator.embedded.postgres import Postgres
from orchestrator.embedded.redis import Redis

# How long an example takes says something about the machine, not about what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_TEMPLATE = "neutrino_template"
_REDIS_DATABASES = itertools.cycle(range(1, 64))  # 0 is the one that a careless client writes to
_names = itertools.count(1)

# Tests lose nothing when the machine crashes, so nothing waits for the disk. Without autovacuum, no background process
# holds a database that is being copied or dropped.
_FAST = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "synchronous_commit": "off",
}


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that other accounts may pass through, as a server that runs as `nobody` has to."""
    folder = Path(tempfile.mkdtemp(prefix="neutrino-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[Postgres]:
    """The session's Postgres, not durable. Tests that stop it must start it again."""
    with Postgres(server_folder / "postgres", settings=_FAST) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[Redis]:
    """The session's Redis. Tests that stop it must start it again."""
    with Redis(server_folder / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Postgres) -> str:
    """The name of a database with the present schema and no rows, to copy from."""
    _administer(postgres_server, "CREATE DATABASE {}", _TEMPLATE)
    migrations.upgrade(_url(postgres_server, _TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def empty_database_url(postgres_server: Postgres) -> Iterator[str]:
    """A database without a schema, for tests of the migrations themselves."""
    name = f"test_{next(_names)}"
    _administer(postgres_server, "CREATE DATABASE {}", name)
    yield _url(postgres_server, name)
    _administer(postgres_server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def database_url(postgres_server: Postgres, migrated_template: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    name = f"test_{next(_names)}"
    _administer(postgres_server, "CREATE DATABASE {} TEMPLATE {}", name, migrated_template)
    yield _url(postgres_server, name)
    _administer(postgres_server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """A Redis database of the test's own, empty."""
    url = f"{redis_server.url.removesuffix('/0')}/{next(_REDIS_DATABASES)}"
    with RedisClient.from_url(url) as client:
        client.flushdb()
    return url


def _url(server: Postgres, database: str) -> str:
    return f"{server.url.rpartition('/')[0]}/{database}"


def _administer(server: Postgres, statement: str, *names: str) -> None:
    query = sql.SQL(statement).format(*map(sql.Identifier, names))
    with psycopg.connect(server.url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(query)
