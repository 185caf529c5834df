"""Bells over a real Redis: there, away, and back again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from redis import Redis as RedisClient

from orchestrator.broker import Doorbell, celery_app
from orchestrator.domain.spec import Command
from orchestrator.domain.state import Reason
from orchestrator.embedded.redis import Redis
from tests.integration.workers.conftest import Workers
from tests.integration.workers.control_plane import ControlPlane

_NOOP = Command(name="n", command=("true",))
_SLEEP = Command(name="s", command=("sh", "-c", "echo ready; exec sleep 1000"))
_NO_HEARTBEATS = 30_000.0  # a lease so long that the next heartbeat is an hour away


def _ring(redis_url: str, *, pool: Sequence[str] = (), workers: Sequence[str] = ()) -> None:
    ringer = Doorbell(celery_app(redis_url))
    try:
        for name in pool:
            ringer.ring_pool(name, ["j-1"])
        for name in workers:
            ringer.ring_worker(name)
    finally:
        ringer.close()


def _ring_until(plane: ControlPlane, happened: Callable[[], bool], redis_url: str, **bells: Sequence[str]) -> None:
    """Ring again and again, since bells may be lost while a worker connects."""
    for _ in range(100):
        _ring(redis_url, **bells)
        with plane.changed:
            if plane.changed.wait_for(happened, 0.3):
                return
    pytest.fail("no bell was heard")


@pytest.fixture
def busy(plane: ControlPlane, workers: Workers, redis_url: str) -> str:
    """An attempt that takes the only slot of a worker that hears bells."""
    plane.lease_seconds = _NO_HEARTBEATS
    workers.redis_url = redis_url
    attempt = plane.submit(_SLEEP)
    workers.start(NEUTRINO_POOL="p", NEUTRINO_SLOTS="1")
    plane.wait(lambda: attempt in plane.attempts and plane.attempts[attempt].lines)
    return attempt


def test_a_bell_brings_work(plane: ControlPlane, workers: Workers, redis_url: str) -> None:
    plane.lease_seconds = _NO_HEARTBEATS
    workers.redis_url = redis_url
    workers.start(NEUTRINO_POOL="p")
    plane.wait(lambda: plane.requests.get("report"))
    attempt = plane.submit(_NOOP)
    _ring(redis_url, pool=["p"])
    assert plane.report_of(attempt).reason is Reason.SUCCEEDED


def test_a_bell_of_its_own_makes_a_worker_send_its_heartbeat(plane: ControlPlane, busy: str, redis_url: str) -> None:
    with plane.changed:
        plane.attempts[busy].cancel = True
    _ring(redis_url, workers=["w-1"])
    assert plane.report_of(busy).reason is Reason.CANCELLED_BY_USER


def test_a_busy_worker_leaves_the_pools_bells_to_others(plane: ControlPlane, busy: str, redis_url: str) -> None:
    with RedisClient.from_url(redis_url) as client:

        def lies_there() -> bool:
            return bool(client.llen("neutrino:pool.p"))

        for _ in range(100):  # it turns away soon after it has become busy
            _ring(redis_url, pool=["p"])
            for _ in range(2):  # queues take turns: between two bells of its own it would have heard the pool's
                before = plane.heartbeats
                _ring_until(plane, lambda before=before: plane.heartbeats > before, redis_url, workers=["w-1"])  # type: ignore[misc]
            if lies_there():
                break
        assert lies_there(), "it still hears its own bells, and only those"
        with plane.changed:
            plane.attempts[busy].cancel = True
        _ring(redis_url, workers=["w-1"])
        plane.report_of(busy)
        _ring_until(plane, lambda: not lies_there(), redis_url, workers=["w-1"])


@pytest.fixture
def own_redis(server_folder: Path) -> Iterator[Redis]:
    """A Redis that the test may stop."""
    server = Redis(server_folder / "redis-that-stops")
    server.start()
    yield server
    server.stop()


@pytest.mark.fault
def test_redis_away_at_the_start_and_restarted_later(plane: ControlPlane, workers: Workers, own_redis: Redis) -> None:
    plane.lease_seconds = _NO_HEARTBEATS
    workers.redis_url = own_redis.url
    own_redis.stop()
    first = plane.submit(_NOOP)
    workers.start(NEUTRINO_POOL="p")
    assert plane.report_of(first).reason is Reason.SUCCEEDED, "a worker needs no Redis for what waits when it comes"
    for _ in range(2):
        own_redis.start()
        attempt = plane.submit(_NOOP)
        _ring_until(plane, lambda name=attempt: name in plane.attempts, own_redis.url, pool=["p"])  # type: ignore[misc]
        own_redis.stop()
    own_redis.start()
