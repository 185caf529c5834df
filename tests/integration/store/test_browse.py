"""Lists in any order: every filter and order gives the same jobs as looking at all of them would, page by page and
back, whether the filter is narrow or the reading goes along an index and stops now and then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench import seed
from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.state import JobState
from orchestrator.domain.views import JobSummary
from orchestrator.store import browse, facets, filters
from orchestrator.store.filters import JobFilter, plan
from orchestrator.store.listing import page
from orchestrator.store.session import Database
from tests.integration.store.plane import Plane

FILTERS: dict[str, tuple[JobFilter, Callable[[JobSummary], bool]]] = {
    "all": (JobFilter(), lambda _: True),
    "state": (JobFilter(states=(JobState.FAILED,)), lambda job: job.state is JobState.FAILED),
    "states": (
        JobFilter(states=(JobState.FAILED, JobState.CANCELLED)),
        lambda job: job.state in {JobState.FAILED, JobState.CANCELLED},
    ),
    "usual reason": (JobFilter(reason="succeeded"), lambda job: job.reason == "succeeded"),
    "reason": (JobFilter(reason="user_error"), lambda job: job.reason == "user_error"),
    "kind, user": (JobFilter(kind="Train", user="user-1"), lambda job: (job.kind, job.user) == ("Train", "user-1")),
    "since": (JobFilter(since=datetime(2000, 1, 1, tzinfo=UTC)), lambda _: True),
    "since tomorrow": (JobFilter(since=datetime.now(UTC) + timedelta(1)), lambda _: False),
    "pool": (JobFilter(pool="local"), lambda job: job.pool == "local"),
    "no such pool": (JobFilter(pool="nowhere"), lambda _: False),
    "name": (JobFilter(name="job-77"), lambda job: job.name == "job-77"),
    "words": (JobFilter(words=("ob-1", "2")), lambda job: "ob-1" in job.name and "2" in job.name),
    "a word that is a pattern": (JobFilter(words=("job_%",)), lambda _: False),
    "labels": (
        JobFilter(labels=(("team", "team-3"), ("half", "no"))),
        lambda job: job.labels["team"] == "team-3" and job.labels["half"] == "no",
    ),
    "labels that exclude each other": (JobFilter(labels=(("team", "team-3"), ("half", "yes"))), lambda _: False),
}
KEYS: dict[str, Callable[[JobSummary], Any]] = {
    "newest": lambda job: job.id,
    "oldest": lambda job: job.id,
    "finished": lambda job: (job.finished_at, job.id),
    "longest": lambda job: (job.finished_at - job.started_at, job.id),  # type: ignore[operator]
    "shortest": lambda job: (job.finished_at - job.started_at, job.id),  # type: ignore[operator]
    "name": lambda job: (job.name, job.id),
}


def _all(database: Database, workspace: int, chosen: JobFilter, sort: str) -> list[str]:
    """Every page from the first to the last, and each page once more by going back to it."""
    pages: list[list[str]] = []
    after, total = None, None
    while True:
        with database.transaction() as connection:
            now = browse.page(connection, plan(connection, workspace, chosen), sort=sort, after=after, limit=25)
            if now.previous is not None:
                back = browse.page(
                    connection, plan(connection, workspace, chosen), sort=sort, before=now.previous, limit=25
                )
                before = [job for page in pages for job in page][-25:]
                assert [job.id for job in back.items] == before[len(before) - len(back.items) :]
                assert back.unseen or len(back.items) == len(before)
        pages.append([job.id for job in now.items])
        total = now.total if after is None else total
        if now.next is None:
            found = [job for page in pages for job in page]
            assert total in {None, len(found)}
            return found
        assert len(now.items) == 25 or now.unseen
        after = now.next


def _onwards(database: Database, workspace: int, chosen: JobFilter) -> list[str]:
    """What the pages for programs hold."""
    found: list[str] = []
    cursor = None
    while True:
        with database.transaction() as connection:
            now = page(connection, workspace, chosen, cursor=cursor, limit=25)
        found += [job.id for job in now.items]
        if (cursor := now.next) is None:
            return found


@pytest.mark.parametrize(("narrow", "effort"), [(8000, 8000), (10, 40)], ids=["narrow", "along an index"])
def test_every_filter_in_every_order(plane: Plane, monkeypatch: pytest.MonkeyPatch, narrow: int, effort: int) -> None:
    database, workspace = plane.database, plane.workspace
    seed.history(database, workspace, 110)
    with database.transaction() as connection:
        every = page(connection, workspace, JobFilter(), limit=1000).items
        assert page(connection, workspace, JobFilter(words=("zzz",))).items == ()
    assert len(every) == 110
    monkeypatch.setattr(filters, "NARROW", narrow)
    monkeypatch.setattr(browse, "EFFORT", effort)
    for name, (chosen, fits) in FILTERS.items():
        for sort, key in KEYS.items():
            descending = browse.SORTINGS[sort].descending
            expected = [job.id for job in sorted(filter(fits, every), key=key, reverse=descending)]
            assert _all(database, workspace, chosen, sort) == expected, (name, sort)
        assert _onwards(database, workspace, chosen) == [job.id for job in filter(fits, every)], name


def test_facets_count_what_the_filter_lets_through(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    database, workspace = plane.database, plane.workspace
    seed.history(database, workspace, 400)
    with database.transaction() as connection:
        every = facets.facets(connection, plan(connection, workspace, JobFilter()))
        mine = facets.facets(connection, plan(connection, workspace, JobFilter(states=(JobState.FAILED,))))
        monkeypatch.setattr(browse, "SAMPLE", 100)
        capped = facets.facets(connection, plan(connection, workspace, JobFilter(kind="Command")))
    counts = {facet: {choice.value: choice.count for choice in choices} for facet, choices in every.items()}
    assert counts["state"] == dict.fromkeys(JobState, 0) | {"SUCCEEDED": 391, "FAILED": 8, "CANCELLED": 1}
    assert counts["kind"] == {"Command": 360, "Train": 40}
    assert counts["label:half"] == {"no": 200, "yes": 200}
    assert {choice.value: choice.count for choice in mine["state"]} == dict.fromkeys(JobState, 0) | {"FAILED": 8}
    assert sum(choice.count for choice in mine["user"]) == 8
    assert [(choice.value, choice.count, choice.more) for choice in capped["kind"]] == [("Command", 100, True)]


def test_a_cursor_of_another_list_is_refused(plane: Plane) -> None:
    with plane.database.transaction() as connection:
        for cursor in ("x", "WyJuYW1lIiwgMV0", "bnVsbA", "W251bGwsICJ4Il0"):
            with pytest.raises(InvalidSpec):
                browse.page(connection, plan(connection, plane.workspace, JobFilter()), after=cursor)


def test_other_workspaces_see_nothing(plane: Plane) -> None:
    seed.history(plane.database, plane.workspace, 20)
    with plane.database.transaction() as connection:
        assert browse.page(connection, plan(connection, plane.workspace + 1, JobFilter())).items == ()
        assert browse.newest(connection, plane.workspace + 1) == 0
        ids, _ = browse.ids(connection, plan(connection, plane.workspace, JobFilter()), limit=20)
        assert len(browse.again(connection, plane.workspace, ids)) == 20
        assert browse.again(connection, plane.workspace + 1, ids) == ()
