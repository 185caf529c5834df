"""Real servers for every test that asks for them: one Postgres and one Redis per session, both empty for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from redis import Redis as RedisClient

import migrations
from orchestrator import settings
from orchestrator.embedded.postgres import ROLE, Postgres
from orchestrator.embedded.redis import Redis
from tests.distribution import pytest_xdist_make_scheduler

# How long an example takes says something about the machine, not about what is tested.
hypothesis_settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any machine")

__all__ = ["pytest_xdist_make_scheduler"]  # for pytest to find

NewStackFolder = Callable[[str], Path]

_MEMORY = Path("/dev/shm")
_ROOM = 3 << 30  # bytes: several times what is ever there at once

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
    "max_wal_size": "128MB",  # it lies in memory
    "synchronous_commit": "off",
}


def _is_roomy(folder: Path) -> bool:
    """Whether large files and programs may lie there."""
    return (
        os.access(folder, os.W_OK)
        and not os.statvfs(folder).f_flag & os.ST_NOEXEC
        and min(shutil.disk_usage(folder).free, psutil.virtual_memory().available // 2) > _ROOM
    )


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that other accounts may pass through, as a server that runs as `nobody` has to."""
    with _folder(None) as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """Where databases lie: in memory where there is room. One for each test is many small files, which take a disk ten
    times as long. Stores do not lie there: below /dev, users' files may not."""
    with _folder(_MEMORY if _is_roomy(_MEMORY) else None) as folder:
        yield folder


@pytest.fixture(autouse=True)
def _settings_are_read_anew() -> None:
    """What a service reads once, each test reads once: others have other leases."""
    settings.current.cache_clear()


@contextmanager
def _folder(where: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="neutrino-tests-", dir=where))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_seed(postgres_folder: Path) -> Path:
    """The folder of a Postgres that was stopped, with the present schema and no rows. Copies of it wait for no disk:
    what a process has written outlives its kill -9 all the same."""
    seed = postgres_folder / "seed"
    with Postgres(seed, settings=_FAST) as server:
        migrations.upgrade(server.url)
        with psycopg.connect(_plain(server.url)) as connection:
            # The password takes one round of hashing instead of thousands: tests connect often.
            connection.execute("SET scram_iterations = 1")
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ROLE), server.password))
    with (seed / "cluster" / "postgresql.conf").open("a") as file:
        file.write("fsync = off\nfull_page_writes = off\n")
    return seed


@pytest.fixture(scope="session")
def new_stack_folder(server_folder: Path, postgres_folder: Path, postgres_seed: Path) -> NewStackFolder:
    """Makes the data folder of a stack that is up twice as soon, for its database is there already. What a stack does
    without that is tested with those of the embedded mode."""

    def make(name: str) -> Path:
        folder = server_folder / name
        folder.mkdir(mode=0o711)
        _sow(postgres_seed, postgres_folder / name)
        (folder / "postgres").symlink_to(postgres_folder / name)
        return folder

    return make


@pytest.fixture(scope="session")
def postgres_server(postgres_folder: Path, postgres_seed: Path) -> Iterator[Postgres]:
    """The session's Postgres, not durable. Tests that stop it must start it again."""
    _sow(postgres_seed, postgres_folder / "postgres")
    with Postgres(postgres_folder / "postgres", settings=_FAST) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[Redis]:
    """The session's Redis. Tests that stop it must start it again."""
    with Redis(server_folder / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Postgres) -> str:
    """The name of a database with the present schema and no rows, to copy from."""
    _administer(postgres_server, "CREATE DATABASE {} TEMPLATE {}", _TEMPLATE, ROLE)
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


def _sow(seed: Path, folder: Path) -> None:
    """Copy a Postgres, its files' owner included."""
    folder.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", seed / "cluster", seed / "password", folder], check=True)


def _url(server: Postgres, database: str) -> str:
    return f"{server.url.rpartition('/')[0]}/{database}"


def _administer(server: Postgres, statement: str, *names: str) -> None:
    query = sql.SQL(statement).format(*map(sql.Identifier, names))
    with psycopg.connect(_plain(server.url), autocommit=True) as connection:
        connection.execute(query)


def _plain(url: str) -> str:
    """The URL as libpq wants it."""
    return url.replace("+psycopg", "", 1)
