"""Everything is done once; more take part only while the processor has time to spare; a failure ends it."""

from __future__ import annotations

import gc
import threading

import pytest

from cloud_adapters.transfer.crew import Crew


def test_everything_is_done_once() -> None:
    done: list[int] = []
    Crew(done.append, range(1000), 16, threading.Event()).run()
    assert sorted(done) == list(range(1000))
    Crew(done.append, [], 16, threading.Event()).run()
    assert len(done) == 1000


def test_others_are_brought_in_while_all_wait() -> None:
    """No piece of work ends before thirty are at work at the same time, which takes more than begin."""
    together = threading.Barrier(30)

    def work(_: int) -> None:
        together.wait(timeout=60)

    Crew(work, range(30), 64, threading.Event()).run()
    assert not together.broken


def test_the_collector_is_spared_old_objects_until_the_end() -> None:
    set_aside: list[int] = []
    Crew(lambda _: set_aside.append(gc.get_freeze_count()), range(3), 2, threading.Event()).run()
    assert min(set_aside) > 0
    assert gc.get_freeze_count() == 0


def test_a_program_that_set_its_objects_aside_keeps_them_there() -> None:
    gc.freeze()
    try:
        Crew(lambda _: None, range(3), 2, threading.Event()).run()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_failure_ends_it() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise ValueError(item)
        threading.Event().wait(0.001)

    with pytest.raises(ValueError, match="3"):
        Crew(work, range(10_000), 4, threading.Event()).run()
    assert len(begun) < 10_000
