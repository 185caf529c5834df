"""What needs attention is said in words that name the thing, what is wrong with it, and what helps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from orchestrator.dashboard.concerns import Concern, Facts, concerns
from orchestrator.domain.state import JobState
from orchestrator.domain.views import ComponentView, Why
from orchestrator.store.overview import Backlog, Failures, Silent, Unclaimed

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def _part(
    kind: str, state: Literal["well", "broken", "silent", "gone"] = "well", detail: str = "fine"
) -> ComponentView:
    return ComponentView(name=f"the-{kind}", kind=kind, seen_at=NOW, state=state, detail=detail)


def _found(**given: Any) -> list[Concern]:
    nothing: dict[str, Any] = dict.fromkeys(("failures", "backlog", "unclaimed", "silent"), ())
    alive: dict[str, Any] = {"components": (_part("scheduler"),), "overdue": 0, "queued": 0}
    return concerns(Facts(**(alive | nothing | given)))


def _waiting(jobs: int, hint: str | None) -> Backlog:
    why = Why(job="j-1", state=JobState.QUEUED, reason="submitted", message="No pool fits.", hint=hint)
    return Backlog(jobs, NOW, True, why)


def test_when_all_is_well_nothing_is_said() -> None:
    assert _found() == []


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"components": ()}, "broken", "No scheduler is alive"),
        ({"components": (_part("scheduler", "silent"),)}, "broken", "No scheduler is alive"),
        (
            {"components": (_part("scheduler"), _part("api", "gone"))},
            "warning",
            "API the-api is gone",
        ),
        (
            {"components": (_part("scheduler"), _part("store", "broken", detail="gone"))},
            "broken",
            "Store the-store gone",
        ),
        (
            {"components": (_part("scheduler"), _part("cluster", "silent", detail="1 launcher"))},
            "broken",
            "Cluster the-cluster is silent No launcher of it sends heartbeats",
        ),
        ({"unclaimed": (Unclaimed("a100", 3, 40.0, 0, 0),)}, "broken", "has jobs and no worker"),
        ({"unclaimed": (Unclaimed("a100", 3, 40.0, 2, 1),)}, "broken", "3 jobs sent to it, the first 40s ago"),
        ({"overdue": 2}, "broken", "2 attempts run on leases that are over"),
        ({"silent": (Silent("w-1", "gpu-1", "a100", NOW, 1),)}, "broken", "gpu-1 is silent and holds 1 job"),
        ({"silent": (Silent("w-1", "gpu-1", "a100", NOW, 0),)}, "warning", "gpu-1: gone without a drain"),
        ({"failures": (Failures("oom", 1, "j-9", "bert", "Killed.", NOW),)}, "warning", "bert (j-9): Killed."),
        ({"failures": (Failures("quarantined", 2, "j-9", "b", "m", NOW),)}, "broken", "2 jobs quarantined"),
        ({"backlog": (_waiting(7, "Start a pool."),)}, "warning", "7 jobs like j-1 wait No pool fits. Start a pool."),
    ],
)
def test_each_fact_is_said(given: dict[str, Any], kind: str, words: str) -> None:
    [concern] = _found(**given)
    assert concern.kind == kind
    assert words in f"{concern.title} {concern.detail}"


def test_a_busy_pool_and_a_job_that_waits_for_its_turn_are_no_concern() -> None:
    assert _found(unclaimed=(Unclaimed("a100", 3, 40.0, 2, 0),), backlog=(_waiting(7, None),)) == []


def test_what_is_broken_comes_first_and_commands_are_commands() -> None:
    found = _found(
        backlog=(_waiting(1, "neutrino worker list    shows what is offline"),),
        failures=(Failures("quarantined", 1, "j-9", "b", "m", NOW),),
    )
    assert [concern.kind for concern in found] == ["broken", "warning"]
    assert [concern.next for concern in found] == ["neutrino logs j-9", "neutrino worker list"]
