"""Artifacts and models: registered once, numbered without gaps, superseded in order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.domain.errors import NotFound
from orchestrator.domain.ids import AttemptId
from orchestrator.domain.state import Reason
from orchestrator.store import checkpoints, models
from tests.integration.store.plane import Plane, command, upload

DIGITS = {"model": "digits"}


def _checkpoint(plane: Plane, attempt: AttemptId, step: int) -> list[str]:
    with plane.database.transaction() as connection:
        where = upload(attempt, plane.workspace, f"c{step}")
        return checkpoints.commit(connection, attempt, step, where)[1]


def _newest(plane: Plane, attempt: AttemptId) -> int:
    (pool,) = plane.sql("SELECT id FROM pools")
    with plane.database.transaction() as connection:
        return checkpoints.resumable(connection, [attempt.job_id], pool.id)[attempt.job_id][0].step


def test_versions_registered_at_once_are_numbered_without_gaps_or_doubles(plane: Plane) -> None:
    worker = plane.worker(slots=20)
    attempts = [plane.running(worker, command(outputs=DIGITS)) for _ in range(20)]
    start = threading.Barrier(10, timeout=120)

    def succeed(attempt: AttemptId) -> None:
        if attempt in attempts[:10]:
            start.wait()
        assert plane.report(worker, attempt, Reason.SUCCEEDED, upload(attempt, plane.workspace)).lost == ()

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(succeed, attempts))
    assert [row.version for row in plane.sql("SELECT version FROM model_versions ORDER BY 1")] == list(range(1, 21))
    assert plane.sql("SELECT versions FROM models")[0].versions == 20


def test_a_version_knows_its_metrics_and_where_it_came_from(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker, command(outputs=DIGITS, params={"lr": 0.1}))
    plane.append(attempt, points=[("acc", 1, 0.5), ("acc", 2, 0.75), ("nan", 1, None)])
    plane.report(worker, attempt, Reason.SUCCEEDED, upload(attempt, plane.workspace))
    with plane.database.transaction() as connection:
        latest = models.version(connection, plane.workspace, "digits", None)
        assert models.version(connection, plane.workspace, "digits", 1) == latest
    assert latest.ref == "digits@1"
    assert latest.metrics == {"acc": 0.75}
    assert latest.lineage["attempt"] == str(attempt)
    assert latest.lineage["params"] == {"lr": 0.1}
    assert latest.artifact.kind == "model"


def test_a_job_that_fails_registers_nothing(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker, command(outputs=DIGITS))
    plane.report(worker, attempt, Reason.USER_ERROR, upload(attempt, plane.workspace))
    assert plane.sql("SELECT FROM models") == plane.sql("SELECT FROM artifacts") == []


def test_a_job_without_a_model_leaves_a_plain_output(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)
    plane.report(worker, attempt, Reason.SUCCEEDED, upload(attempt, plane.workspace))
    assert [row.kind for row in plane.sql("SELECT kind FROM artifacts")] == ["output"]


def test_two_checkpoints_are_kept_and_the_prefixes_of_older_ones_given_back(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    assert [_checkpoint(plane, attempt, step) for step in (1, 2, 3, 4)] == [
        [],
        [],
        [f"artifacts/{plane.workspace}/{attempt}/c1"],
        [f"artifacts/{plane.workspace}/{attempt}/c2"],
    ]
    assert [row.step for row in plane.sql("SELECT step FROM artifacts ORDER BY id")] == [3, 4]
    assert _newest(plane, attempt) == 4


def test_a_checkpoint_committed_twice_because_the_answer_was_lost_is_one(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    with plane.database.transaction() as connection:
        first = checkpoints.commit(connection, attempt, 1, upload(attempt, plane.workspace))
    with plane.database.transaction() as connection:
        assert checkpoints.commit(connection, attempt, 1, upload(attempt, plane.workspace)) == first


def test_a_later_attempts_checkpoint_counts_more_than_a_later_step_of_an_older_one(plane: Plane) -> None:
    worker = plane.worker()
    first = plane.running(worker)
    _checkpoint(plane, first, 10)
    plane.report(worker, first, Reason.PREEMPTED)
    plane.dispatch()
    plane.claim(worker)
    _checkpoint(plane, AttemptId(first.job_id, 2), 5)
    assert _newest(plane, first) == 5


def test_a_model_or_version_that_is_not_there_is_not_found_with_the_nearest_name(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker, command(outputs=DIGITS))
    plane.report(worker, attempt, Reason.SUCCEEDED, upload(attempt, plane.workspace))
    with plane.database.transaction() as connection:
        with pytest.raises(NotFound) as caught:
            models.version(connection, plane.workspace, "digit", None)
        assert caught.value.suggestions == ["digits"]
        with pytest.raises(NotFound, match="has no version 7; the newest is digits@1"):
            models.version(connection, plane.workspace, "digits", 7)
        with pytest.raises(NotFound):
            models.version(connection, plane.workspace + 1, "digits", None)
