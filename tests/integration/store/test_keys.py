"""Idempotency keys: a request that comes again has no second effect and gets the same answer."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orchestrator.domain.errors import Conflict
from orchestrator.store import idempotency, jobs
from tests.integration.store.locks import until_blocked
from tests.integration.store.plane import Plane, command


def test_fifty_submits_with_one_key_are_one_job_and_one_answer(plane: Plane) -> None:
    start = threading.Barrier(25, timeout=120)

    def submit(number: int) -> dict[str, Any]:
        if number < 25:
            start.wait()
        with plane.database.transaction() as connection:
            return idempotency.once(
                connection,
                plane.workspace,
                "one-key",
                b"request",
                lambda: {"ids": jobs.submit(connection, plane.workspace, "ada", [command()])},
            )

    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(submit, range(50)))
    assert answers == [answers[0]] * 50
    assert [row.id for row in plane.sql("SELECT id FROM jobs")] == answers[0]["ids"]


def test_a_key_cannot_be_used_for_another_request(plane: Plane) -> None:
    with plane.database.transaction() as connection:
        assert idempotency.once(connection, plane.workspace, "key", b"one", lambda: {"n": 1}) == {"n": 1}
    with pytest.raises(Conflict, match="'key' was used before"), plane.database.transaction() as connection:
        idempotency.once(connection, plane.workspace, "key", b"other", lambda: {"n": 2})


def test_a_key_belongs_to_a_workspace(plane: Plane) -> None:
    for workspace in (plane.workspace, plane.workspace + 1):
        with plane.database.transaction() as connection:
            answer = idempotency.once(connection, workspace, "key", str(workspace).encode(), lambda: {"at": workspace})  # noqa: B023
        assert answer == {"at": workspace}


def test_an_effect_that_fails_leaves_the_key_free(plane: Plane) -> None:
    def fail() -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), plane.database.transaction() as connection:
        idempotency.once(connection, plane.workspace, "key", b"one", fail)
    with plane.database.transaction() as connection:
        assert idempotency.once(connection, plane.workspace, "key", b"other", lambda: {"n": 2}) == {"n": 2}


def test_who_waits_for_a_key_that_is_rolled_back_has_the_effect_itself(plane: Plane) -> None:
    def second() -> dict[str, Any]:
        with plane.database.transaction() as connection:
            return idempotency.once(connection, plane.workspace, "key", b"one", lambda: {"by": "second"})

    with ThreadPoolExecutor(1) as threads:
        with contextlib.suppress(ZeroDivisionError), plane.database.transaction() as connection:
            idempotency.once(connection, plane.workspace, "key", b"one", lambda: {"by": "first"})
            waiting = threads.submit(second)
            until_blocked(plane)
            raise ZeroDivisionError
        assert waiting.result(timeout=120) == {"by": "second"}


def test_without_a_key_every_request_has_its_effect(plane: Plane) -> None:
    for number in (1, 2):
        with plane.database.transaction() as connection:
            assert idempotency.once(connection, plane.workspace, None, b"", lambda: {"n": number}) == {"n": number}  # noqa: B023


def test_old_keys_are_forgotten_and_young_ones_are_not(plane: Plane) -> None:
    for key in ("old", "young"):
        with plane.database.transaction() as connection:
            idempotency.once(connection, plane.workspace, key, b"", dict)
    plane.sql("UPDATE idempotency_keys SET created_at = created_at - interval '49 hours' WHERE key = 'old'")
    with plane.database.transaction() as connection:
        assert idempotency.forget_old(connection) == 1
    assert [row.key for row in plane.sql("SELECT key FROM idempotency_keys")] == ["young"]
