"""What waits to be sent."""

from __future__ import annotations

from orchestrator.domain.protocol import MetricPoint
from workers.feed import Feed


def test_a_batch_is_the_same_until_it_is_accepted_and_numbers_go_on() -> None:
    feed = Feed("j-1.1")
    feed.add_lines("stdout", ["a", "b"])
    first = feed.take()
    assert first is not None
    feed.add_lines("stdout", ["c"])
    assert feed.take() is first
    feed.accepted()
    second = feed.take()
    assert second is not None
    assert (first.seq, first.first_line, [line.text for line in first.lines]) == (1, 1, ["a", "b"])
    assert (second.seq, second.first_line, [line.text for line in second.lines]) == (2, 3, ["c"])
    feed.accepted()
    assert feed.take() is None
    assert feed.empty


def test_only_the_newest_progress_is_sent() -> None:
    feed = Feed("j-1.1")
    feed.set_progress(0.1, "")
    feed.set_progress(0.2, "two")
    batch = feed.take()
    assert batch is not None
    assert (batch.progress, batch.message) == (0.2, "two")


def test_a_feed_that_is_full_calls_back_when_there_is_room() -> None:
    feed = Feed("j-1.1")
    calls: list[str] = []
    feed.on_room = lambda: calls.append("room")
    while feed.has_room:
        feed.add_lines("stdout", ["x" * 10_000])
    while (batch := feed.take()) and not calls:
        assert sum(len(line.text) for line in batch.lines) <= 256 * 1024
        feed.accepted()
    assert feed.has_room
    assert calls == ["room"]


def test_metrics_count_against_the_room_too() -> None:
    feed = Feed("j-1.1")
    point = MetricPoint(name="loss", step=0, value=1.0, at=0.0)
    while feed.has_room:
        feed.add_metrics([point] * 100)
    total = 0
    while batch := feed.take():
        total += len(batch.metrics)
        feed.accepted()
    assert total < 10_000
    assert total % 100 == 0


def test_the_last_line_of_stderr_that_says_something_is_kept() -> None:
    feed = Feed("j-1.1")
    feed.add_lines("stderr", ["ValueError: bad", "", "  "])
    feed.add_lines("stdout", ["later"])
    assert feed.last_stderr == "ValueError: bad"
