"""Whoever starts beside a migration waits for it; whoever is older than the schema leaves it alone."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

import migrations

NOWHERE = "postgresql://neutrino:secret@127.0.0.1:1/neutrino"


def _raw(url: str) -> str:
    return url.replace("+psycopg", "", 1)


def _wait(url: str, wanted: str, timeout: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "migrations", "--wait-for", wanted, "--timeout", timeout],
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_empty_database_is_not_ready_and_a_migrated_one_is(empty_database_url: str) -> None:
    assert not migrations.is_ready(empty_database_url)
    migrations.upgrade(empty_database_url)
    assert migrations.is_ready(empty_database_url)


def test_the_schema_of_a_later_release_is_good_and_is_left_alone(database_url: str) -> None:
    with psycopg.connect(_raw(database_url), autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        migrations.upgrade(database_url)
        assert migrations.is_ready(database_url)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_a_database_that_is_away_is_neither(postgres_server: object) -> None:
    with pytest.raises(OperationalError):
        migrations.is_ready(NOWHERE)


def test_waiting_ends_when_the_schema_is_there(empty_database_url: str) -> None:
    command = [sys.executable, "-m", "migrations", "--wait-for", "schema", "--timeout", "60"]
    environment = os.environ | {"DATABASE_URL": empty_database_url}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert "does not have this release's schema yet" in waiting.stderr.readline()
        migrations.upgrade(empty_database_url)
        assert waiting.wait(timeout=120) == 0


@pytest.mark.parametrize(
    ("wanted", "words"), [("database", "The database does not answer"), ("schema", "The database does not answer")]
)
def test_waiting_gives_up_with_the_reason_and_without_the_password(wanted: str, words: str) -> None:
    done = _wait(NOWHERE, wanted, "0")
    assert done.returncode == 1
    assert words in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
