"""Everything is done once; more take part only while the processor has time to spare; a failure ends it."""

from __future__ import annotations

import threading

import pytest

from cloud_adapters.transfer.crew import Crew


def test_everything_is_done_once() -> None:
    done: list[int] = []
    Crew(done.append, range(1000), 16).run()
    assert sorted(done) == list(range(1000))
    Crew(done.append, [], 16).run()
    assert len(done) == 1000


def test_others_are_brought_in_while_all_wait() -> None:
    """Each piece of work ends when thirty are at work at the same time, which takes more than begin."""
    together = threading.Barrier(30)
    turns = iter([False] * 8)  # those who begin wait a moment and see that there is time to spare

    def work(_: int) -> None:
        if next(turns, True):
            together.wait(timeout=60)
        else:
            threading.Event().wait(0.1)

    Crew(work, range(38), 64).run()
    assert not together.broken


def test_a_failure_ends_it() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise ValueError(item)
        threading.Event().wait(0.001)

    with pytest.raises(ValueError, match="3"):
        Crew(work, range(10_000), 4).run()
    assert len(begun) < 10_000
