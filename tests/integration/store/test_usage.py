"""What attempts have used is added up by day, and every sum is that of the attempts one by one, whenever one asks."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import text

from orchestrator.store import cost, usage
from orchestrator.store.session import Connection
from tests.integration.store.plane import Plane, command

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
_SINCE = TODAY - timedelta(days=6)
_ATTEMPT = """
    INSERT INTO attempts (job_id, epoch, worker_id, pool_id, state, reason, token_hash, started_at, finished_at,
      lease_expires_at)
    SELECT :job, 1, w.id, w.pool_id, CASE WHEN CAST(:ended AS timestamptz) IS NULL THEN 'RUNNING' ELSE 'SUCCEEDED' END,
      '', sha256(CAST(:job AS text)::bytea), :began, :ended, now() FROM workers w
"""


class Span(NamedTuple):
    """An attempt: of which job, and from when to when; one without an end runs."""

    job: int
    began: datetime
    ended: datetime | None


def _ran(connection: Connection, span: Span) -> None:
    connection.execute(text(_ATTEMPT), span._asdict())


def _spans(plane: Plane, count: int) -> list[Span]:
    """Attempts of jobs with several names and labels; many of them reach over a midnight or two."""
    chance = random.Random(7)
    plane.worker()
    made = plane.submit(*(command(f"job-{n % 5}", labels={"team": f"t{n % 3}"} if n % 4 else {}) for n in range(count)))
    lengths = (0.5, 3600.0, 86400.0, 2.5 * 86400)
    spans = []
    for job in made:
        began = _SINCE + timedelta(seconds=chance.uniform(0, 4 * 86400))
        spans.append(Span(job, began, began + timedelta(seconds=chance.choice(lengths))))
    return spans


def _one_by_one(spans: list[Span], keys: dict[int, str]) -> Counter[tuple[datetime, str]]:
    """Seconds by day and key."""
    found: Counter[tuple[datetime, str]] = Counter()
    for job, began, ended in spans:
        at, end = began, ended or datetime.now(UTC)
        while at < end:
            day = at.replace(hour=0, minute=0, second=0, microsecond=0)
            until = min(end, day + timedelta(days=1))
            found[day, keys[job]] += (until - at).total_seconds()  # type: ignore[assignment]
            at = until
    return found


_COLUMNS = {"user": "user_name", "job": "name", "label": "coalesce(labels ->> 'team', '')", "kind": "kind"}


@pytest.mark.parametrize("by", _COLUMNS)
def test_every_sum_is_exact_before_between_and_after_the_adding(plane: Plane, by: str) -> None:
    spans = _spans(plane, 40)
    plane.sql("UPDATE pools SET usd_per_hour = 2")
    with plane.database.transaction() as connection:
        for span in spans:
            _ran(connection, span)
        keys = {row.id: row.key for row in connection.execute(text(f"SELECT id, {_COLUMNS[by]} AS key FROM jobs"))}
    expected = {key: pytest.approx(seconds, abs=1e-3) for key, seconds in _one_by_one(spans, keys).items()}
    steps: list[int] = []
    while not steps or steps[-1]:
        with plane.database.transaction() as connection:
            rows = cost.spent(connection, plane.workspace, since=_SINCE, unit="day", by=by, label="team")
            assert {(row.at, row.key): row.hours * 3600 for row in rows} == expected
            assert {(row.at, row.key): row.usd * 1800 for row in rows} == expected
            assert sum(row.attempts for row in rows) == len(spans)
            steps.append(usage.add_up(connection, 9))
    assert sum(steps) == len(spans)


def test_nothing_is_added_that_a_transaction_may_still_end_before(plane: Plane) -> None:
    first, second = _spans(plane, 2)
    earlier = datetime.now(UTC) - timedelta(minutes=10)
    with plane.database.transaction() as late:
        late.execute(text("SELECT 1"))
        with plane.database.transaction() as connection:
            _ran(connection, first._replace(ended=earlier))
        with plane.database.transaction() as connection:
            assert usage.add_up(connection, 100) == 1
            assert usage.until(connection) == earlier
        _ran(late, second._replace(ended=datetime.now(UTC)))  # not before its transaction began
        with plane.database.transaction() as connection:
            assert usage.add_up(connection, 100) == 0
    with plane.database.transaction() as connection:
        rows = cost.spent(connection, None, since=_SINCE, unit="day", by="workspace")
    assert sum(row.attempts for row in rows) == 2
    assert {row.key for row in rows} == {"vision"}


def test_what_runs_counts_until_now_and_only_one_replica_adds(plane: Plane) -> None:
    (span,) = _spans(plane, 1)
    began = datetime.now(UTC) - timedelta(hours=30)
    with plane.database.transaction() as connection:
        _ran(connection, Span(span.job, began, None))
    with plane.database.transaction() as connection:
        rows = cost.spent(connection, plane.workspace, since=_SINCE, unit="day", by="pool")
        assert sum(row.hours for row in rows) == pytest.approx(30, abs=0.1)
    plane.sql("UPDATE attempts SET state = 'SUCCEEDED', finished_at = now() - interval '1 hour'")
    with plane.database.transaction() as one, plane.database.transaction() as other:
        assert usage.add_up(one, 10) == 1
        assert usage.add_up(other, 10) == 0


def test_beyond_the_dearest_the_others_are_one(plane: Plane) -> None:
    plane.worker()
    made = plane.submit(*(command(f"job-{n:03}") for n in range(cost.TOLD_APART + 3)))
    with plane.database.transaction() as connection:
        for hours, job in enumerate(made, start=1):
            _ran(connection, Span(job, _SINCE, _SINCE + timedelta(seconds=hours)))
    for added in (60, len(made) - 60, 0):  # by one, by the other, and by what was added up
        with plane.database.transaction() as connection:
            rows = cost.spent(connection, plane.workspace, since=_SINCE, unit="day", by="job")
            assert usage.add_up(connection, 60) == added
        (others,) = [row for row in rows if row.key is None]
        assert others.hours * 3600 == pytest.approx(1 + 2 + 3)
        assert others.attempts == 3
        assert len(rows) == cost.TOLD_APART + 1
