"""Logs and metrics: each line once, in order, over all attempts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event

from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.ids import AttemptId
from orchestrator.domain.state import Reason
from orchestrator.store import log_lines, log_pages, streams
from orchestrator.store.log_lines import START, LogPosition
from orchestrator.store.log_pages import LogFilter
from tests.integration.store.plane import Plane


def _texts(plane: Plane, job_id: int, after: LogPosition = START, limit: int = 100) -> list[str]:
    with plane.database.transaction() as connection:
        return [line.text for line in log_lines.lines(connection, job_id, after, limit).entries]


def _second_attempt(plane: Plane, worker: int, first: AttemptId) -> AttemptId:
    plane.report(worker, first, Reason.PREEMPTED)
    plane.dispatch()
    plane.claim(worker)
    return AttemptId(first.job_id, 2)


def test_a_batch_that_comes_twice_is_stored_once(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    for _ in range(2):
        assert plane.append(attempt, "one", "two", points=[("loss", 1, 0.5)]) == []
    assert _texts(plane, attempt.job_id) == ["one", "two"]


def test_batches_that_come_in_another_order_are_read_in_theirs(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    plane.append(attempt, "three", seq=2, first_line=3)
    plane.append(attempt, "one", "two", seq=1, first_line=1)
    assert _texts(plane, attempt.job_id) == ["one", "two", "three"]


def test_lines_are_read_on_after_any_line_over_all_attempts(plane: Plane) -> None:
    worker = plane.worker()
    first = plane.running(worker)
    plane.append(first, "1.1", "1.2")
    plane.append(first, "1.3", seq=2, first_line=3)
    second = _second_attempt(plane, worker, first)
    plane.append(second, "2.1", "2.2")
    everything = ["1.1", "1.2", "1.3", "2.1", "2.2"]
    for limit in range(1, 7):
        position, read = START, []
        while True:
            with plane.database.transaction() as connection:
                part = log_lines.lines(connection, first.job_id, position, limit).entries
            if not part:
                break
            read += [line.text for line in part]
            assert [line.id for line in part] == [line.text for line in part]
            position = LogPosition.parse(part[-1].id)
        assert read == everything
    for index, name in enumerate(everything):
        assert _texts(plane, first.job_id, LogPosition.parse(name)) == everything[index + 1 :]


def test_the_tail_is_the_last_lines_in_order(plane: Plane) -> None:
    worker = plane.worker()
    first = plane.running(worker)
    plane.append(first, "a", "b", "c")
    plane.append(_second_attempt(plane, worker, first), "d", "e")
    with plane.database.transaction() as connection:
        for count, expected in ((1, "e"), (3, "cde"), (9, "abcde")):
            assert "".join(line.text for line in log_lines.tail(connection, first.job_id, count)) == expected
        late = log_lines.tail(connection, first.job_id, 4, LogPosition(1, 3))
        assert "".join(line.text for line in late) == "de"
        assert log_lines.tail(connection, first.job_id, 4, since=datetime.fromtimestamp(30, UTC)) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_since_skips_what_is_older_and_fills_the_page_with_what_is_younger(plane: Plane, limit: int) -> None:
    attempt = plane.running(plane.worker())
    for number, (text, at) in enumerate([("old", 10.0), ("old", 20.0), ("new", 30.0), ("late", 15.0), ("newer", 40.0)]):
        plane.append(attempt, text, seq=number + 1, first_line=number + 1, at=at)
    since = datetime.fromtimestamp(30, UTC)
    with plane.database.transaction() as connection:
        found = log_lines.lines(connection, attempt.job_id, START, limit, since)
        assert [line.text for line in found.entries] == ["new", "newer"][:limit]
        assert found.whole is (limit > 2)
        again = log_lines.lines(connection, attempt.job_id, START, limit, since.replace(tzinfo=None))
        assert again == found  # a time without a zone is UTC


def test_a_search_for_a_time_reads_so_far_and_says_how_far(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_ROUND", 2)
    monkeypatch.setattr(log_lines, "_ROUNDS", 2)
    attempt = plane.running(plane.worker())
    plane.append(attempt, *["old"] * 5, at=10.0)
    plane.append(attempt, "new", seq=2, first_line=6, at=30.0)
    since = datetime.fromtimestamp(30, UTC)
    with plane.database.transaction() as connection:
        first = log_lines.lines(connection, attempt.job_id, START, 10, since)
        assert (first.entries, first.reached, first.whole) == ([], LogPosition(1, 4), False)
        second = log_lines.lines(connection, attempt.job_id, first.reached, 10, since)
        assert [line.text for line in second.entries] == ["new"]
        last = log_lines.lines(connection, attempt.job_id, second.reached, 10, since)
        assert (last.entries, last.reached, last.whole) == ([], LogPosition(1, 6), True)


def _expanded(plane: Plane, read: Callable[[Connection], object]) -> int:
    """How many lines are taken out of their chunks for a reading; Postgres rounds the mean of each chunk."""
    with plane.database.transaction() as connection:
        asked: list[tuple[str, dict[str, Any]]] = []
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
        read(connection)
        plans = [
            connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values).scalar_one()[0]["Plan"]
            for statement, values in tuple(asked)
        ]
    return sum(_taken(plan) for plan in plans)


def _taken(node: dict[str, Any]) -> int:
    own = node["Actual Rows"] * node["Actual Loops"] if node["Node Type"] == "Function Scan" else 0
    return int(own) + sum(_taken(one) for one in node.get("Plans", ()))


def test_a_page_takes_only_those_chunks_apart_in_which_its_lines_are(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    for chunk in range(40):
        plane.append(attempt, *["line"] * 50, seq=chunk + 1, first_line=chunk * 50 + 1, at=float(chunk))
    job, late = attempt.job_id, datetime.fromtimestamp(39, UTC)
    middle = LogPosition(1, 1025)
    assert _expanded(plane, lambda on: log_lines.lines(on, job, middle, 60)) < 150
    assert _expanded(plane, lambda on: log_lines.tail(on, job, 60)) < 150
    assert _expanded(plane, lambda on: log_lines.lines(on, job, START, 10, late)) < 2100
    for words in ("", "line"):
        page = partial(log_pages.page, job_id=job, chosen=LogFilter(words=words), limit=60)
        assert _expanded(plane, partial(page, after=middle)) < 150
        assert _expanded(plane, partial(page, before=middle)) < 150
        with plane.database.transaction() as connection:
            assert [one.line for one in page(connection, after=middle).lines] == list(range(1026, 1086))
            assert [one.line for one in page(connection, before=middle).lines] == list(range(965, 1025))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_every_text_is_kept_but_for_nul_which_becomes_visible(plane: Plane, text: str) -> None:
    known = plane.sql("SELECT coalesce(max(id), 0) AS id FROM jobs")[0].id
    attempt = AttemptId(known, 1) if known else plane.running(plane.worker())
    seq = plane.sql("SELECT count(*) + 1 AS seq FROM log_chunks")[0].seq
    plane.append(attempt, text, seq=seq, first_line=seq)
    assert _texts(plane, attempt.job_id, LogPosition(1, seq - 1)) == [text.replace("\x00", "\ufffd")]


@pytest.mark.parametrize("after", ["", "1", "1.", ".1", "a.b", "1.1.1", "-1.1", "1.-1", "²." + "1", "1." + "9" * 40])
def test_what_is_no_id_of_a_line_is_refused(after: str) -> None:
    with pytest.raises(InvalidSpec):
        LogPosition.parse(after)


def test_several_nodes_write_one_log(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    plane.append(attempt, "[node1] a", "[node1] b", node=1)
    plane.append(attempt, "[node0] c", node=0)
    plane.append(attempt, "[node1] a", "[node1] b", node=1)  # whose answer got lost says it again
    plane.append(attempt, "[node1] d", node=1, seq=2)
    assert _texts(plane, attempt.job_id, START) == ["[node1] a", "[node1] b", "[node0] c", "[node1] d"]
    assert _texts(plane, attempt.job_id, LogPosition(1, 2)) == ["[node0] c", "[node1] d"]
    with plane.database.transaction() as connection:
        found = log_pages.page(connection, attempt.job_id, LogFilter(rank=1), after=START)
    assert [line.text for line in found.lines] == ["[node1] a", "[node1] b", "[node1] d"]


def test_what_a_resumed_attempt_repeats_counts_in_its_newest_version(plane: Plane) -> None:
    worker = plane.worker()
    first = plane.running(worker)
    plane.append(first, points=[("loss", 1, 0.9), ("loss", 2, 0.8), ("loss", 3, 0.7)])
    plane.append(_second_attempt(plane, worker, first), points=[("loss", 2, 0.5), ("acc", 1, 1.0)])
    with plane.database.transaction() as connection:
        accuracy, loss = streams.series(connection, first.job_id)
        assert streams.series(connection, first.job_id, "acc") == [accuracy]
    assert loss.points == ((1, 0.9), (2, 0.5), (3, 0.7))
    assert (loss.last, loss.min, loss.max) == (0.7, 0.5, 0.9)


def test_of_a_step_that_one_batch_names_twice_the_last_value_counts(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    plane.append(attempt, points=[("loss", 1, 0.9), ("loss", 1, 0.1)])
    with plane.database.transaction() as connection:
        assert streams.series(connection, attempt.job_id)[0].points == ((1, 0.1),)


def test_a_number_that_is_none_is_shown_as_none_and_does_not_count(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    plane.append(attempt, points=[("loss", 1, 0.5), ("loss", 2, None)])
    plane.append(attempt, points=[("only", 1, None)], seq=2)
    with plane.database.transaction() as connection:
        loss, only = streams.series(connection, attempt.job_id)
    assert (loss.points, loss.last, loss.min, loss.max) == (((1, 0.5), (2, None)), None, 0.5, 0.5)
    assert (only.last, only.min, only.max) == (None, None, None)


def test_progress_and_its_message_are_kept_apart(plane: Plane) -> None:
    attempt = plane.running(plane.worker())
    plane.append(attempt, progress=0.25)
    plane.append(attempt, message="epoch 2")
    plane.append(attempt, progress=0.5)
    row = plane.attempt(attempt)
    assert (row.progress, row.note) == (0.5, "epoch 2")
