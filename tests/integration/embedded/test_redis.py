"""The embedded Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis as RedisClient
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError
from redis.retry import Retry

from orchestrator.embedded.redis import Redis

Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def server(open_folder: Path) -> Iterator[Redis]:
    """A running Redis that holds one key."""
    with Redis(open_folder / "data") as server:
        with RedisClient.from_url(server.url) as client:
            client.set("kept", "1")
        yield server


def _kept(server: Redis) -> object:
    with RedisClient.from_url(server.url) as client:
        return client.get("kept")


def test_it_keeps_its_data_its_port_and_its_password(server: Redis) -> None:
    before = server.url
    server.stop()
    server.start()
    assert server.url == before
    assert _kept(server) == b"1"


def test_kill_9_is_survived(server: Redis, until: Until, kill: Callable[[int], None]) -> None:
    first = server.running_pid
    assert first is not None
    kill(first)
    until(lambda: server.running_pid not in {None, first} and server.answers())
    assert _kept(server) == b"1"


def test_it_asks_for_the_password_and_shows_it_to_nobody(server: Redis) -> None:
    with RedisClient(port=server.port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(AuthenticationError):
        client.ping()
    assert server.running_pid is not None
    assert server.password not in " ".join(psutil.Process(server.running_pid).cmdline())
    assert (server.data_dir / "redis.conf").stat().st_mode & 0o777 == 0o600


def test_it_refuses_to_forget(server: Redis) -> None:
    with RedisClient.from_url(server.url) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            client.set("more", "2")
    assert _kept(server) == b"1"


def test_a_folder_with_blanks_in_its_name_will_do(open_folder: Path) -> None:
    with Redis(open_folder / "my data") as server:
        assert server.answers()
