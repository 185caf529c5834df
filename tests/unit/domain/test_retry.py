"""What happens after an attempt, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.retry import (
    ATTEMPT_STATE_OF,
    FAILURE_OF,
    OWN,
    PEOPLES,
    Counters,
    after_attempt,
)
from orchestrator.domain.spec import Retry, RetryOn
from orchestrator.domain.state import AttemptState, JobState, Reason

LIFE = Path(__file__).parents[3] / "docs" / "job-lifecycle.md"
NO_RETRY, TWICE = Retry(), Retry(max=2)
QUEUED, FAILED = JobState.QUEUED, JobState.FAILED

TABLE: list[tuple[str, Reason, dict[str, int], Retry, JobState, Reason, float]] = [
    ("a user's error without retries", Reason.USER_ERROR, {}, NO_RETRY, FAILED, Reason.USER_ERROR, 0),
    ("a user's first error of two", Reason.USER_ERROR, {}, TWICE, QUEUED, Reason.USER_ERROR, 1),
    ("a user's second error", Reason.USER_ERROR, {"user_failures": 1}, TWICE, QUEUED, Reason.USER_ERROR, 2),
    ("a user's third error", Reason.USER_ERROR, {"user_failures": 2}, TWICE, FAILED, Reason.USER_ERROR, 0),
    ("a timeout is the user's", Reason.TIMEOUT, {}, TWICE, QUEUED, Reason.TIMEOUT, 1),
    ("a timeout without retries", Reason.TIMEOUT, {}, NO_RETRY, FAILED, Reason.TIMEOUT, 0),
    ("memory does not grow by trying again", Reason.OOM, {}, Retry(max=100), FAILED, Reason.OOM, 0),
    ("preemption does not wait", Reason.PREEMPTED, {}, NO_RETRY, QUEUED, Reason.PREEMPTED, 0),
    (
        "preemption has a budget",
        Reason.PREEMPTED,
        {"preemptions": PEOPLES.preemptions},
        NO_RETRY,
        FAILED,
        Reason.PREEMPTED,
        0,
    ),
    ("infrastructure does not spend the user's", Reason.INFRA_ERROR, {}, NO_RETRY, QUEUED, Reason.INFRA_ERROR, 0.5),
    (
        "it waits longer each time",
        Reason.STAGING_FAILED,
        {"infra_failures": 3},
        NO_RETRY,
        QUEUED,
        Reason.STAGING_FAILED,
        4,
    ),
    (
        "but no longer than a minute",
        Reason.UPLOAD_FAILED,
        {"infra_failures": 9},
        NO_RETRY,
        QUEUED,
        Reason.UPLOAD_FAILED,
        60,
    ),
    (
        "and not for ever",
        Reason.INFRA_ERROR,
        {"infra_failures": PEOPLES.infra},
        NO_RETRY,
        FAILED,
        Reason.INFRA_ERROR,
        0,
    ),
    ("a first kill from nowhere", Reason.KILLED, {}, NO_RETRY, QUEUED, Reason.KILLED, 0.5),
    ("a second one", Reason.KILLED, {"infra_failures": 1, "kills": 1}, NO_RETRY, QUEUED, Reason.KILLED, 1),
    ("a third is its own doing", Reason.KILLED, {"infra_failures": 2, "kills": 2}, NO_RETRY, FAILED, Reason.KILLED, 0),
    ("which the user may want tried again", Reason.KILLED, {"kills": 2}, TWICE, QUEUED, Reason.KILLED, 1),
    ("a first lost lease", Reason.LEASE_LOST, {}, NO_RETRY, QUEUED, Reason.LEASE_LOST, 0.5),
    ("a second death", Reason.WORKER_LOST, {"worker_deaths": 1}, NO_RETRY, QUEUED, Reason.WORKER_LOST, 0.5),
    ("a third death quarantines", Reason.LEASE_LOST, {"worker_deaths": 2}, TWICE, FAILED, Reason.QUARANTINED, 0),
    ("a lost claim costs nothing", Reason.CLAIM_LOST, {"infra_failures": 10}, NO_RETRY, QUEUED, Reason.CLAIM_LOST, 0),
]


@pytest.mark.parametrize(
    ("reason", "before", "retry", "state", "why", "delay"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_an_attempt_ended(
    reason: Reason, before: dict[str, int], retry: Retry, state: JobState, why: Reason, delay: float
) -> None:
    verdict = after_attempt(reason, "It ended.", Counters(**before), retry)
    assert (verdict.state, verdict.reason, verdict.delay) == (state, why, delay)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(RetryOn.ERROR, Reason.USER_ERROR), (RetryOn.INFRA, Reason.LEASE_LOST), (RetryOn.PREEMPTED, Reason.PREEMPTED)],
)
def test_a_kind_of_failure_that_the_user_left_out_is_never_retried(kind: RetryOn, reason: Reason) -> None:
    others = Retry(max=5, on=tuple(one for one in RetryOn if one is not kind))
    assert after_attempt(reason, "", Counters(), others).state is FAILED
    assert after_attempt(reason, "", Counters(), Retry(max=5, on=(kind,))).state is QUEUED


@pytest.mark.parametrize(
    ("reason", "spent"),
    [
        (Reason.USER_ERROR, Counters(user_failures=1)),
        (Reason.OOM, Counters(user_failures=1)),
        (Reason.INFRA_ERROR, Counters(infra_failures=1)),
        (Reason.LEASE_LOST, Counters(infra_failures=1, worker_deaths=1)),
        (Reason.WORKER_LOST, Counters(infra_failures=1, worker_deaths=1)),
        (Reason.PREEMPTED, Counters(preemptions=1)),
        (Reason.CLAIM_LOST, Counters()),
    ],
)
def test_each_failure_is_paid_for_by_its_own_budget(reason: Reason, spent: Counters) -> None:
    assert after_attempt(reason, "", Counters(), TWICE).counters == spent


@pytest.mark.parametrize("reason", sorted(FAILURE_OF))
def test_every_end_has_a_verdict_whatever_was_spent(reason: Reason) -> None:
    for spent in (0, 1, 2, 5, 50, 10_000):
        counters = Counters(spent, spent, spent, spent)
        verdict = after_attempt(reason, "It ended.", counters, Retry(max=100))
        assert verdict.state in {QUEUED, FAILED}
        assert 0 <= verdict.delay <= 300
        assert "It ended." in verdict.message


def test_a_job_that_gets_on_is_forgiven_what_infrastructure_has_cost() -> None:
    before = Counters(user_failures=1, infra_failures=10, preemptions=100, worker_deaths=2, kills=2)
    verdict = after_attempt(Reason.LEASE_LOST, "It died.", before.forgiven(), TWICE)
    assert (verdict.state, verdict.delay) == (QUEUED, 0.5)
    assert verdict.counters == Counters(user_failures=1, infra_failures=1, worker_deaths=1)
    assert after_attempt(Reason.USER_ERROR, "", Counters(user_failures=2).forgiven(), TWICE).state is FAILED


def test_copies_outlast_a_store_that_is_away_for_a_weekend() -> None:
    counters, waited = Counters(), 0.0
    while (verdict := after_attempt(Reason.INFRA_ERROR, "", counters, NO_RETRY, budgets=OWN)).state is QUEUED:
        counters, waited = verdict.counters, waited + verdict.delay
        assert verdict.delay <= 600
    assert waited > 3 * 86400


def test_a_retry_says_which_of_how_many_it_is() -> None:
    verdict = after_attempt(Reason.USER_ERROR, "Exit code 1.", Counters(user_failures=1), Retry(max=3))
    assert verdict.message == "Exit code 1. Trying again (retry 2 of 3)."


def test_quarantine_says_how_many_workers_died_and_what_to_do() -> None:
    verdict = after_attempt(Reason.WORKER_LOST, "It died.", Counters(worker_deaths=2), TWICE)
    assert verdict.message.startswith(f"Quarantined: {PEOPLES.deaths} workers died while running this job.")
    assert "retry it" in verdict.message


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (Reason.SUCCEEDED, AttemptState.SUCCEEDED),
        (Reason.PREEMPTED, AttemptState.PREEMPTED),
        (Reason.LEASE_LOST, AttemptState.LOST),
        (Reason.USER_ERROR, None),
    ],
)
def test_reasons_name_how_the_attempt_ended(reason: Reason, state: Any) -> None:
    assert ATTEMPT_STATE_OF.get(reason) is state


@pytest.mark.parametrize("reason", FAILURE_OF)
def test_people_can_read_what_follows_each_failure(reason: Reason) -> None:
    _, _, after = LIFE.read_text(encoding="utf-8").partition("## After a failure")
    table = after.partition("\n## ")[0]
    assert f"`{reason}`" in table
