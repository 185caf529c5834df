"""An API that is out of reach is asked again until it answers, or until nobody waits for the answer any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from orchestrator.domain.errors import LeaseLost, ServerUnavailable
from workers.depot import answered


class Waits(threading.Event):
    """Takes note of each pause, which takes no time; from the one numbered `last` on it is set."""

    def __init__(self, last: int = 1000) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self._last = last

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        return len(self.pauses) >= self._last


def test_an_outage_of_any_length_is_waited_out() -> None:
    outages: Iterator[int] = iter(range(50))

    def call() -> str:
        if next(outages, None) is not None:
            raise ServerUnavailable("The API cannot be reached.")
        return "yes"

    waits = Waits()
    assert answered(call, waits) == "yes"
    assert len(waits.pauses) == 50
    assert max(waits.pauses) <= 5.0  # soon after it is back


def test_nobody_waits_for_what_is_not_wanted_any_more() -> None:
    def call() -> None:
        raise ServerUnavailable("The API cannot be reached.")

    waits = Waits(last=3)
    with pytest.raises(ServerUnavailable):
        answered(call, waits)
    assert len(waits.pauses) == 3


def test_what_the_api_refuses_is_not_asked_again() -> None:
    def call() -> None:
        raise LeaseLost("Another attempt has the job.")

    waits = Waits()
    with pytest.raises(LeaseLost):
        answered(call, waits)
    assert not waits.pauses
