"""Which failures of the database mean "come again later", and which do not."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from orchestrator.domain.errors import NeutrinoError, ServerUnavailable
from orchestrator.store.session import Database


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(5)",
        "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'serialization_failure'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'disk_full'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'too_many_connections'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'admin_shutdown'; END $$",
    ],
)
def test_what_passes_is_worth_another_try(database: Database, statement: str) -> None:
    with pytest.raises(ServerUnavailable) as caught, database.transaction() as connection:
        connection.execute(text(statement))
    assert caught.value.retryable
    assert database.now()  # and the next transaction works


@pytest.mark.parametrize(
    ("statement", "values", "error"),
    [
        ("SELECT CAST(:x AS text)", {"x": "a\x00b"}, DataError),
        ("SELECT CAST(:x AS int)", {"x": 2**40}, DataError),
        ("SELECT 1 / :x", {"x": 0}, DataError),
        ("SELECT nonsense", {}, ProgrammingError),
        ("INSERT INTO job_transitions VALUES ('QUEUED', 'CANCELLED')", {}, IntegrityError),
    ],
)
def test_what_stays_wrong_is_not_called_unavailable(
    database: Database, statement: str, values: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error), database.transaction() as connection:
        connection.execute(text(statement), values)


def test_a_database_that_nobody_named_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(NeutrinoError, match="DATABASE_URL is not set"):
        Database.from_env()


def test_a_process_that_stopped_in_mid_transaction_loses_its_locks(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.session._SILENCE_TIMEOUT", "500ms")
    silent, other = Database(database_url), Database(database_url)
    lock = text("SELECT pg_advisory_xact_lock(1)")
    stopped = silent.transaction()
    stopped.__enter__().execute(lock)
    with other.transaction() as waiting:
        waiting.execute(lock)  # returns once the silent one is cut off
    with pytest.raises(ServerUnavailable):
        stopped.__exit__(None, None, None)
    silent.close()
    other.close()


def test_more_callers_than_connections_are_told_to_come_again(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    database.engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    one_and_one_of_overflow = (database.transaction(), database.transaction())
    with one_and_one_of_overflow[0], one_and_one_of_overflow[1], pytest.raises(ServerUnavailable, match="too busy"):
        database.now()
    database.close()
