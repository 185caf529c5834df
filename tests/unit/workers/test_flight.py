"""How long a launcher waits for what stands in the way of an attempt's pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_adapters.compute import Phase, Piece, Status
from orchestrator.domain.state import Reason
from workers import flight
from workers.flight import QUOTA_PATIENCE, START_PATIENCE, Flight

PULLING = Piece(0, Phase.STARTING, Reason.IMAGE_UNAVAILABLE, "The image x cannot be pulled: i/o timeout")
STARTING = Piece(0, Phase.STARTING, Reason.POD_STARTING, "Starting its pod.")


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(flight, "clock", made)
    return made


def status(piece: Piece) -> Status:
    return Status("j-1-1", (piece,))


def test_an_image_that_still_cannot_be_pulled_is_given_up(time: Time) -> None:
    one = Flight("j-1.1")
    one.take(status(PULLING), 1)
    time.now += START_PATIENCE
    one.take(status(PULLING), 2)
    assert one.verdict is None
    time.now += 1
    one.take(status(PULLING), 3)
    assert one.verdict is not None
    assert one.verdict[:2] == (Reason.IMAGE_UNAVAILABLE, f"Kubernetes tried for 10 minutes. {PULLING.message}")


def test_what_gets_better_is_waited_for_anew(time: Time) -> None:
    one = Flight("j-1.1")
    one.take(status(PULLING), 1)
    one.take(status(STARTING), 2)
    time.now += START_PATIENCE + 1
    one.take(status(PULLING), 3)
    assert one.verdict is None


@pytest.mark.parametrize(
    ("why", "seconds"),
    [
        ('pods "j-1-1" is forbidden: exceeded quota: compute, requested: cpu=1, used: cpu=4', QUOTA_PATIENCE),
        ("couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor a, 1 more needed", 600),
    ],
)
def test_without_quota_another_pool_comes_next(time: Time, why: str, seconds: float) -> None:
    one = Flight("j-1.1")
    one.take(Status("j-1-1", (), why), 1, 600)
    assert one.wait is not None
    assert (one.wait.reason, one.wait.message) == (Reason.QUOTA_EXCEEDED, f"Kubernetes makes no pod: {why}")
    time.now += seconds
    one.take(Status("j-1-1", (), why), 2, 600)
    assert one.verdict is None
    time.now += 1
    one.take(Status("j-1-1", (), why), 3, 600)
    assert one.verdict == (Reason.QUOTA_EXCEEDED, f"Kubernetes makes no pod: {why}", None)


def test_what_a_quota_refused_once_does_not_end_a_job_that_has_begun_since(time: Time) -> None:
    one, both = Flight("j-1.1"), (STARTING, replace(STARTING, index=1))
    one.take(Status("j-1-1", both, wanted=2), 1, 600)
    for _ in range(2):
        one.take(Status("j-1-1", both[:1], "exceeded quota: compute", wanted=2), 2, 600)
        time.now += QUOTA_PATIENCE + 1
    assert one.verdict is None


def test_a_node_that_was_given_up_ends_the_attempt_unless_it_has_the_lease(time: Time) -> None:
    lost = Piece(1, Phase.RUNNING, place="n-2", gone_by=0.0)
    one, both = Flight("j-1.1"), (Piece(0, Phase.RUNNING, place="n-1"), lost)
    one.take(Status("j-1-1", both, wanted=2), 1, 600)
    assert one.verdict == (Reason.PREEMPTED, "Node 1 was evicted from n-2, and n-2 does not answer.", None)
    leader = Flight("j-1.1")
    leader.take(status(replace(lost, index=0)), 1, 600)
    assert leader.verdict is None
    waiting = Flight("j-1.1")
    waiting.take(status(replace(lost, index=0, phase=Phase.STARTING, reason=Reason.POD_STARTING)), 1, 600)
    assert waiting.verdict is not None


def test_who_is_given_a_quota_meanwhile_stays(time: Time) -> None:
    one = Flight("j-1.1")
    one.take(Status("j-1-1", (), "exceeded quota: compute"), 1, 600)
    one.take(status(STARTING), 2, 600)
    time.now += QUOTA_PATIENCE + 1
    one.take(Status("j-1-1", (), "exceeded quota: compute"), 3, 600)
    assert one.verdict is None
