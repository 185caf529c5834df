"""Whether the server answers at all: a connection cannot tell that by itself.

The kernel below a server that is stopped, or that waits for its disk, still takes every byte, and the time limit of a
statement is kept by the very server that is stopped. So whoever has waited for some seconds connects once more. When
nobody answers there either, all who wait give up, and until somebody answers again nobody else begins to wait.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.errors import ConnectionTimeout, OperationalError

if TYPE_CHECKING:
    from psycopg.abc import PQGen

Result = TypeVar("Result")

_CONNECT_SECONDS = 4  # psycopg waits 2 s at least
_FRESH_SECONDS = 1.0
"""For so long holds what was heard of the server."""
_TCP: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A server that has gone without a word is missed after 10 s by whoever sends, after 25 s by whoever listens."""


class Pulse:
    """What a process knows of its server. After `patience` seconds without an answer it asks whether there is any."""

    def __init__(self, url: str, patience: float) -> None:
        self.patience = patience
        self._url = url
        self._asking = threading.Lock()
        self._asked = -_FRESH_SECONDS
        self._silent = False

    def connect(self, longest: float, **options: Any) -> Watched:
        """A connection on which no answer is waited for longer than `longest` seconds. Raises psycopg's
        OperationalError; at once as long as the server is silent, but for one caller at a time, who tries."""
        if self._silent and (self._asking.locked() or not self.is_felt()):
            raise ConnectionTimeout("the server is silent")
        try:
            connection = Watched.connect(self._url, connect_timeout=_CONNECT_SECONDS, **_TCP, **options)
        except ConnectionTimeout:
            self._silent = True
            raise
        connection.pulse, connection.longest = self, longest
        return connection

    def is_felt(self) -> bool:
        """Whether the server answers. Asks, unless somebody has just asked."""
        with self._asking:
            if time.monotonic() - self._asked >= _FRESH_SECONDS:
                self._silent = self._is_silent()
                self._asked = time.monotonic()
            return not self._silent

    def _is_silent(self) -> bool:
        try:
            psycopg.connect(self._url, connect_timeout=_CONNECT_SECONDS).close()
        except ConnectionTimeout:
            return True
        except OperationalError:
            return False  # full, or not there: that, the others are told on their own connections
        return False


class Watched(psycopg.Connection[Any]):
    """A connection that gives up, and is closed, when its server is silent."""

    pulse: Pulse | None = None
    longest: float

    def wait(self, gen: PQGen[Result], *args: Any, **options: Any) -> Result:
        """What psycopg does to get an answer; here with a look at the clock, ten times a second."""
        return super().wait(self._watching(gen), *args, **options)

    def _watching(self, gen: PQGen[Result]) -> PQGen[Result]:
        since = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready:
                    self._look(time.monotonic() - since)
                wanted = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _look(self, waited: float) -> None:
        pulse = self.pulse
        if pulse is None or waited < pulse.patience or (waited < self.longest and pulse.is_felt()):
            return
        self.close()
        raise OperationalError(f"no answer for {waited:.0f} s")
