"""Lists of jobs: every job once, whatever arrives meanwhile, and only those that were asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.ids import encode
from orchestrator.domain.state import JobState, Reason
from orchestrator.domain.views import JobSummary, Page
from orchestrator.store import jobs, listing, tokens
from orchestrator.store.filters import JobFilter
from tests.integration.store.plane import Plane, command


def _page(plane: Plane, cursor: str | None = None, limit: int = 50, **chosen: Any) -> Page[JobSummary]:
    with plane.database.transaction() as connection:
        return listing.page(connection, plane.workspace, JobFilter(**chosen), cursor=cursor, limit=limit)


def _names(plane: Plane, **chosen: Any) -> list[str]:
    return [job.name for job in _page(plane, **chosen).items]


def _all_ids(plane: Plane, limit: int, **chosen: Any) -> list[str]:
    found: list[str] = []
    page = _page(plane, limit=limit, **chosen)
    while True:
        found += [job.id for job in page.items]
        plane.submit()  # arrives while the reader turns the page
        if page.next is None:
            return found
        page = _page(plane, page.next, limit, **chosen)


@pytest.mark.parametrize("limit", [1, 3, 7, 10, 11, 1000])
def test_pages_show_every_job_once_newest_first_also_while_new_ones_arrive(plane: Plane, limit: int) -> None:
    ids = plane.submit(*(command() for _ in range(10)))
    expected = [encode("j", job_id) for job_id in reversed(ids)]
    assert _all_ids(plane, limit) == expected


def test_a_last_page_that_is_full_says_that_it_is_the_last(plane: Plane) -> None:
    plane.submit(command(), command())
    assert _page(plane, limit=2).next is None
    assert _page(plane, limit=1).next is not None


def test_each_filter_lets_through_what_it_names(plane: Plane) -> None:
    worker = plane.worker()
    plane.submit(command("first"))
    plane.dispatch()
    plane.claim(worker)
    middle = datetime.now(UTC)
    with plane.database.transaction() as connection:
        jobs.submit(connection, plane.workspace, "bob", [command("second", labels={"team": "vision", "x": "1"})])
    plane.submit(command("third", labels={"team": "vision"}))
    assert _names(plane) == ["third", "second", "first"]
    assert _names(plane, name="second") == ["second"]
    assert _names(plane, user="bob") == ["second"]
    assert _names(plane, states=[JobState.RUNNING]) == ["first"]
    assert _names(plane, labels=[("team", "vision")]) == ["third", "second"]
    assert _names(plane, labels=[("team", "vision"), ("x", "1")]) == ["second"]
    assert _names(plane, labels=[("team", "nlp")]) == []
    assert _names(plane, kind="Command") == ["third", "second", "first"]
    assert _names(plane, kind="Train") == []
    assert _names(plane, pool="local") == ["first"]
    assert _names(plane, pool="nope") == []
    assert _names(plane, since=middle) == ["third", "second"]
    assert _names(plane, since=datetime(2999, 1, 1, tzinfo=UTC)) == []
    assert _names(plane, name="third", user="bob") == []


def test_several_states_are_merged_in_one_order(plane: Plane) -> None:
    worker = plane.worker(slots=1)
    for reason in (Reason.SUCCEEDED, Reason.USER_ERROR, Reason.SUCCEEDED, Reason.USER_ERROR):
        plane.report(worker, plane.running(worker), reason)
    states = [JobState.FAILED, JobState.SUCCEEDED, JobState.RUNNING]
    both = [job.state for job in _page(plane, states=states).items]
    assert both == [JobState.FAILED, JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED]
    first = _page(plane, states=states, limit=3)
    rest = _page(plane, first.next, 3, states=states)
    assert [job.state for job in (*first.items, *rest.items)] == both
    assert rest.next is None


def test_another_workspace_sees_nothing(plane: Plane) -> None:
    plane.submit(command(labels={"team": "vision"}))
    with plane.database.transaction() as connection:
        other = tokens.ensure_workspace(connection, "other")
        for chosen in (JobFilter(), JobFilter(labels=[("team", "vision")]), JobFilter(states=[JobState.QUEUED])):
            assert listing.page(connection, other, chosen).items == ()


@pytest.mark.parametrize("cursor", ["", "!", "abc", "a" * 256, "ä", "\x00", "LTE.", "bm9wZQ"])
def test_a_cursor_that_no_page_gave_is_refused(plane: Plane, cursor: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        _page(plane, cursor)
    assert caught.value.errors[0].path == "cursor"
