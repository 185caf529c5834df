"""Bells: what is rung arrives, and a Redis that is away harms nobody."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis as RedisClient

from orchestrator.embedded.redis import Redis
from orchestrator.queues import queue_for_pool, queue_for_worker
from orchestrator.scheduler.bells import Bells


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def bells(redis_url: str) -> Iterator[Bells]:
    """Bells on a Redis of the test's own."""
    bells = Bells(redis_url)
    bells.start()
    yield bells
    bells.stop()


def _messages(url: str, queue: str) -> list[list[str]]:
    with RedisClient.from_url(url) as client:
        found = client.lrange(f"neutrino:{queue}", 0, -1)
    assert isinstance(found, list)
    return [json.loads(base64.b64decode(json.loads(raw)["body"]))[0][0] for raw in reversed(found)]


def test_a_pools_bell_names_the_jobs_that_wait(bells: Bells, redis_url: str) -> None:
    bells.pool("local", ["j-1", "j-2"], 2)
    _until(lambda: len(_messages(redis_url, queue_for_pool("local"))) == 2)
    assert _messages(redis_url, queue_for_pool("local")) == [["j-1", "j-2"]] * 2
    assert bells.broken is None


def test_a_workers_bell_rings_on_its_own_queue(bells: Bells, redis_url: str) -> None:
    bells.workers(["w-1", "w-2"])
    for worker in ("w-1", "w-2"):
        _until(lambda: _messages(redis_url, queue_for_worker(worker)) == [[]])  # noqa: B023


def test_what_waits_is_rung_before_the_end(redis_url: str) -> None:
    bells = Bells(redis_url)
    bells.pool("local", ["j-1"], 1)
    bells.start()
    bells.stop()
    assert _messages(redis_url, queue_for_pool("local")) == [["j-1"]]


def test_bells_that_wait_for_one_pool_are_rung_together(redis_url: str) -> None:
    bells = Bells(redis_url)
    for number in range(10):
        bells.pool("local", [f"j-{number}"], 2)
    bells.start()
    bells.stop()
    assert _messages(redis_url, queue_for_pool("local")) == [["j-9"]] * 2


def test_without_redis_bells_are_dropped_and_said_to_be_broken_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    with Redis(folder) as server:
        url = server.url
        bells = Bells(url)
        bells.start()
        bells.pool("local", ["j-1"], 1)
        _until(lambda: _messages(url, queue_for_pool("local")) == [["j-1"]])
        port = server.port
    bells.pool("local", ["j-2"], 1)
    _until(lambda: bells.broken)
    assert str(bells.broken).startswith("the broker does not answer")
    with Redis(folder, port=port) as again:
        assert again.url == url
        bells.pool("local", ["j-3"], 1)
        _until(lambda: bells.broken is None)
        assert _messages(url, queue_for_pool("local"))[-1] == ["j-3"]
    bells.workers(["w-1"])
    _until(lambda: bells.broken)
    bells.stop()
